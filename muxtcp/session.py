"""Session: what a user holds for one peer, on either side."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum
from typing import Any, Literal, Self

from muxtcp._channel import Channel, ChannelListener
from muxtcp._engine import Engine, MemoryBudget
from muxtcp.adapters import Adapters
from muxtcp.authentication import Secret
from muxtcp.codecs import Codec, resolve
from muxtcp.config import Config, check_seconds
from muxtcp.errors import Code, HandshakeError, SessionClosed
from muxtcp.forks import watch
from muxtcp.isolation import Sparing, callback_failed
from muxtcp.lasting import Lasting
from muxtcp.opening import Opening
from muxtcp.parking import Parking
from muxtcp.resumption import Guest, new_nonce
from muxtcp.serving import Handler, served_channel
from muxtcp.states import NOTHING_MORE, StateInfo
from muxtcp.streams import close_in_order

__all__ = ["Channel", "ChannelListener", "Handler", "MemoryBudget", "Mode", "Priority", "Session", "process_budget"]

logger = Sparing(__name__)

process_budget = MemoryBudget()
"""What the sessions of this process cost that are given no other budget. It has no limit until it is given one."""

NO_PARKING = Parking(0.0)

Mode = Literal["rw", "r", "w"]


class Priority(IntEnum):
    """Whose messages go first when more waits than the line takes: the sender's own business, not a promise."""

    URGENT = 0
    HIGH = 1
    NORMAL = 2
    BULK = 3


class Session(Adapters):
    """One session with one peer. `connect()` and `serve()` make them.

    Args:
        client: whether this side dialled.
        config: limits and deadlines.
        handler: called with each channel that the peer opens. What is awaitable of what it returns, as with an async
            function, runs as a task of its own, and the channel is closed when it ends; else, usually after
            `channel.listen(...)`, the channel stays open until it is closed. None refuses every channel with NOT_FOUND.
        codec: turns messages into bytes and back, for every channel that is not opened with its own; None for bytes.
        meta: what the peer sees as `peer_meta`: text to text, at most 16 KiB with `auth`.
        auth: credentials that a client shows.
        budget: what it shares with other sessions; `process_budget` unless given.
        resume: seconds for which a client wishes the session to survive a broken connection; 0.0: not at all.
        psk: a key that both sides have, for resumption.
        parking: where a server keeps sessions whose connection broke; None: they end with it.
        guest_of: a session that this one is made to carry on.
        falls_back: whether it becomes a new session if that is refused for good.
        on_hello: a server's admission: sees the session with `peer_meta` and `peer_auth` before it is up, and refuses
            by raising `HandshakeError`.

    Attributes:
        peer_auth: the credentials that a client showed, as bytes that `repr()` does not show.
        on_close: callables that are called with the session when it ends; what they raise is logged. One that is
            appended after the end is never called: look at `closed` first.
        is_client: whether this side dialled.
    """

    def __init__(
        self,
        *,
        client: bool,
        config: Config | None = None,
        handler: Handler | None = None,
        codec: str | Codec | None = None,
        meta: Mapping[str, str] | None = None,
        auth: bytes = b"",
        budget: MemoryBudget | None = None,
        resume: float = 0.0,
        psk: bytes | None = None,
        parking: Parking | None = None,
        guest_of: "Session | None" = None,
        falls_back: bool = False,
        on_hello: Callable[["Session"], Awaitable[None]] | None = None,
    ) -> None:
        config = config or Config()
        loop = asyncio.get_running_loop()
        guest: Guest[Lasting] | None = None if guest_of is None else Guest(guest_of)
        nonce = new_nonce() if resume else b""
        engine = Engine(
            client=client,
            now=loop.time(),
            max_frame=config.max_frame,
            max_message=config.max_message,
            channel_window=config.channel_window,
            session_window=config.session_window,
            memory_limit=config.memory_limit,
            max_channels=config.max_channels,
            send_buffer=config.send_buffer,
            # Jittered downwards, so that the sessions of a process do not all ask in the same instant.
            keepalive=(config.keepalive or 0.0) * random.uniform(0.9, 1.0),
            keepalive_timeout=config.keepalive_timeout,
            handshake_timeout=config.handshake_timeout,
            glitch_burst=config.glitch_burst,
            glitch_rate=config.glitch_rate,
            meta=dict(meta or {}),
            auth=bytes(auth),
            budget=process_budget if budget is None else budget,
            resume_ms=int(resume * 1000),
            ticket=nonce,
            replay_limit=config.replay_limit,
            resumption=None if guest is None else guest.question,
        )
        lot = NO_PARKING if parking is None else parking  # an empty one is false
        super().__init__(
            engine,
            loop,
            config,
            resolve(codec),
            handler=handler,
            guest=guest,
            falls_back=falls_back,
            lot=lot,
            nonce=nonce,
            psk=psk,
        )
        self._parking = parking
        self.is_client = client
        self.meta = dict(meta or {})
        self.peer_auth = Secret()
        self.on_close: list[Callable[[Session], object]] = []
        self._on_hello_hook = on_hello
        self._gone = loop.create_future()
        self._pings: dict[int, asyncio.Future[None]] = {}
        watch(self)

    def __repr__(self) -> str:
        state = (
            "closed" if self.closed else "in handshake" if not self._up.done() else "up" if self.connected else "broken"
        )
        return f"<Session {'to' if self.is_client else 'from'} {self.peername or 'nowhere'} {state}>"

    # Beginning

    async def established(self) -> None:
        """Wait for the end of the handshake.

        Raises:
            HandshakeError: one side refused, or broke the rules.
            SessionLost: the connection ended first.
        """
        await asyncio.shield(self._up)

    def _on_hello(self) -> None:
        peer = self.engine.peer
        assert peer is not None
        self.peer_auth = Secret(peer.auth)
        self._take_names()
        self._spawn(self._admit(), f"admission of {self.peername}")

    async def _admit(self) -> None:
        try:
            if self._on_hello_hook is not None:
                await self._on_hello_hook(self)
            if not self.closed:
                self._accept()
        except HandshakeError as refusal:
            self._refuse(refusal)
        except asyncio.CancelledError:
            self._refuse(HandshakeError(code=Code.BUSY, reason="admission was cancelled"))  # no fault of the client's
            raise
        except BaseException as error:
            callback_failed(self.loop, logger, error, "admission of %r failed", self)
            self._refuse(HandshakeError(code=Code.INTERNAL, reason="admission failed"))
        else:
            if not self.closed:
                self._on_up()
                self._turn()

    def _accept(self) -> None:
        peer, granted, ticket = self.engine.peer, 0.0, b""
        assert peer is not None
        if self._parking is not None and peer.resume_ms:
            granted, ticket = self._parking.admit(self, peer.resume_ms / 1000, peer.ticket)
            self.on_close.append(self._parking.forget)
        self.engine.accept(self.meta, int(granted * 1000), ticket)

    def _refuse(self, refusal: HandshakeError) -> None:
        if self.closed:
            return
        try:
            self.engine.refuse(refusal.code, refusal.reason, int((refusal.retry_after or 0) * 1000))
        except Exception:
            logger.exception("%r cannot be told: %s", self, refusal)
            self.engine.refuse(Code.INTERNAL, "admission failed")
        self._turn()

    def _on_up(self) -> None:
        peer = self.engine.peer
        assert peer is not None
        self._take_names()
        if self.engine.resumable:
            try:
                self._know_again(peer)
            except HandshakeError as error:
                self.engine.close(error.code, error.reason)
                self._finish(error)
                return
        self.engine.ping(self.loop.time())  # so that the round trip is known from the start
        if not self._up.done():
            self._up.set_result(None)
            self._tell(NOTHING_MORE)

    # Channels

    def open(
        self,
        name: str,
        *,
        meta: Mapping[str, str] | None = None,
        mode: Mode = "rw",
        priority: int = Priority.NORMAL,
        codec: str | Codec | None = None,
        deadline: float | None = None,
        traceparent: str | None = None,
    ) -> Opening:
        """Open a channel: `channel = await session.open("echo")` or `async with session.open("echo") as channel:`.

        There is no reply to wait for: messages may be sent at once. Waits only while `max_channels` are open already.

        Args:
            name: at most 255 bytes of UTF-8.
            meta: text to text; with the name at most 4 KiB.
            mode: "rw", "r" (this side only receives) or "w" (this side only sends).
            priority: of what this side sends, and a wish for the other direction.
            codec: for this channel, in place of the session's.
            deadline: seconds that the peer may take, as `channel.deadline` there.
            traceparent: a W3C trace context, carried as it is.

        Raises:
            SessionClosed, SessionLost: the session is over, or the peer takes no new channels.
            ValueError: name or meta too large, or an unknown mode or priority.
        """
        self._check_thread()
        if mode not in ("rw", "r", "w"):
            raise ValueError(f'mode is "rw", "r" or "w", not {mode!r}')
        if priority not in range(4):
            raise ValueError(f"priority is from 0 (urgent) to 3 (bulk), not {priority!r}")
        own_codec = self.codec if codec is None else resolve(codec)
        return Opening(self._opened(name, dict(meta or {}), mode, int(priority), own_codec, deadline, traceparent))

    async def _opened(self, name: str, meta: dict[str, str], mode: str, *details: Any) -> Channel:
        while True:
            if not self._up.done():
                await self.established()
            if self._opens_too_soon():  # before there is a channel that a cancellation could lose
                await asyncio.sleep(0)
            if self.exception is not None:
                raise self._why_ended()
            if self._going_away or self.engine.peer_is_leaving:
                raise SessionClosed(code=Code.SHUTDOWN, reason="no new channels", remote=not self._going_away)
            channel = self._open(name, meta, mode, *details)
            if channel is not None:
                return channel
            await self._slot()

    async def request(self, name: str, message: Any, *, timeout: float | None = None, **options: Any) -> Any:
        """Open a channel, send one message and its end, return the one message that comes back.

        Args:
            timeout: seconds; also told to the peer as the channel's deadline, unless `deadline` says otherwise.
            options: as for `open()`.

        Raises:
            TimeoutError: the channel was then reset with TIMEOUT.
            ChannelRefused, ChannelReset, EndOfStream: the peer did not answer.
        """
        self._check_thread()
        if self.forked:  # in the child there is no loop to time it
            raise self._why_ended()
        options.setdefault("deadline", timeout)
        try:
            async with asyncio.timeout(timeout) as limit, self.open(name, **options) as channel:
                try:
                    await channel.send(message)
                    await channel.send_eof()
                    return await channel.recv()
                except asyncio.CancelledError:
                    if limit.expired():
                        await channel.reset(Code.TIMEOUT, f"no answer within {timeout:g} s")
                    raise
        except TimeoutError as error:
            if limit.expired():
                raise TimeoutError(f"no answer to {name!r} within {timeout:g} s") from error
            raise

    @property
    def channels(self) -> list[Channel]:
        """The channels that are open now, opened by either side."""
        return self.attached_channels()

    # Liveness and facts

    async def ping(self) -> float:
        """Seconds that a PING and its answer take now."""
        if self.exception is not None:
            raise self._why_ended()
        await self.established()
        self._check_thread()
        started = self.clock()
        n = self.engine.ping(started)
        waiter = self._pings[n] = self.loop.create_future()
        self._turn()
        try:
            await waiter
        finally:
            self._pings.pop(n, None)
        return float(self.clock() - started)

    def _on_pong(self, n: int) -> None:
        for number in [number for number in self._pings if number <= n]:  # one answer serves all that asked before it
            waiter = self._pings.pop(number)
            if not waiter.done():
                waiter.set_result(None)

    @property
    def rtt(self) -> float:
        """Smoothed round trip in seconds; nan before the first measurement."""
        return self.engine.rtt

    @property
    def peer_meta(self) -> dict[str, str]:
        """The peer's metadata, once the handshake has come: text to text. A new dict each time."""
        peer = self.engine.peer
        return {} if peer is None else peer.meta

    def stats(self) -> dict[str, int]:
        """Counters since the session began: frames, messages and bytes each way, and what was refused, by name.

        `oddities` of the peer are what `glitch_burst` bounds; `turns_cut_short` says how often the session had used up
        its share of a turn of the loop, so that others had theirs first.
        """
        return self.engine.counters | self._resumption_stats() | {"turns_cut_short": self.turns_cut_short}

    @property
    def peer_going_away(self) -> bool:
        """Whether the peer takes no new channels, as a server that drains: `open()` raises, and open channels go on."""
        return self.engine.peer_is_leaving

    @property
    def closed(self) -> bool:
        """Whether the session is over."""
        return self.exception is not None

    def set_memory_limit(self, limit: int) -> None:
        """Bound what the peer may have unread here, in bytes. It takes effect as credit is used up, not at once."""
        self._check_thread()
        least = self.config.max_message + 64
        if limit < least:
            raise ValueError(f"a memory limit of {limit:,} bytes does not hold one message: at least {least:,}")
        self.engine.memory_limit = limit

    # End

    async def drain(self, code: int = Code.NO_ERROR, reason: str = "") -> None:
        """Take no new channels, and wait until the open ones have ended and everything is written.

        Called by a handler, it does not wait for that handler's own channel.
        """
        self._check_thread()
        if self.closed:
            return
        if not self._going_away:
            self.engine.go_away(code, reason)
            self._going_away = True
        own = served_channel()
        if own is None or own.session is not self:
            await self._until_quiet()
            while (self.not_awaited or self._in_use()) and not self.closed:  # a handler that drains has its time, too
                await self._until_quiet()
            return
        self.not_awaited.add(own.id)
        try:
            await self._until_quiet()
        finally:
            self.not_awaited.discard(own.id)

    async def close(self, code: int = Code.NO_ERROR, reason: str = "", *, timeout: float | None = None) -> None:
        """End in good order: no new channels, the open ones finish, then the connection is closed.

        Channels that this side opened are closed; handlers of the peer's channels may finish, and are then cancelled.
        A handler may call it, and is not waited for. Silent when the session is over already.

        Args:
            code, reason: for the peer's `SessionClosed`.
            timeout: seconds that the open channels have; `close_timeout` unless given. After that, the peer's goodbye
                and the cancelled handlers have `close_timeout` together, or a slow channel would cost the goodbye.

        Raises:
            ValueError: the timeout is negative.
        """
        self._check_thread()
        limit = self.config.close_timeout if timeout is None else timeout
        check_seconds("timeout", limit)
        established = self._up.done() and not self.closed
        if established and (self.connected or self.is_client):  # a server cannot bring a broken connection back
            try:
                async with asyncio.timeout(limit):
                    for channel in self.channels:
                        if channel.id % 2 == self.is_client:
                            await close_in_order(channel)
                    await self.drain(code, reason)
            except TimeoutError:
                logger.info("%r still had open channels after %g s", self, limit)
        self.engine.close(code, reason)
        self._turn()
        await self.wait_closed()

    def abort(self, reason: str = "", *, code: int = Code.CANCELLED) -> None:
        """End now: tell the peer if the line takes it, and drop the connection; the peer sees `code`, or a loss."""
        self._check_thread()
        self.engine.close(code, reason)
        self._turn()
        self._abort_connection()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone and the handlers have ended; both have `close_timeout` from the end on."""
        if self.forked:
            return
        await asyncio.shield(self._gone)
        others = self._tasks - {asyncio.current_task()}
        if others:
            _, left = await asyncio.wait(
                others, timeout=max(0, self._ended_at - self.loop.time() + self.config.close_timeout)
            )
            for task in left:
                logger.warning("%s of %r goes on, %g s after its end", task.get_name(), self, self.config.close_timeout)

    def _on_ended(self, channels: list[Channel]) -> None:
        error = self.exception
        assert error is not None
        self._ended_at = self.loop.time()
        if not self._up.done():
            self._up.set_exception(error)
            self._up.exception()  # whether anyone waits for it is the caller's business
        for waiter in self._pings.values():
            if not waiter.done():
                waiter.set_exception(error)
        super()._on_ended(channels)
        self._tell(StateInfo(cause=error))
        self.on_state.clear()
        callbacks, self.on_close = self.on_close, []  # they hold whom they tell, who may hold the session
        for callback in callbacks:
            try:
                callback(self)
            except BaseException as failure:
                callback_failed(self.loop, logger, failure, "a callback in on_close of %r failed", self)

    def _on_disconnected(self) -> None:
        if not self._untold and not self._gone.done():
            self._gone.set_result(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def check_meta(meta: Mapping[str, str] | None) -> None:
    """Raise what a session with this metadata would: TypeError if it is not text to text, ValueError if too large."""
    Engine(client=True, meta=dict(meta or {}))


def refused(code: Code, reason: str, retry_after: float) -> bytes:
    """What a server says to a client that it has not listened to."""
    engine = Engine(client=False)
    engine.refuse(code, reason, int(retry_after * 1000))
    return engine.data_to_send()
