"""serve(): listeners, admission, and an end in good order."""

import asyncio
import errno
import logging
import os
import signal
import socket
import ssl as tls
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any

from muxtcp.admission import GOODBYE, RETRY_AFTER, Admission, OnSession, counter_of, in_words
from muxtcp.authentication import Authenticate, Secret
from muxtcp.codecs import Codec, resolve
from muxtcp.config import Config, check_seconds
from muxtcp.errors import Code, HandshakeError, MuxError
from muxtcp.forks import watch
from muxtcp.gate import Gate, origin
from muxtcp.isolation import Sparing
from muxtcp.parking import Parking
from muxtcp.resumption import check_key
from muxtcp.session import Handler, MemoryBudget, Session, check_meta, process_budget, refused
from muxtcp.sockets import Address, listen, url
from muxtcp.streams import StreamHandler, serving_streams
from muxtcp.tls import Factory, StandIn, receive

logger = logging.getLogger(__name__)
sparing = Sparing(__name__)

Attach = Callable[[Factory, asyncio.Timeout], Awaitable[None]]

ACCEPTS = 16  # connections taken in one wake-up, so that a storm of them leaves turns to those that are there
TOO_MANY = refused(Code.BUSY, "too many connections are in their handshake", RETRY_AFTER)
PAUSE = 1.0  # seconds without accepting after a failure, as in asyncio: the connections wait in the kernel's backlog


def serve(
    handler: Handler | None,
    host: str | None = None,
    port: int | None = None,
    *,
    stream_handler: StreamHandler | None = None,
    path: str | os.PathLike[str] | None = None,
    sock: socket.socket | None = None,
    listening: bool = True,
    ssl: tls.SSLContext | None = None,
    reuse_port: bool = False,
    backlog: int = 1_024,
    codec: str | Codec | None = None,
    meta: Mapping[str, str] | None = None,
    config: Config | None = None,
    budget: MemoryBudget = process_budget,
    resume: float = 30.0,
    psk: bytes | None = None,
    max_parked: int = 1_024,
    max_parked_per_identity: int = 8,
    parked_memory: int = 64 << 20,
    authenticate: Authenticate | None = None,
    on_session: OnSession | None = None,
    signals: bool = False,
    drain_timeout: float = 30.0,
) -> "Server":
    """Serve sessions.

    Nothing happens before the server is awaited or entered:

        async with serve(handler, "127.0.0.1", 7777, signals=True) as server:    # closed at the end
            await server.wait_closed()                                           # until SIGTERM or Ctrl-C
        server = await serve(handler, path="/run/x.sock")                        # close it yourself

    Args:
        handler: called with each channel that a client opens, as a task of its own; None refuses them all.
        stream_handler: in place of `handler`, which is None then: called with each channel as a `StreamReader` and a
            `StreamWriter`, as by `asyncio.start_server()`. The writer is closed when it returns, and the channel is
            reset when it raises. `writer.get_extra_info("channel")` has the name.
        host: a name or address to listen on, at every place behind it; None or "" for all interfaces.
        port: 0 lets the system choose: see `Server.addresses`.
        path: of a Unix socket, in place of a host. A socket file that is there already is replaced, and it is removed
            when the server is closed.
        sock: a bound socket, in place of a host.
        listening: False for a server that listens nowhere, in place of a host: see `Server.admit()`.
        ssl: a server's context, used as it is; None for plain TCP. With `verify_mode=CERT_REQUIRED` a client needs a
            certificate, which `session.peer_identity` names.
        reuse_port: let several processes listen on the port.
        backlog: connections that the kernel keeps until they are accepted.
        codec: "json", "msgpack" or an object with `encode` and `decode`, for all channels; None for bytes.
        meta: session metadata that each client sees once it is accepted.
        config: limits and deadlines, the same for each session.
        budget: what all sessions of the process may cost together: `MemoryBudget` says what happens as it is used up.
        resume: the most seconds for which a session outlives its connection, if its client wishes that: 0 to 120.
        psk: at least 16 bytes that the clients have, too: then resumption is safe on connections that others can read.
        max_parked: how many sessions may wait for their clients; beyond that the one that has waited longest goes.
        max_parked_per_identity: the same for those whose clients are one `peer_identity`, so that no client can use up
            the places of the others; a client without an identity is bounded by `max_parked` alone.
        parked_memory: bytes that these may cost together; the same.
        authenticate: an async function that is shown each client's `Credentials`, and returns who that is, as
            `session.peer_identity`. It refuses by returning None (UNAUTHENTICATED), or by raising `HandshakeError` as
            `on_session` does. An `OSError`, also `TimeoutError`, is taken for an outage of what it asks, and refuses
            with BUSY, so that the client tries again; any other exception refuses with INTERNAL. Both are logged. It
            has what is left of `handshake_timeout`, and is cancelled when the client goes. A session that is resumed is
            not asked again.
        on_session: sees each session before its first channel, with `peer_meta` and `peer_identity`. It refuses the
            client by raising `HandshakeError(code=..., reason=..., retry_after=...)`; other exceptions are taken as
            those of `authenticate` are.
        signals: whether SIGTERM and SIGINT drain the server; a second one closes it at once. Only in the main thread.
        drain_timeout: seconds that `drain()` gives the open channels.

    Raises:
        ValueError: the arguments do not name one place to listen on, "tls://" comes without `ssl`, `psk` without
            `resume`, `handler` with `stream_handler`, `meta` is too large, or a number is out of range.
        TypeError: `meta` is not text to text, or the port not an int.

    The server, when started, raises:
        OSError: a place cannot be listened on; the text names it.
    """
    if psk is not None and not resume:
        raise ValueError("psk= goes with resume=")
    if stream_handler is not None:
        if handler is not None:
            raise ValueError("handler and stream_handler= exclude each other: in a handler, as_stream() makes streams")
        handler = serving_streams(stream_handler)
    check_key(psk)
    check_seconds("drain_timeout", drain_timeout)
    parking = Parking(
        resume,
        psk=None if psk is None else Secret(psk),
        most=max_parked,
        most_per_identity=max_parked_per_identity,
        memory=parked_memory,
        budget=budget,
    )
    anywhere = host is None and path is None and sock is None
    if not listening and not (anywhere and port is None):
        raise ValueError("listening=False goes with no place to listen on")
    address = Address.of("" if anywhere else host, port if listening else 0, path, sock)
    if address.tls and ssl is None:
        raise ValueError(f"{host!r} needs ssl=, a context with the server's certificate")
    check_meta(meta)  # or each handshake would fail of it
    config = config or Config()
    admission = Admission(budget=budget, counters=parking.counters, authenticate=authenticate, on_session=on_session)
    return Server(
        listen=partial(listen, address, backlog=backlog, reuse_port=reuse_port) if listening else _nowhere,
        new_session=partial(
            Session,
            client=False,
            config=config,
            handler=handler,
            codec=resolve(codec),
            meta=meta,
            budget=budget,
            parking=parking,
            on_hello=admission,
        ),
        admission=admission,
        parking=parking,
        ssl=None if ssl is None else StandIn(ssl),
        config=config,
        signals=signals,
        drain_timeout=drain_timeout,
    )


async def _nowhere() -> list[socket.socket]:
    return []


class Server:
    """What `serve()` returns: awaitable, and an async context manager that closes it at the end.

    Attributes:
        sessions: those that are up now, or wait for their clients.
        parking: of the latter, `len(parking)` and their `cost` in bytes.
        counters: since the start: `accepted` connections, `sessions` that came up, `over_max_handshakes` and
            `over_max_handshakes_per_address` for connections closed at once (and `shut_down` for those that came to
            `admit()` too late), `drains_cut_short`, one for each code with
            which a handshake failed (`BAD_PREFACE`, `UNAUTHENTICATED`, ...), and `lost_in_handshake`. For resumption:
            `parked`, `resumed`, `expired`, `evicted`, and a `resume_...` for each reason of a refusal. For memory, see
            `MemoryBudget`: `refused_over_budget`, `not_parked_over_budget`, `evicted_over_budget`.
    """

    def __init__(
        self,
        *,
        listen: Callable[[], Awaitable[list[socket.socket]]],
        new_session: Callable[[], Session],
        admission: Admission,
        parking: Parking,
        ssl: StandIn | None,
        config: Config,
        signals: bool,
        drain_timeout: float,
    ) -> None:
        self.sessions: set[Session] = set()
        self.parking = parking
        self.counters: Counter[str] = parking.counters
        self._listen = listen
        self._new_session = new_session
        self._admission = admission
        self._ssl = ssl
        self._config = config
        self._signals = [signal.SIGTERM, signal.SIGINT] if signals else []
        self._handled: list[signal.Signals] = []  # of these, for as long as it does
        self._drain_timeout = drain_timeout

        self._sockets: list[socket.socket] = []
        self._paused: dict[socket.socket, asyncio.TimerHandle] = {}
        self._handshakes: set[asyncio.Task[None]] = set()
        self._gate = Gate(config.max_handshakes, config.max_handshakes_per_address)
        self._stopping = False
        self._shutdown: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()
        self._of_parent = False  # this process is a fork's child

    # Life, in this order

    def __await__(self) -> Generator[Any, None, "Server"]:
        return self._start().__await__()

    async def __aenter__(self) -> "Server":
        return await self._start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def serve_forever(self) -> None:
        """Serve until somebody else closes the server, or the caller is cancelled; start it first if need be."""
        if not self._sockets:
            await self._start()
        try:
            await self.wait_closed()
        finally:
            await self.close()

    async def drain(self, timeout: float | None = None) -> None:
        """Stop accepting, let the open channels finish, then close; cancelled, close at once.

        A handler may call it: its own channel is not waited for, and it is cancelled when its session ends.

        Args:
            timeout: seconds that the channels have; `drain_timeout` of `serve()` unless given.

        Raises:
            ValueError: the timeout is negative.
        """
        limit = self._drain_timeout if timeout is None else timeout
        check_seconds("timeout", limit)
        self._stop_listening()
        channels = sum(len(session.channels) for session in self.sessions)
        logger.info("draining for at most %g s; channels: %d, sessions: %d", limit, channels, len(self.sessions))
        try:
            async with asyncio.TaskGroup() as group:
                for session in list(self.sessions):
                    group.create_task(self._drain(session, limit))
        finally:
            await self.close()

    async def close(self) -> None:
        """Stop accepting and close every session, each as `Session.close()` does. More than once is harmless.

        Once begun, it is carried through, also when the caller is cancelled: as a handler is, when its session ends.
        """
        if self._of_parent:
            return
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._stop_listening()
        try:
            for handshake in self._handshakes:
                handshake.cancel()
            if self._handshakes:
                await asyncio.wait(self._handshakes)
            async with asyncio.TaskGroup() as group:
                for session in list(self.sessions):
                    group.create_task(session.close(Code.SHUTDOWN, GOODBYE))
        finally:
            while self._handled:
                asyncio.get_running_loop().remove_signal_handler(self._handled.pop())
            self._closed.set()

    async def wait_closed(self) -> None:
        """Wait until the server is closed, by `close()`, `drain()` or a signal; in the child of a fork, not at all."""
        if not self._of_parent:
            await self._closed.wait()

    # Facts

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets; none once the server accepts no more."""
        return tuple(self._sockets)

    @property
    def addresses(self) -> list[str]:
        """Where it can be reached, written so that `connect()` takes each: "tcp://127.0.0.1:7777"."""
        return [url(sock, tls=self._ssl is not None) for sock in self._sockets]

    # Listening

    async def _start(self) -> "Server":
        if self._of_parent:
            raise RuntimeError(f"this process ({os.getpid()}) is a fork, and its parent has the server")
        if self._sockets or self._stopping:
            raise RuntimeError("a server can be started only once")
        self._sockets = await self._listen()
        watch(self)  # before that there is nothing that a child could not have for itself
        for sock in self._sockets:
            self._resume(sock)
        for number in self._signals:
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
            self._handled.append(number)
        return self

    def _stop_listening(self) -> None:
        """Accept no more connections, and refuse those whose handshake is under way."""
        self._stopping = True
        self._admission.stop()
        self.parking.stop()
        for timer in self._paused.values():
            timer.cancel()
        self._paused.clear()
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        self._sockets.clear()

    def _resume(self, listener: socket.socket) -> None:
        self._paused.pop(listener, None)
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _pause(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        self._paused[listener] = loop.call_later(PAUSE, self._resume, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Take the connections that wait. The loop's own server would apply TLS before the caps could be."""
        if self._stopping:  # in the child of a fork, where it could not be taken from the loop
            return
        for _ in range(ACCEPTS):
            try:
                connection, place = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:  # it left while it waited
                continue
            except OSError as error:
                if error.errno == errno.EBADF:  # somebody else has closed it: all others pass, as a want of descriptors
                    raise
                sparing.error("accepting nothing for %g s: %s", PAUSE, error)
                self._pause(listener)
                return
            connection.setblocking(False)
            self._receive(connection, place[0] if connection.family != socket.AF_UNIX else "")

    def _receive(self, connection: socket.socket, host: str) -> None:
        def attach(factory: Factory, limit: asyncio.Timeout) -> Awaitable[None]:
            return receive(connection, factory, self._ssl, limit)

        self._begin(attach, connection.close, partial(self._turn_back, connection), host)

    def admit(self, attach: Callable[[Factory], Awaitable[None]], close: Callable[[], object], host: str = "") -> None:
        """Begin a handshake on a connection that came in another way than over a listener of this server.

        Args:
            attach: is given a factory of `asyncio.BufferedProtocol`s, and makes one that of the connection.
            close: closes the connection, if it is not to be attached: there are too many, or the server is closed.
            host: the address that it comes from, as text, by which connections are counted; "" for a local peer.
        """
        if self._stopping:
            self.counters["shut_down"] += 1
            close()
        else:
            self._begin(lambda factory, limit: attach(factory), close, close, host)

    def _begin(self, attach: Attach, close: Callable[[], object], turn_back: Callable[[], object], host: str) -> None:
        """Begin a handshake, unless there are too many."""
        self.counters["accepted"] += 1
        place = origin(host)
        if (refusal := self._gate.refusal(place)) is not None:
            self.counters[refusal] += 1
            turn_back()
            return
        handshake = asyncio.create_task(self._shake_hands(attach, host))
        self._handshakes.add(handshake)
        self._gate.enter(place)
        handshake.add_done_callback(partial(self._shaken, close, place))

    def _turn_back(self, connection: socket.socket) -> None:
        """Close a connection at once. Without TLS its client is told when to come back; what that costs is one call."""
        with connection, suppress(OSError):  # the client may have gone already
            if self._ssl is None:
                connection.send(TOO_MANY)

    def _shaken(self, close: Callable[[], object], place: str, handshake: asyncio.Task[None]) -> None:
        """Account for a handshake that ended, and say what failed on this side."""
        self._handshakes.discard(handshake)
        self._gate.leave(place)
        if handshake.cancelled():
            close()  # a task that is cancelled before its first step has not even tried to
        elif (error := handshake.exception()) is not None:
            sparing.error("a handshake failed on this side", exc_info=error)

    # Sessions

    async def _shake_hands(self, attach: Attach, host: str) -> None:
        """Make a session of a connection, or close it and count why it came to nothing."""
        session = self._new_session()
        try:
            try:
                await self._attach(attach, session)
                await session.established()
            except (OSError, MuxError) as error:
                self.counters[counter_of(error)] += 1
                sparing.info(f"no session with %s: {in_words(error)}", host or "a local peer", error)
                if session.closed:  # the connection counts among the handshakes until it is gone
                    await session.wait_closed()
                return
        except asyncio.CancelledError:
            if session.handed_over:  # the connection is another session's: nothing is left to cancel
                return
            await self._turn_away(session)
            raise
        if session.handed_over:
            return
        self.counters["sessions"] += 1
        if not session.closed:
            self.sessions.add(session)
            session.on_close.append(self.sessions.discard)
            if self._stopping:  # since it was admitted: a drain that is under way does not know it
                await session.close(Code.SHUTDOWN, GOODBYE)

    async def _turn_away(self, session: Session) -> None:
        """End what was to be a session because the server closes: with a code that lets its client come back."""
        self.counters[Code.SHUTDOWN.name] += 1
        if session.engine.peer is not None:  # it waits for an answer, and is given the time to read this one
            await session.close(Code.SHUTDOWN, GOODBYE, timeout=0)
        else:
            session.abort(GOODBYE, code=Code.SHUTDOWN)

    async def _attach(self, attach: Attach, session: Session) -> None:
        """Give a connection to its session, through TLS if there is a context; close it when that fails."""
        timeout = self._config.handshake_timeout
        try:
            async with asyncio.timeout(timeout) as limit:
                await attach(session.protocol, limit)
        except TimeoutError as error:
            if limit.expired():
                raise HandshakeError(code=Code.HANDSHAKE_TIMEOUT, reason=f"no TLS within {timeout:g} s") from error
            raise

    async def _drain(self, session: Session, limit: float) -> None:
        """Let a session's channels finish, within the limit."""
        if self.parking.waits(session):  # in vain
            await session.close(Code.SHUTDOWN, GOODBYE)
            return
        try:
            async with asyncio.timeout(limit):
                await session.drain()
        except TimeoutError:
            self.counters["drains_cut_short"] += 1
            await session.close(Code.SHUTDOWN, GOODBYE, timeout=0)  # the channels have had their time
        except MuxError as error:
            logger.info("a session ended while it was drained: %s", error)

    def _forked(self) -> None:
        """In the child of a fork: sockets and sessions are the parent's, and so is the loop that hears of signals."""
        self._of_parent = self._stopping = True
        self._admission.stop()
        self._paused.clear()
        self._sockets.clear()
        self._handshakes.clear()
        self.sessions.clear()
        if self._handled:
            signal.set_wakeup_fd(-1)  # it wakes the parent's loop
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _on_signal(self) -> None:
        """The first signal drains, the second ends at once."""
        if self._shutdown is None:
            self._shutdown = asyncio.create_task(self.drain())
        else:
            for session in list(self.sessions):
                session.abort("a second signal arrived")
