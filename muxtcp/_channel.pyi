"""Channel and ChannelListener: what a user holds of one channel."""

from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, final

from muxtcp._inbox import Inbox
from muxtcp.session import Session

class Stall(NamedTuple):
    """What holds a channel up."""

    reason: Literal[
        "peer_window", "session_window", "socket", "memory", "connection", "acknowledgements", "reader_idle"
    ]
    """What a sender waits for: the credit of the channel (`peer_window`) or of the session (`session_window`), the
    transport (`socket`), room in `send_buffer` that others have (`memory`), a connection (`connection`: the session's
    broke and is being resumed), room in the replay log (`acknowledgements`). Or `reader_idle`: messages wait and nobody
    receives."""
    since: float
    """Loop time, in seconds."""

class ChannelStats(NamedTuple):
    """Bytes count as credit does: each message 64 more than its size. All 0 but `unread` once this side has closed."""

    unread: int
    """Messages that wait for the user."""
    sent: int
    """Bytes, since the channel began."""
    received: int
    """Bytes, since the channel began."""
    send_credit: int
    """Bytes that may be sent before the peer has to grant more."""
    receive_window: int
    """Bytes that the peer may have unread here; it grows with what is consumed per round trip."""

class ChannelListener:
    """Receives without a task and without a copy: subclass it, override what you need, give it to `Channel.listen()`.

    Its methods run inside the event loop's callback and must not block. An exception out of one of them resets the
    channel with INTERNAL and is logged; the session goes on. (During `listen()` it is raised there instead, and what
    `on_closed()` raises is only logged.) They may send, reset, close, and give the channel to another listener.

    In Cython, override `cdef int message(self, Channel channel, const char *data, Py_ssize_t size) except -1` in place
    of `on_message`: it gets no Python object at all.

        from muxtcp._channel cimport Channel, ChannelListener

    Example:
        class Ticks(muxtcp.ChannelListener):
            def on_message(self, channel, view):
                self.latest = float(view[:8].tobytes())

        channel.listen(Ticks())
    """

    def on_message(self, channel: Channel, view: memoryview) -> object:
        """A message has come: `view` is valid during this call only (`bytes(view)` keeps a copy), always raw bytes.

        Its credit goes back to the peer when this returns.
        """

    def on_writable(self, channel: Channel) -> object:
        """A `send_nowait()` that returned False may be tried again."""

    def on_eof(self, channel: Channel) -> object:
        """The peer has sent its last message. This side may go on sending."""

    def on_closed(self, channel: Channel, exc: Exception | None) -> object:
        """The channel is over; the last call.

        Args:
            exc: ChannelReset, ChannelRefused, SessionClosed or SessionLost; None after `close()` by this side.
        """

@final
class Channel(Inbox):
    """One logical, ordered, flow-controlled path of messages, in both directions.

    They come from `session.open()` and, on the other side, as the argument of the handler. A message is `bytes`, or,
    with a codec, whatever the codec makes of bytes.

    Receiving, one way at a time: `recv()`, `async for`, `batches()`, `recv_nowait()`, or `listen()`. Credit goes back
    to the peer when a message is taken. Sending: `send()`, `send_nowait()`, `send_many()`. Ending: `send_eof()` for one
    direction, `close()` in good order, `reset()` and `refuse()` with a code.

    Example:
        async with session.open("sum", meta={"tenant": "a"}) as channel:
            await channel.send(b"1 2 3")
            await channel.send_eof()
            async for message in channel:
                print(message)
    """

    @property
    def meta(self) -> dict[str, str]:
        """What the opener sent with the name; there before the first message. A new dict each time."""

    @property
    def session(self) -> Session:
        """The session that the channel belongs to."""

    @property
    def priority(self) -> int:
        """As it was opened, from 0 (`Priority.URGENT`) to 3 (`Priority.BULK`)."""

    @property
    def wish(self) -> int:
        """The priority that the OPEN frame carried."""

    @property
    def deadline(self) -> float | None:
        """Loop time by which the opener wants to be done (`asyncio.timeout_at(channel.deadline)`), or None."""

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context that the opener sent, as it is, or None."""

    @property
    def closed(self) -> bool:
        """Whether the channel is over: closed or reset by this side, reset by the peer, or its session is gone."""

    # Receiving

    def listen(self, listener: ChannelListener, *, paused: bool = False) -> None:
        """Give the messages that are here and all that will come to a listener, in place of `recv()`.

        Messages reach a listener as raw bytes: the codec is not asked.

        Args:
            listener: may be another one than before, from this message on.
            paused: messages and the peer's end wait, and so does their credit, until `listen()` is called again; the
                listener is told of the rest. This is how a listener holds its peer back, also from inside its methods.

        Raises:
            LocalProtocolError: a task waits in `recv()`.
            TypeError: not a `ChannelListener`.
            Exception: what the listener raised over a message that is here already. That one counts as consumed; the
                rest may be received in any way.
        """

    # Sending

    def send(self, message: Any) -> Coroutine[Any, Any, None]:
        """Send one message, whole or not at all.

        Returns at once while there is credit, and otherwise waits for the peer to consume, in the order of the calls.
        It having returned means that the message will be sent, not that the peer has it. One that need not wait is
        accepted by the call itself, before it is awaited.

        A send that was cancelled has not sent its message. If the message has begun by then, it can't be taken back:
        `send()` returns, and the CancelledError comes from the next `await`.

        Args:
            message: `bytes`, `bytearray` or `memoryview` (the two are copied); with a codec what `encode` takes.

        Raises:
            MessageTooLarge: over the peer's `max_message`; nothing was sent, and the channel goes on.
            LocalProtocolError: this side has sent its end, or only receives on this channel.
            ChannelClosed: this side has closed it.
            ChannelReset, ChannelRefused: the peer gave the channel up.
            SessionClosed, SessionLost: the session is over.
            TypeError: not bytes, and there is no codec.
        """

    def send_nowait(self, message: Any) -> bool:
        """Send one message if that needs no waiting.

        Returns:
            Whether it was accepted. After False, nothing was sent, and a listener is told by `on_writable`.

        Raises:
            As `send()`.
        """

    async def send_many(self, messages: Iterable[Any]) -> None:
        """Send each message of an iterable, in order, waiting as `send()` does.

        Cancelled or failed, the messages accepted so far are sent, and the others are not.

        Raises:
            As `send()`.
        """

    def send_threadsafe(self, message: Any) -> Future[None]:
        """Send one message from another thread than that of the session's event loop.

        Everything else of a channel and its session is for the loop's thread, and raises RuntimeError elsewhere.

        Messages of one thread are sent in the order of its calls; between threads there is none. The message is copied
        now, unless there is a codec: that one works in the loop's thread, so do not change the object meanwhile.

        Returns:
            A future that is done when the message is accepted, or has the error that `send()` would raise. Its
            `result(timeout)` blocks, so never call it in the loop's thread. Cancelling it gives up a message that still
            waits for credit; one that was accepted in the same instant is sent nevertheless, whole.

        Raises:
            RuntimeError: the event loop is closed.
            TypeError: not bytes, and there is no codec.

        Example:
            def worker(channel: muxtcp.Channel) -> None:  # in a thread
                for row in database:
                    channel.send_threadsafe(row).result(timeout=30)  # back-pressure: one at a time
        """

    # The end

    async def send_eof(self) -> None:
        """Say that this side has sent its last message. Receiving goes on: the peer may answer.

        All that was accepted arrives first; then the peer's `async for` ends, and its `recv()` raises `EndOfStream`.

        Raises:
            ChannelClosed, ChannelReset, ChannelRefused, SessionClosed, SessionLost: the channel is over already.
        """

    async def flush(self) -> None:
        """Wait until everything that was sent on this channel is in the peer's session: received, not yet processed.

        On a resumable session it waits through breaks of the connection.

        Raises:
            ChannelClosed, ChannelReset, ChannelRefused, SessionClosed, SessionLost: it will never be.

        Example:
            await channel.send(order)
            await channel.flush()
        """

    async def close(self) -> None:
        """End in good order: what was sent still arrives; what was not received is dropped, and its sender told.

        Never waits, never fails, and may be called again. The end of `async with session.open(...)` does it.
        """

    async def reset(self, code: int = ..., reason: str = "") -> None:
        """Kill both directions at once; what is not on the wire yet is dropped.

        The peer's `recv()` and `send()` raise `ChannelReset(code, reason)`, and so do those of this side. Silent when
        the channel is over already.

        Args:
            code: a `Code`, by default `Code.CANCELLED`, or a number of the application's own from 0x1000 to 2^62.
            reason: for humans; cut at 255 bytes of UTF-8.

        Raises:
            ValueError: a code below 0 or from 2^62 on.
        """

    async def refuse(self, code: int = ..., reason: str = "") -> None:
        """Decline a channel that the peer opened: its `recv()` and `send()` raise `ChannelRefused(code, reason)`.

        Args:
            code: from 0x10 to 0x1f, by default `Code.NOT_FOUND`.
            reason: for humans; cut at 255 bytes of UTF-8.

        Raises:
            ValueError: a code outside of that range.
            LocalProtocolError: this side opened the channel.
        """

    def _listener(self) -> ChannelListener | None: ...
    def _drop_codec(self) -> None: ...
    def _reset(self, code: int, reason: str) -> None: ...
    def _tell_closed(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the channel; after an exception reset it, so that what was sent is not taken for all there is."""

    # Facts

    @property
    def exception(self) -> Exception | None:
        """Why the channel is over, when it did not end in good order; None otherwise."""

    @property
    def stall(self) -> Stall | None:
        """What holds the channel up and since when, or None: the answer to "why is it stuck?".

        Example:
            >>> channel.stall
            Stall(reason='peer_window', since=1234.5)
        """

    def stats(self) -> ChannelStats:
        """What has gone through the channel, and what may."""
