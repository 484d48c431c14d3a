"""Admission: whether a client that has said hello may have a session."""

from collections.abc import Awaitable, Callable

from muxtcp.errors import Code, HandshakeError
from muxtcp.session import MemoryBudget, Session

FULL = 0.95  # share of the process's memory budget from which new sessions are refused
RETRY_AFTER = 1.0  # seconds that a client is asked to stay away then
GOODBYE = "the server is shutting down"

OnSession = Callable[[Session], Awaitable[None]]


class Admission:
    """What a server asks of each client between its HELLO and its session: one refusal is enough.

    Args:
        budget: what all sessions of the process may promise together; None for no bound.
        on_session: the application's own question, asked last.
    """

    def __init__(self, *, budget: MemoryBudget | None = None, on_session: OnSession | None = None) -> None:
        self._budget = budget
        self._on_session = on_session
        self._stopped = False

    def stop(self) -> None:
        """Admit nobody any more."""
        self._stopped = True

    async def __call__(self, session: Session) -> None:
        """Return for a client that may have a session.

        Raises:
            HandshakeError: it may not.
            Exception: `on_session` failed.
        """
        if self._stopped:
            raise HandshakeError(code=Code.SHUTDOWN, reason=GOODBYE)
        self._check_memory()
        if self._on_session is not None:
            await self._on_session(session)

    def _check_memory(self) -> None:
        budget = self._budget
        if budget is not None and budget.limit is not None and budget.used >= FULL * budget.limit:
            raise HandshakeError(
                code=Code.LIMITS, reason="the memory for sessions is nearly used up", retry_after=RETRY_AFTER
            )
