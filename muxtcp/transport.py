"""A channel as an asyncio transport, so that a protocol that was written for a socket runs in it unchanged.

Writing: what is written in one turn of the loop, or inside one callback of the protocol, is joined; what is large is
cut. What the channel does not take waits here, and pauses the protocol above the high-water mark. Reading: a message
goes to the protocol from inside the session's dispatch. While the protocol pauses, messages stay in the channel, and so
does their credit: the peer is held back, and holds back who writes there.
"""

import asyncio
import errno
from asyncio import constants, transports
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, cast

from muxtcp._channel import Channel, ChannelListener
from muxtcp.errors import ChannelRefused, Code, LocalProtocolError, MuxError
from muxtcp.isolation import Sparing

__all__ = ["ChannelTransport", "as_transport"]

logger = Sparing(__name__)

PIECE = 65_536  # bytes of a message: one frame by default; 64 of cost are 0.1 %, and credit comes back piece by piece
WARNED_FROM = 5  # on, of the writes after the end, as in asyncio


class ChannelTransport(transports._FlowControlMixin):
    """One channel as an `asyncio.Transport`, with the behaviour of a TCP one; `docs/adapters.md` lists what differs.

    `get_extra_info()` knows "channel", "session", "peername" and "sockname", the last two of the session's connection.
    Both halves are independent: after `write_eof()` the protocol still receives, and it may go on writing if its
    `eof_received()` returns True.

    `connection_lost()` gets None after `close()`, `abort()` and a clean end, `ConnectionRefusedError` when the peer has
    no such service, and `ConnectionResetError` when the peer reset the channel or the session is over. The library's
    own error is its `__cause__`.
    """

    # What loop.start_tls() and loop.sendfile() of asyncio ask of a transport.
    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK

    # What asyncio's own transports share.
    _loop: asyncio.AbstractEventLoop
    _maybe_pause_protocol: Callable[[], None]
    _maybe_resume_protocol: Callable[[], None]

    def __init__(self, channel: Channel, protocol: asyncio.BaseProtocol) -> None:
        session = channel.session
        connection = session.transport
        extra = {
            "channel": channel,
            "session": session,
            "peername": session.peername,
            "sockname": None if connection is None else connection.get_extra_info("sockname"),
        }
        super().__init__(extra, session.loop)
        peer = session.engine.peer
        assert peer is not None  # there are no channels before the handshake
        self._session = session
        self._channel = channel
        self._piece = min(PIECE, peer.max_message)
        self._waiting: deque[bytes | memoryview] = deque()
        self._size = 0  # of these, in bytes
        self._flush_due = False  # they wait for the next turn
        self._held = False  # they wait for on_writable()
        self._eof = False
        self._closing = False
        self._over = 0  # connection_lost() is due or done: 1, and one more for each write since
        self._on_lost: list[Callable[[], object]] = []  # called after connection_lost()
        self._protocol = protocol
        self._receiver = Receiver(self, channel, protocol)
        channel._drop_codec()

    def __repr__(self) -> str:
        state = "closed" if self._over else "closing" if self._closing else "open"
        return f"<{type(self).__name__} {self._channel.name!r} {state} write_buffer={self._size}>"

    # Reading

    def is_reading(self) -> bool:
        """Whether the protocol is given what comes."""
        return not self._closing and not self._receiver.paused

    def pause_reading(self) -> None:
        """Leave what comes in the channel, with its credit, so that the peer cannot send more than its window."""
        if self.is_reading():
            self._receiver.pause()

    def resume_reading(self) -> None:
        """Give the protocol what has come, from the next turn of the loop on."""
        if self._receiver.paused and not self._closing:
            self._receiver.paused = False
            self._loop.call_soon(self._receiver.read_on)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the next data to another protocol; `connection_made()` is not called."""
        self._protocol = protocol
        self._receiver.take_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol that is in use; None after `connection_lost()`."""
        return self._protocol

    # Writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, as soon as this turn of the loop is over and the peer grants credit; never blocks.

        Raises:
            TypeError: not bytes-like.
            RuntimeError: after `write_eof()`.
        """
        if type(data) is not bytes:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
            data = bytes(data)
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data:
            return
        if self._over:
            if self._over >= WARNED_FROM:
                logger.warning("%r is over: what is written is dropped", self)
            self._over += 1
            return
        self._waiting.append(data)
        self._size += len(data)
        if self._held or self._size >= self._piece:
            self._flush()
        elif not self._flush_due and not self._receiver.calling:
            self._flush_due = True
            self._session._write_soon(self)

    def get_write_buffer_size(self) -> int:
        """Bytes that the channel has not taken yet."""
        return self._size

    def can_write_eof(self) -> bool:
        """Always."""
        return True

    def write_eof(self) -> None:
        """Send the end of this direction behind what was written; the other one goes on."""
        if self._closing or self._eof:
            return
        self._eof = True
        self._flush()

    def _flush_joined(self) -> None:
        self._flush_due = False
        if self._size:
            self._flush()

    def _flush(self) -> None:
        """Give the channel what it takes, then the end if one is due."""
        if self._over:
            return
        try:
            while self._size and not self._held:
                piece = self._next_piece()
                if self._channel.send_nowait(piece):
                    self._size -= len(piece)
                else:
                    self._held = True
                    self._waiting.appendleft(piece)
        except LocalProtocolError as error:
            self._fatal_error(error, "this side may only receive on this channel")
            return
        except MuxError:  # the session is ending, and on_closed() will tell why
            return
        if self._size:
            self._maybe_pause_protocol()
            return
        self._maybe_resume_protocol()
        if self._size or self._over:  # by what the protocol did
            return
        if self._closing:
            self._lose(None)
            at_once(self._channel.close())
        elif self._eof:
            at_once(self._channel.send_eof())

    def _next_piece(self) -> bytes:
        """The next message: as many of the writes as fit, or a part of a large one."""
        waiting = self._waiting
        first = waiting.popleft()
        size = len(first)
        if size > self._piece:
            view = memoryview(first)
            waiting.appendleft(view[self._piece :])
            return bytes(view[: self._piece])
        if not waiting or size + len(waiting[0]) > self._piece:
            return bytes(first)
        parts = [first]
        while waiting and size + len(waiting[0]) <= self._piece:
            size += len(waiting[0])
            parts.append(waiting.popleft())
        return b"".join(parts)

    def _writable(self) -> None:
        self._held = False
        self._flush()
        if self._size:
            self._maybe_resume_protocol()

    # The end

    def is_closing(self) -> bool:
        """Whether `close()` or `abort()` was called, or the channel is over."""
        return self._closing

    def close(self) -> None:
        """Send what was written, then close the channel and call `connection_lost(None)`. What comes is dropped."""
        if not self._closing:
            self._closing = True
            self._flush()
            if not self._over:  # the peer has to take the rest first; what comes meanwhile it is told was not received
                self._receiver.pause()

    def abort(self) -> None:
        """Reset the channel: what is not sent yet is dropped, and the peer is told so. Then `connection_lost(None)`."""
        self._force_close(None)

    def _force_close(self, error: BaseException | None) -> None:
        if not self._over:
            self._lose(error)
            failed = error is not None and not isinstance(error, OSError)
            self._channel._reset(Code.INTERNAL if failed else Code.CANCELLED, "the protocol failed" if failed else "")

    def _fatal_error(self, error: BaseException, message: str) -> None:
        if not isinstance(error, OSError):
            context = {"message": message, "exception": error, "transport": self, "protocol": self._protocol}
            self._loop.call_exception_handler(context)
        self._force_close(error)

    def _ended(self, error: Exception | None) -> None:
        """The channel is over, and it was not this transport that ended it."""
        if not self._over:
            self._lose(None if error is None else as_os_error(error))

    def _lose(self, error: BaseException | None) -> None:
        self._over = 1
        self._closing = True
        self._waiting.clear()
        self._size = 0
        self._loop.call_soon(self._call_connection_lost, error)

    def _call_connection_lost(self, error: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(error)  # type: ignore[arg-type]  # SSLProtocol gives any
        finally:
            self._protocol = cast("asyncio.BaseProtocol", None)  # as asyncio's: the two no longer hold each other
            self._receiver.forget()
            for done in self._on_lost:
                done()


class Receiver(ChannelListener):
    """The reading half of a transport: it gives the protocol what the channel brings."""

    def __init__(self, transport: ChannelTransport, channel: Channel, protocol: asyncio.BaseProtocol) -> None:
        self.transport = transport
        self.channel = channel
        self.paused = False
        self.calling = False  # the protocol: what it writes meanwhile goes out when it returns
        self.rest = b""  # of a message at which it paused
        self.eof_told = False
        self.take_protocol(protocol)
        channel.listen(self, paused=True)

    def take_protocol(self, protocol: asyncio.BaseProtocol | None) -> None:
        """The next data is for this one."""
        self.protocol: Any = protocol
        self.buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def forget(self) -> None:
        """Break the cycles, so that nobody has to wait for the collector: the loop and the channel call no more."""
        self.take_protocol(None)
        self.transport = cast("ChannelTransport", None)

    def pause(self) -> None:
        """Leave what comes in the channel."""
        self.paused = True
        self.channel.listen(self, paused=True)

    def read_on(self) -> None:
        """Begin to read, or go on after a pause: called by the loop."""
        if self.paused or self.transport._closing:
            return
        if self.rest:
            rest, self.rest = self.rest, b""
            self.on_message(self.channel, memoryview(rest))
        if not self.paused and not self.transport._closing:
            self.channel.listen(self)

    # Called by the channel

    def on_message(self, channel: Channel, view: memoryview) -> None:
        transport = self.transport
        if not view:
            return  # an empty message, which is nothing in a stream
        self.calling = True
        try:
            if self.buffered:
                self.fill_buffers(view)
            else:
                self.protocol.data_received(bytes(view))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            transport._fatal_error(error, "Fatal error: the protocol failed over the data that it was given.")
        finally:
            self.calling = False
        if transport._size and not transport._held:
            transport._flush()

    def fill_buffers(self, view: memoryview) -> None:
        """Give the protocol one buffer after the other, until it pauses, ends or is replaced by another one."""
        while view and not self.transport._closing:
            if self.paused:
                self.rest = bytes(view)
                return
            if not self.buffered:
                self.protocol.data_received(bytes(view))
                return
            buffer = memoryview(self.protocol.get_buffer(len(view))).cast("B")
            size = min(len(buffer), len(view))
            if not size:
                raise RuntimeError("get_buffer() returned an empty buffer")
            buffer[:size] = view[:size]
            view = view[size:]
            self.protocol.buffer_updated(size)

    def on_writable(self, channel: Channel) -> None:
        self.transport._writable()

    def on_eof(self, channel: Channel) -> None:
        transport = self.transport
        if self.eof_told:  # listen() tells it again
            return
        self.eof_told = True
        try:
            stays_open = self.protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            transport._fatal_error(error, "Fatal error: protocol.eof_received() call failed.")
            return
        if not stays_open:
            transport.close()

    def on_closed(self, channel: Channel, exc: Exception | None) -> None:
        self.transport._ended(exc)


def as_os_error(error: Exception, *, refused: bool = False) -> ConnectionError:
    """What code that was written for sockets expects in place of the library's error, which is its cause."""
    told: ConnectionError = ConnectionResetError(errno.ECONNRESET, str(error))
    if refused or isinstance(error, ChannelRefused):
        told = ConnectionRefusedError(errno.ECONNREFUSED, str(error))
    told.__cause__ = error
    return told


def at_once(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits, as a channel's `close()` and `send_eof()`."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


def as_transport(channel: Channel, protocol: asyncio.BaseProtocol) -> ChannelTransport:
    """Run a protocol in a channel that is open; nobody else may send or receive on it from then on.

    `connection_made()` is called in the next turn of the loop, as for a socket that was accepted. The transport closes
    the channel: do this in a handler that returns nothing, or in one that waits until the protocol is done.

    Args:
        channel: open in both directions. A codec that it has is used no more.
        protocol: an `asyncio.Protocol` or `asyncio.BufferedProtocol`.

    Raises:
        LocalProtocolError: a task receives from the channel.

    Example:
        def handler(channel: muxtcp.Channel) -> None:
            muxtcp.as_transport(channel, HTTPProtocol())
    """
    transport = ChannelTransport(channel, protocol)
    loop = channel.session.loop
    loop.call_soon(protocol.connection_made, transport)
    loop.call_soon(transport._receiver.read_on)
    return transport
