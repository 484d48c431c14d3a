"""connect(): one dial, or a session that comes back for as long as the user wants one."""

import asyncio
import logging
import os
import socket
import ssl as tls
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

from muxtcp.attempt import attempt, worth_retrying
from muxtcp.authentication import AuthSource, Secret, Token
from muxtcp.backoff import Backoff, exponential, stay_away
from muxtcp.codecs import Codec, resolve
from muxtcp.config import Config
from muxtcp.errors import HandshakeError, MuxError, ReconnectFailed
from muxtcp.isolation import Sparing, callback_failed
from muxtcp.lasting import Lasting
from muxtcp.resumption import Failed, Why, check_key
from muxtcp.session import Handler, MemoryBudget, Session, process_budget
from muxtcp.sockets import Address
from muxtcp.states import NOTHING_MORE, OnState, State, StateInfo
from muxtcp.tls import StandIn, client_context

logger = logging.getLogger(__name__)
sparing = Sparing(__name__)

LONGEST_WISH = 86_400.0  # seconds; what a server grants is its own business

LAST_DELAY = 0.05  # seconds between the last attempts to resume, when the time that was granted is nearly over


Retry = Callable[[Exception], bool]


def connect(
    address: str | None = None,
    port: int | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    sock: socket.socket | None = None,
    ssl: tls.SSLContext | bool | None = None,
    server_hostname: str | None = None,
    handler: Handler | None = None,
    codec: str | Codec | None = None,
    meta: Mapping[str, str] | None = None,
    auth: AuthSource = b"",
    config: Config | None = None,
    budget: MemoryBudget = process_budget,
    resume: float | None = None,
    psk: bytes | None = None,
    connect_timeout: float = 10.0,
    backoff: Backoff | None = None,
    max_attempts: int | None = None,
    max_elapsed: float | None = None,
    healthy_after: float = 10.0,
    retry: Retry = worth_retrying,
    on_state: OnState | None = None,
) -> "Connector":
    """Connect to a server.

    Nothing happens before the connector is awaited, entered or iterated:

        session = await connect("127.0.0.1", 7777)                  # close it yourself
        async with connect("tls://example.org:7777") as session:    # closed at the end
            ...
        async with connect("h", 7777, resume=30.0) as session:      # one session, also when its connection breaks
            ...
        async for session in connect("unix:///run/x.sock"):         # a new session after each loss
            try:
                await work(session)
            except MuxError as error:    # lost, or SessionClosed or ChannelError when a server is restarted
                print("trying again:", error)

    The first two dial once; with `backoff`, `max_attempts` or `max_elapsed` they go on until a session is up. The loop
    goes on for ever unless told otherwise; the session of an iteration is closed when its body ends, however it ends.

    Args:
        address: a host, with `port`; or "tcp://host:port", "tls://host:port", "unix:///path". IPv6 literals in a URL
            stand in brackets. A name is resolved anew at each attempt, and every place behind it is tried.
        port: of the host.
        path: of a Unix socket, in place of an address.
        sock: a connected socket, in place of an address; good for one attempt.
        ssl: a context, or True for the default one, which "tls://" implies: the system's authorities, the name of the
            host checked, TLS 1.2 or newer.
        server_hostname: the name that the certificate must have; the host unless given.
        handler: called with each channel that the server opens; None refuses them all.
        codec: "json", "msgpack" or an object with `encode` and `decode`, for all channels; None for bytes.
        meta: session metadata that the server sees before it accepts.
        auth: a token, as text or bytes, that the server sees before it accepts; readable on the way unless TLS is used.
            Or an async function without arguments that gives one: it is asked before each dial, and when it fails, the
            attempt has failed with its error. A session that is resumed needs no token.
        config: limits and deadlines.
        budget: what all sessions of the process may cost together; one that is dialled counts, and is not refused.
        resume: seconds for which the session is to survive a broken connection, with the same channels and no message
            lost or doubled; the server may grant less (`session.granted`). None: it ends with its connection.
        psk: at least 16 bytes that the server has, too: then resumption is safe on connections that others can read.
        connect_timeout: seconds for resolving, connecting and TLS together; `config.handshake_timeout` comes on top.
            An `auth` that is a function has as much, before.
        backoff: the delays between attempts; `exponential(0.1, 10)` in the loop unless given. Its end is the last
            attempt. A server that refuses with `retry_after` is heeded on top of it: for once to twice that time, drawn
            anew each time, of at most 300 s.
        max_attempts: how many attempts in a row may fail.
        max_elapsed: seconds without a healthy session after which no attempt begins.
        healthy_after: seconds after which a session counts as healthy: attempts, time and backoff then start afresh
            when it ends. So a server that accepts and fails at once is not met with a storm.
        retry: decides whether an attempt that failed is worth another.
        on_state: called with each `State` and its `StateInfo`. It must not block; what it raises is logged.

    Raises:
        ValueError: the arguments do not name one address, or contradict each other.
        TypeError: `auth` is neither text nor bytes nor a function.

    The connector, when used, raises:
        OSError: nobody answered; the text names the address. TimeoutError is one of them, and so is `ssl.SSLError`: TLS
            failed, and the text names what was wrong.
        HandshakeError: the server refused, and `retry` found it final. UNAUTHENTICATED also stands for a client's
            certificate that the server does not accept, where TLS 1.3 tells that after its handshake.
        Exception: whatever `auth` raised, and `retry` found final.
        ReconnectFailed: the limits for attempts are reached; the last error is its cause.
    """
    target = Address.of(address, port, path, sock)
    if sock is not None and (backoff or max_attempts or max_elapsed):
        raise ValueError("sock= is good for one attempt: it goes with no backoff, max_attempts or max_elapsed")
    if max_attempts is not None and max_attempts < 1:
        raise ValueError(f"max_attempts is {max_attempts}, not 1 or more")
    if target.tls and ssl is False:
        raise ValueError(f"ssl=False contradicts {address!r}")
    context = ssl if isinstance(ssl, tls.SSLContext) else client_context() if ssl or target.tls else None
    if server_hostname is not None and context is None:
        raise ValueError(f"server_hostname={server_hostname!r} goes with TLS: ssl= or tls://")
    server_hostname = server_hostname or target.host or ""
    if context is not None and context.check_hostname and not server_hostname:
        raise ValueError("TLS without a host in the address needs server_hostname=, the name in the certificate")
    stand_in = None if context is None else StandIn(context)
    if sock is not None and resume is not None:
        raise ValueError("sock= is good for one connection: it goes with no resume=")
    if resume is not None and not 0 < resume <= LONGEST_WISH:
        raise ValueError(f"resume is {resume:g} s, not more than 0 and at most {LONGEST_WISH:g}")
    if psk is not None and resume is None:
        raise ValueError("psk= goes with resume=")
    check_key(psk)
    new_session = partial(
        Session,
        client=True,
        config=config or Config(),
        handler=handler,
        codec=resolve(codec),
        meta=meta,
        budget=budget,
        resume=resume or 0.0,
        psk=None if psk is None else Secret(psk),
    )
    return Connector(
        partial(attempt, target, new_session, Token(auth), stand_in, server_hostname, connect_timeout),
        Policy(
            persistent=bool(backoff or max_attempts or max_elapsed),
            backoff=backoff or exponential(0.1, 10.0),
            max_attempts=max_attempts,
            max_elapsed=max_elapsed,
            healthy_after=healthy_after,
            retry=retry,
            on_state=on_state,
        ),
    )


class Policy(NamedTuple):
    """When a connector tries again: the arguments of `connect` of the same names."""

    persistent: bool  # whether awaiting and entering try again, too
    backoff: Backoff
    max_attempts: int | None
    max_elapsed: float | None
    healthy_after: float
    retry: Retry
    on_state: OnState | None


class Connector:
    """What `connect()` returns: awaitable, an async context manager, and an async iterable of sessions.

    One of the three at a time; `state`, `reconnect_now()` and `stop()` may be used from anywhere in the loop's thread.
    """

    def __init__(self, attempt: Callable[..., Awaitable[Session]], policy: Policy) -> None:
        self._attempt = attempt
        self._policy = policy
        self._state = State.DISCONNECTED
        self._stopped = False
        self._waiting = False  # for the time of the next attempt
        self._scope: asyncio.Timeout | None = None  # of the attempt or the wait under way: ends it when rescheduled
        self._entered: Session | None = None
        self._attempts = 0
        self._since = 0.0  # loop time from which max_elapsed counts
        self._connected_at = 0.0
        self._delays: Iterator[float] = iter(())
        self._iterating = False
        self._resumption: asyncio.Task[None] | None = None
        self._next: Session | None = None  # came up in place of one that could not be resumed
        self._refused: HandshakeError | None = None  # why none did

    # The three ways to use it

    def __await__(self) -> Generator[Any, None, Session]:
        return self._once().__await__()

    async def __aenter__(self) -> Session:
        self._entered = await self._once()
        return self._entered

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._entered is not None
        session, self._entered = self._entered, None
        await session.close()

    async def __aiter__(self) -> AsyncIterator[Session]:
        self._iterating = True
        self._start_afresh()
        try:
            while (session := await self._session_up(persistent=True)) is not None:
                try:
                    yield session
                finally:
                    await session.close()
                cause, self._refused = self._refused or session.exception, None
                await self._pause(cause)
        finally:
            if self._next is not None:
                await self._next.close()

    async def _once(self) -> Session:
        self._start_afresh()
        session = await self._session_up(persistent=self._policy.persistent)
        if session is None:
            raise self._failure()
        return session

    # What others may do meanwhile

    @property
    def state(self) -> State:
        """Where the connector is."""
        return self._state

    def reconnect_now(self) -> None:
        """Cut a wait short: the next attempt begins at once. Without a wait it does nothing."""
        if self._waiting:
            self._interrupt()

    def stop(self) -> None:
        """Make no further attempt; one that is under way, and a wait, end at once.

        A session that is up stays up, and the loop ends after its iteration: close the session to end that as well.
        Who waits for the connector gets `ReconnectFailed`. There is no way back; make another connector.
        """
        self._stopped = True
        self._interrupt()

    def _interrupt(self) -> None:
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    # The machine

    async def _session_up(self, *, persistent: bool) -> Session | None:
        """Attempt and wait in turn until a session is up; None after `stop()`."""
        while not self._stopped:
            if self._next is not None:
                session, self._next = self._next, None
                self._began(session)
                return session
            self._attempts += 1
            self._change(State.CONNECTING)
            try:
                async with self._interruptible(None):
                    session = await self._attempt()
            except Exception as error:
                if self._stopped:
                    break
                if not (persistent and self._policy.retry(error)):
                    self._change(State.FAILED, StateInfo(cause=error))
                    raise
                cause = error
            else:
                self._began(session)
                return session
            await self._pause(cause)  # out here, or what interrupts it would be told as a consequence of the error
        self._change(State.STOPPED)
        return None

    async def _pause(self, cause: BaseException | None) -> None:
        """Wait until the next attempt is due, or raise `ReconnectFailed` when there is none."""
        if self._stopped or self._next is not None:
            return
        delay = self._next_delay(cause)
        if delay is None:
            failure = self._failure()
            self._change(State.FAILED, StateInfo(cause=failure))
            raise failure from cause
        logger.info("attempt %d begins in %.1f s: %s", self._attempts + 1, delay, cause)
        await self._wait(delay, StateInfo(delay=delay, cause=cause))

    async def _wait(self, delay: float, told: StateInfo | None = None) -> None:
        self._waiting = True
        try:
            with suppress(TimeoutError):
                async with self._interruptible(delay):
                    if told is not None:
                        self._change(State.WAITING, told)  # in here, so that on_state may cut it short
                    await asyncio.get_running_loop().create_future()
        finally:
            self._waiting = False

    def _next_delay(self, cause: BaseException | None) -> float | None:
        """Seconds until the next attempt; None when a limit forbids it."""
        policy = self._policy
        if policy.max_attempts is not None and self._attempts >= policy.max_attempts:
            return None
        delay = next(self._delays, None)
        if delay is None:
            return None
        if isinstance(cause, HandshakeError) and cause.retry_after is not None:
            delay += stay_away(cause.retry_after)
        if policy.max_elapsed is not None and self._elapsed() + delay > policy.max_elapsed:
            return None
        return delay

    @asynccontextmanager
    async def _interruptible(self, timeout: float | None) -> AsyncIterator[None]:
        """A scope that ends with a TimeoutError after `timeout` seconds, or when `_interrupt` says so."""
        scope = self._scope = asyncio.timeout(timeout)
        try:
            async with scope:
                yield
        except asyncio.CancelledError:
            if self._resumption is not asyncio.current_task():  # cancelled when its session has ended
                self._change(State.DISCONNECTED)
            raise
        finally:
            if self._scope is scope:  # else the next break has come already, and its attempt is under way
                self._scope = None

    def _began(self, session: Session) -> None:
        """A session is up."""
        self._connected_at = asyncio.get_running_loop().time()
        self._change(State.CONNECTED)
        if session.closed:
            self._heard(session, session.state, StateInfo(cause=session.exception))
        else:
            session.on_state.append(partial(self._heard, session))
            if session.granted:
                session.on_break = self._broke

    def _heard(self, session: Session, state: State, info: StateInfo) -> None:
        """A session tells of itself."""
        if session.closed:
            self._ended()
        self._change(state, info)

    def _ended(self) -> None:
        """A session has ended, by whomever."""
        if self._resumption is not None and self._resumption is not asyncio.current_task():
            self._resumption.cancel()
        if asyncio.get_running_loop().time() - self._connected_at >= self._policy.healthy_after:
            self._start_afresh()

    # Resumption

    def _broke(self, session: Lasting) -> None:
        self._resumption = asyncio.get_running_loop().create_task(self._resume(session))
        self._resumption.add_done_callback(partial(self._resumption_ended, session))

    def _resumption_ended(self, session: Lasting, task: asyncio.Task[None]) -> None:
        if self._resumption is task:
            self._resumption = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            sparing.error("a resumption failed on this side", exc_info=error)
        if session.exception is None and not session.connected and self._resumption is None:
            session._give_up(
                f"its resumption failed on this side: {error!r}" if error else "its resumption was cancelled"
            )

    async def _resume(self, session: Lasting) -> None:
        """Carry the session on over a new connection within the time that the server granted, or give it up."""
        assert session.broken_at is not None
        deadline = session.broken_at + session.granted
        delays = iter(self._policy.backoff())
        refusal: Exception = ConnectionAbortedError("the connector was stopped")
        while not self._stopped:
            try:
                async with self._interruptible(max(0.0, deadline - session.clock())):
                    attempt = await self._attempt(guest_of=session, falls_back=self._iterating)
            except Failed as failure:
                refusal = failure
                final = failure.why is not Why.BUSY
            except (OSError, MuxError) as error:
                refusal = error
                final = not self._policy.retry(error)
            else:
                if attempt.refusal is None:
                    return
                self._next = attempt
                refusal, final = attempt.refusal, True
            delay, left = next(delays, None), deadline - session.clock()
            if final or self._stopped or delay is None or left <= 0:
                break
            if isinstance(refusal, Failed | HandshakeError):
                delay += stay_away(refusal.retry_after or 0.0)
            delay = min(delay, max(left / 2, LAST_DELAY))  # what was granted is used to its end
            await self._wait(delay)
        if session.connected:  # it came to be in the moment in which this was interrupted
            return
        known = refusal.known if isinstance(refusal, Failed) else None
        if known is not None and session.engine.judge(*known, 0):
            known = None  # it is not signed, and cannot be
        broken_by = "" if session.broken_by is None else f"{session.broken_by.cause}; "
        reason = str(refusal) or f"no answer within the {session.granted:g} s that were granted"
        session._give_up(f"{broken_by}{reason}", None if known is None else known[0])
        if isinstance(refusal.__cause__, HandshakeError):
            self._attempts += 1
            self._refused = refusal.__cause__

    def _start_afresh(self) -> None:
        """Forget earlier attempts: attempts, time and delays begin anew."""
        self._attempts = 0
        self._since = asyncio.get_running_loop().time()
        self._delays = iter(self._policy.backoff())

    def _elapsed(self) -> float:
        return asyncio.get_running_loop().time() - self._since

    def _failure(self) -> ReconnectFailed:
        return ReconnectFailed(attempts=self._attempts, elapsed=self._elapsed())

    def _change(self, state: State, info: StateInfo = NOTHING_MORE) -> None:
        """Enter a state and tell of it; a callback that fails must not take the connection down."""
        self._state = state
        if self._policy.on_state is None:
            return
        try:
            self._policy.on_state(state, info._replace(attempt=self._attempts))
        except BaseException as error:
            loop = asyncio.get_running_loop()
            callback_failed(loop, sparing, error, "on_state failed for state %r", state.value)
