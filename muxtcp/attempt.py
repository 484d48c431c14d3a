"""One attempt to reach a server: token, dial, TLS, handshake; and which failures of it are worth another."""

import asyncio
import ssl as tls
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from muxtcp.authentication import Token
from muxtcp.errors import Code, HandshakeError, SessionLost
from muxtcp.session import Session
from muxtcp.sockets import Address, dial
from muxtcp.tls import StandIn, attach, explained, finding, refusal

TRY_LATER = {Code.BUSY, Code.LIMITS, Code.SHUTDOWN, Code.HANDSHAKE_TIMEOUT}  # refusals that pass by themselves


def worth_retrying(error: Exception) -> bool:
    """The default for `retry`: whether an attempt that failed with this error may succeed later without a change.

    Yes for what the network and a restarting server do: any `OSError` (so also `SessionLost` and `TimeoutError`), a
    handshake that took too long, and refusals with BUSY, LIMITS or SHUTDOWN. No for every other refusal, for a failure
    of TLS that has a name (a certificate that is missing or wrong on either side, no version or cipher in common, a
    server that does not speak TLS), and for everything else.
    """
    if isinstance(error, HandshakeError):
        return error.code in TRY_LATER
    if isinstance(error, tls.SSLError):
        return finding(error, client=True).passes
    return isinstance(error, OSError)


async def attempt(
    target: Address,
    new_session: Callable[..., Session],
    token: Token,
    ssl: StandIn | None,
    server_hostname: str,
    connect_timeout: float,
    *,
    guest_of: Session | None = None,
    falls_back: bool = False,
) -> Session:
    """Dial, go through TLS if there is a context, and shake hands; close what was opened if that fails.

    With `guest_of` it is to carry that session on. It then falls back to a new one only with a token that needs no
    asking: a service that gives tokens and is away must not end a session that could be resumed.

    Raises:
        Failed: that session cannot be carried on. When a new one was refused, too, its cause is the `HandshakeError`.
        Exception: anything else, as `connect` says.
    """
    auth = b""
    if guest_of is None or token.fixed:
        async with _within(connect_timeout, "auth() gave no token"):
            auth = await token.current()
    session = new_session(auth=auth, guest_of=guest_of, falls_back=falls_back and token.fixed)
    what = f"cannot connect to {target}"
    try:
        async with _within(connect_timeout, f"{what}: no answer") as limit:
            await attach(await dial(target), session.protocol, ssl, server_hostname, limit)
    except tls.SSLError as error:
        raise explained(error, what, client=True) from error
    try:
        await session.established()
    except asyncio.CancelledError:
        session.abort("the attempt was given up")
        raise
    except (HandshakeError, SessionLost) as lost:
        if session.refusal is not None:  # known for good, whatever became of the new session in its place
            raise session.refusal from lost
        if (reason := refusal(lost.__cause__)) is None:
            raise
        raise HandshakeError(code=Code.UNAUTHENTICATED, reason=reason) from lost
    return session


@asynccontextmanager
async def _within(seconds: float, what: str) -> AsyncIterator[asyncio.Timeout]:
    """A limit whose `TimeoutError` says what did not come to be in time."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield limit
    except TimeoutError as error:
        if limit.expired():
            raise TimeoutError(f"{what} within {seconds:g} s") from error
        raise
