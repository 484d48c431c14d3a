"""Admission: whether a client that has said hello may have a session, and as whom."""

import ssl as tls
from collections import Counter
from collections.abc import Awaitable, Callable

from muxtcp.authentication import Authenticate, Credentials
from muxtcp.config import MESSAGE_OVERHEAD
from muxtcp.errors import Code, HandshakeError, MuxError
from muxtcp.isolation import Sparing
from muxtcp.session import MemoryBudget, Session, process_budget
from muxtcp.tls import finding

logger = Sparing(__name__)

FULL = 0.95  # share of the process's memory budget from which new sessions are refused
RETRY_AFTER = 1.0  # seconds that a client is asked to stay away then, and while those are away who are asked about it
GOODBYE = "the server is shutting down"

OnSession = Callable[[Session], Awaitable[None]]


class Admission:
    """What a server asks of each client between its HELLO and its session: one refusal is enough.

    Args:
        budget: what all sessions of the process cost.
        counters: where `refused_over_budget` is counted.
        authenticate: says who a client is; None lets everybody in who comes through TLS.
        on_session: the application's own question, asked last.
    """

    def __init__(
        self,
        *,
        budget: MemoryBudget = process_budget,
        counters: Counter[str] | None = None,
        authenticate: Authenticate | None = None,
        on_session: OnSession | None = None,
    ) -> None:
        self._budget = budget
        self._counters: Counter[str] = Counter() if counters is None else counters
        self._authenticate = authenticate
        self._on_session = on_session
        self._stopped = False

    def stop(self) -> None:
        """Admit nobody any more."""
        self._stopped = True

    async def __call__(self, session: Session) -> None:
        """Return for a client that may have a session.

        Raises:
            HandshakeError: it may not.
            Exception: `authenticate` or `on_session` failed.
        """
        self._check_open(session)
        try:
            if self._authenticate is not None:
                session.authenticated_as = await self._identity(session, self._authenticate)
            if self._on_session is not None:
                await self._on_session(session)
        except OSError as error:  # a TimeoutError, too: an outage, which must not end clients for good
            logger.error("admission of %r had no answer from whom it asks", session, exc_info=error)
            reason = "whom the server asks about its clients does not answer"
            raise HandshakeError(code=Code.BUSY, reason=reason, retry_after=RETRY_AFTER) from error
        self._check_open(session)  # the server may have begun to stop meanwhile, or have admitted others

    def _check_open(self, session: Session) -> None:
        """Whether there are new sessions at all."""
        if self._stopped:
            raise HandshakeError(code=Code.SHUTDOWN, reason=GOODBYE)
        self._check_memory(session)

    def _check_memory(self, session: Session) -> None:
        """Whether there is room for another session: for one message, at least, that it is promised."""
        budget, config = self._budget, session.config
        promise = max(config.session_window, config.max_message + MESSAGE_OVERHEAD)
        if budget.over(FULL) or (budget.limit is not None and budget.used + promise > budget.limit):
            self._counters["refused_over_budget"] += 1
            raise HandshakeError(
                code=Code.LIMITS, reason="the memory for sessions is nearly used up", retry_after=RETRY_AFTER
            )

    async def _identity(self, session: Session, authenticate: Authenticate) -> str:
        """Who the client is. Whatever `authenticate` returns that is no name admits nobody."""
        identity = await authenticate(
            Credentials(
                token=session.peer_auth,
                meta=dict(session.peer_meta),
                certificate=session.peer_certificate,
                address=session.peername,
            )
        )
        if identity is None:
            raise HandshakeError(code=Code.UNAUTHENTICATED, reason="the credentials were not accepted")
        if not isinstance(identity, str):  # it is not shown: it may be the token
            raise TypeError(f"authenticate() returned an object of type {type(identity).__name__}, not text or None")
        if not identity:
            raise ValueError("authenticate() returned an empty identity; to refuse a client it returns None")
        return identity


def in_words(error: OSError | MuxError) -> str:
    """What a handshake failed of, for the log, before the error's own words: what is wrong in TLS is told apart."""
    return f"TLS: {finding(error, client=False).text}: %s" if isinstance(error, tls.SSLError) else "%s"


def counter_of(error: OSError | MuxError) -> str:
    """The counter for a handshake that failed."""
    if isinstance(error, tls.SSLError):
        return f"tls_{finding(error, client=False).name}"
    code = getattr(error, "code", None)
    if isinstance(error, TimeoutError):
        code = Code.HANDSHAKE_TIMEOUT
    return "lost_in_handshake" if code is None else code.name if isinstance(code, Code) else f"code_0x{code:x}"
