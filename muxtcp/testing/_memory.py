"""What a link is made of: a pipe for each direction and a transport for each end."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

Protocol = asyncio.BufferedProtocol | asyncio.Protocol

_SEGMENT = 1_448  # bytes that a limited bandwidth hands over at once: what a TCP segment carries on Ethernet
_READ = 65_536  # bytes that a protocol without a buffer of its own gets at most at once; about what loops read
_HIGH_WATER = 65_536  # asyncio's default


class Traffic(NamedTuple):
    """What one direction of a link has carried, in bytes."""

    written: int  # by the sending side, whether it has left its write buffer or not
    delivered: int  # to the receiving protocol
    waiting: int  # on the way: in the write buffer, in flight, or unread


class Pipe:
    """One direction of a link: write buffer → in flight → the receiving protocol.

    A byte leaves the write buffer when fewer than `socket_buffer` bytes are in flight, and with that gets its time of
    arrival. It stays in flight until the receiver has taken it, as a byte in the kernel's buffers does. An empty piece
    in flight is the end.
    """

    sender: "Transport"
    receiver: "Transport"

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        latency: float,
        bandwidth: float | None,
        next_chunk: Callable[[], int | None],
        socket_buffer: int,
        cut: Callable[[], None],
    ) -> None:
        self.stalled = False
        self.cut_in: int | None = None  # bytes still to be delivered before the link breaks
        self.unsent = 0  # bytes in the write buffer
        self._loop = loop
        self._latency = latency
        self._seconds_per_byte = 1 / bandwidth if bandwidth else 0.0
        self._segment = _SEGMENT if bandwidth else socket_buffer
        self._next_chunk = next_chunk
        self._socket_buffer = socket_buffer
        self._cut = cut
        self._buffer: deque[memoryview] = deque()
        self._flight: deque[tuple[float, memoryview]] = deque()
        self._in_flight = 0
        self._line_free_at = 0.0  # when the last byte sent has passed the bottleneck
        self._ended = False  # nothing written from now on is carried
        self._end_sent = False
        self._written = 0
        self._delivered = 0
        self._wakeup: asyncio.Handle | None = None

    # the sender's side

    def write(self, data: memoryview) -> None:
        if self._ended:
            return
        self._written += len(data)
        self.unsent += len(data)
        self._buffer.append(data)
        self._send()

    def end(self) -> None:
        """Let the receiver see the end after all that was written."""
        self._ended = True
        self._send()

    def drop_unsent(self) -> None:
        self._buffer.clear()
        self.unsent = 0

    def drop(self) -> bool:
        """Forget all that is on the way, for good. True when there were bytes among it."""
        dropped = self.unsent + self._in_flight > 0
        self.drop_unsent()
        self._flight.clear()
        self._in_flight = 0
        self._ended = self._end_sent = True
        if self._wakeup is not None:
            self._wakeup.cancel()
            self._wakeup = None
        return dropped

    def traffic(self) -> Traffic:
        return Traffic(self._written, self._delivered, self.unsent + self._in_flight)

    def _send(self) -> None:
        while self._buffer and (room := self._socket_buffer - self._in_flight) > 0:
            if room < min(len(self._buffer[0]), _SEGMENT) and self._in_flight:
                break  # as TCP: who fills each small gap is soon left with small gaps only
            piece = self._buffer.popleft()
            size = min(len(piece), room, self._segment)
            if size < len(piece):
                self._buffer.appendleft(piece[size:])
            self.unsent -= size
            self._in_flight += size
            self._launch(piece[:size])
        if self._ended and not self._buffer and not self._end_sent:
            self._end_sent = True
            self._launch(memoryview(b""))
        self.wake()

    def _launch(self, piece: memoryview) -> None:
        self._line_free_at = max(self._line_free_at, self._loop.time()) + len(piece) * self._seconds_per_byte
        self._flight.append((self._line_free_at + self._latency, piece))

    # the receiver's side

    def wake(self) -> None:
        """See to it that what is in flight is delivered when it has arrived."""
        if self._wakeup is not None or not self._flight or not self._open:
            return
        arrival = self._flight[0][0]
        if arrival <= self._loop.time():
            self._wakeup = self._loop.call_soon(self._deliver, arrival)
        else:
            self._wakeup = self._loop.call_at(arrival, self._deliver, arrival)

    @property
    def _open(self) -> bool:
        return not self.stalled and self.receiver.is_reading()

    def _deliver(self, arrival: float) -> None:
        self._wakeup = None
        if not self._open:
            return
        due = max(arrival, self._loop.time())  # a loop may call a little before the time it was asked for
        if not self._flight[0][1]:
            self._flight.popleft()
            self.receiver.take_end()
            return
        limits = [limit for limit in (self._next_chunk(), self.cut_in) if limit is not None]
        self.receiver.take(lambda room: self._arrived(min([room, *limits]), due))
        if self.cut_in == 0:
            self._cut()
        else:
            self._send()
            self.sender.flushed()

    def _arrived(self, limit: int, due: float) -> bytes:
        """Take up to `limit` of the bytes that have arrived by `due` out of the flight."""
        pieces = []
        while limit and self._flight and self._flight[0][0] <= due and self._flight[0][1]:
            arrival, piece = self._flight.popleft()
            if len(piece) > limit:
                self._flight.appendleft((arrival, piece[limit:]))
            pieces.append(piece[:limit])
            limit -= len(pieces[-1])
        data = b"".join(pieces)
        self._in_flight -= len(data)
        self._delivered += len(data)
        if self.cut_in is not None:
            self.cut_in -= len(data)
        return data


class Transport(asyncio.Transport):
    """One end of a link, as a protocol sees it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: Protocol,
        incoming: Pipe,
        outgoing: Pipe,
        addresses: tuple[tuple[str, int], tuple[str, int]],
    ) -> None:
        super().__init__({"sockname": addresses[0], "peername": addresses[1]})
        self._loop = loop
        self._protocol: asyncio.BaseProtocol = protocol
        self._incoming = incoming
        self._outgoing = outgoing
        incoming.receiver = outgoing.sender = self
        self._low, self._high = _HIGH_WATER // 4, _HIGH_WATER
        self._writing_paused = False
        self._reading_paused = False
        self._eof_written = False
        self._closing = False
        self._lost = False  # connection_lost is on its way or has been called
        self._detached = False  # connection_lost has been called

    @property
    def _peer(self) -> "Transport":
        return self._outgoing.receiver

    # writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writelines((data,))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        if self._detached:
            raise RuntimeError("write() after connection_lost()")
        if self._eof_written:
            raise RuntimeError("write() after write_eof()")
        for data in list_of_data:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"a transport writes bytes, bytearray or memoryview, not {type(data).__name__}")
            if not data or self._closing:
                continue
            if self._peer._lost:
                self._peer.answer_with_reset()
            else:
                self._outgoing.write(memoryview(data).cast("B"))
        self._check_marks()

    def write_eof(self) -> None:
        if not self._closing:
            self._eof_written = True
            self._outgoing.end()

    def can_write_eof(self) -> bool:
        return True

    def flushed(self) -> None:
        """Some of the write buffer has left, or all of it."""
        self._check_marks()
        if self._closing and not self._outgoing.unsent:
            self._release(None)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = _HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._low, self._high = low, high
        self._check_marks()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return self._outgoing.unsent

    def _check_marks(self) -> None:
        if self._lost:
            return
        if self._outgoing.unsent > self._high and not self._writing_paused:
            self._writing_paused = True
            self._call(self._protocol.pause_writing)
        elif self._outgoing.unsent <= self._low and self._writing_paused:
            self._writing_paused = False
            self._call(self._protocol.resume_writing)

    # reading

    def pause_reading(self) -> None:
        self._reading_paused = True

    def resume_reading(self) -> None:
        self._reading_paused = False
        self._incoming.wake()

    def is_reading(self) -> bool:
        return not self._reading_paused and not self._closing

    def take(self, read: Callable[[int], bytes]) -> None:
        """Give the protocol what `read(room)` returns, where `room` is what it has space for."""
        self._call(lambda: self._feed(read))

    def take_end(self) -> None:
        self._call(self._end)

    def _feed(self, read: Callable[[int], bytes]) -> None:
        protocol = self._protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            buffer = memoryview(protocol.get_buffer(-1)).cast("B")
            if not buffer:
                raise RuntimeError("get_buffer() returned an empty buffer")
            data = read(len(buffer))
            buffer[: len(data)] = data
            protocol.buffer_updated(len(data))
        else:
            assert isinstance(protocol, asyncio.Protocol)
            protocol.data_received(read(_READ))

    def _end(self) -> None:
        protocol = self._protocol
        assert isinstance(protocol, asyncio.BufferedProtocol | asyncio.Protocol)
        if not protocol.eof_received():
            self.close()

    def _call(self, callback: Callable[[], None]) -> None:
        """Call into the protocol; a failure there ends the connection, as on every loop."""
        try:
            callback()
        except Exception as exc:
            self._loop.call_exception_handler(
                {
                    "message": "a protocol callback failed",
                    "exception": exc,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )
            self._outgoing.drop_unsent()
            self._release(exc)

    # the end

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._outgoing.end()
            self.flushed()

    def abort(self) -> None:
        self._outgoing.drop_unsent()
        self.close()
        self.flushed()

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def lose(self, exc: Exception) -> None:
        """The network is gone: nothing more goes in or out."""
        self._outgoing.drop()
        self._incoming.drop()
        self._finish(exc)

    def answer_with_reset(self) -> None:
        """Tell the peer, unless the network is silent, that this end is gone with something of the peer's unread."""
        if not self._outgoing.stalled:
            self._peer.lose(ConnectionResetError("the peer closed with data unread or still to come"))

    def _release(self, exc: Exception | None) -> None:
        """This end is gone, now that everything written has left."""
        if not self._lost:
            self._outgoing.end()
            self._finish(exc)
            if self._incoming.drop():
                self.answer_with_reset()

    def _finish(self, exc: Exception | None) -> None:
        self._closing = True
        if not self._lost:
            self._lost = True
            self._loop.call_soon(self._detach, exc)

    def _detach(self, exc: Exception | None) -> None:
        self._detached = True
        self._protocol.connection_lost(exc)
