"""A WebSocket as the transport of an asyncio protocol: its binary messages, joined, are the byte stream."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK
from websockets.frames import CloseCode

from .pace import Pace

HIGH_WATER = 65_536  # bytes: asyncio's default, until the protocol sets its own


class WebSocketTransport(asyncio.Transport):
    """One WebSocket. `run()` is its life; everything else is what asyncio says that a transport has.

    Args:
        connection: after its handshake.
        counters: where refusals are counted: `text_message`, `empty_message`, `too_large`.
        pace: how fast messages may come.
    """

    def __init__(self, connection: ServerConnection, counters: Counter[str], pace: Pace) -> None:
        super().__init__()
        self._connection = connection
        self._counters = counters
        self._pace = pace
        self._protocol: asyncio.BufferedProtocol | None = None
        self._attached: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting: deque[bytes] = deque()
        self._size = 0  # bytes written to us and not yet given to the WebSocket, or not taken by it
        self._low, self._high = HIGH_WATER // 4, HIGH_WATER
        self._full = False
        self._ending = False  # nothing more is written
        self._something = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()

    async def attach(self, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        """Begin to serve a protocol, as `loop.create_connection` does."""
        self.set_protocol(factory())
        self.get_protocol().connection_made(self)
        if not self._attached.done():
            self._attached.set_result(True)

    async def run(self) -> None:
        """Carry bytes both ways until the WebSocket has ended and the protocol knows."""
        reason: Exception | None = None
        sending = asyncio.create_task(self._send(), name="sending on a WebSocket")
        try:
            if await self._attached:
                await self._receive()
        except ConnectionClosedOK:
            pass  # the protocol is told below; it knows what was said before
        except ConnectionClosed as error:
            if error.sent is not None and error.sent.code == CloseCode.MESSAGE_TOO_BIG:
                self._counters["too_large"] += 1
            reason = ConnectionResetError(f"the WebSocket ended: {error}")
        finally:
            self._ending = True
            sending.cancel()
            [failure] = await asyncio.gather(sending, return_exceptions=True)
            if self._protocol is not None:
                self._protocol.connection_lost(reason)
            if isinstance(failure, Exception):
                raise failure

    async def _receive(self) -> None:
        while True:
            message = await self._connection.recv()
            await self._pace.step()
            if isinstance(message, str):
                await self._refuse("text_message", CloseCode.UNSUPPORTED_DATA, "muxtcp is binary")
            elif not message:
                await self._refuse("empty_message", CloseCode.POLICY_VIOLATION, "an empty message says nothing")
            else:
                await self._feed(memoryview(message))

    async def _feed(self, data: memoryview) -> None:
        while data:
            await self._may_read.wait()
            assert self._protocol is not None
            buffer = memoryview(self._protocol.get_buffer(len(data))).cast("B")
            taken = min(len(buffer), len(data))
            buffer[:taken] = data[:taken]
            self._protocol.buffer_updated(taken)
            data = data[taken:]

    async def _refuse(self, name: str, code: int, reason: str) -> None:
        self._counters[name] += 1
        await self._connection.close(code, reason)

    async def _send(self) -> None:
        with contextlib.suppress(ConnectionClosed):  # which the receiving side tells
            while True:
                await self._something.wait()
                if not self._waiting:
                    await self._connection.close()
                    return
                data = b"".join(self._waiting)
                self._waiting.clear()
                if not self._ending:
                    self._something.clear()
                await self._connection.send(data)
                self._size -= len(data)
                self._check_marks()

    # Writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._ending or not data:
            return
        self._waiting.append(bytes(data))
        self._size += len(data)
        self._something.set()
        self._check_marks()

    def write_eof(self) -> None:
        """A WebSocket ends as a whole: after all that was written, it is closed."""
        self.close()

    def can_write_eof(self) -> bool:
        return True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        high = HIGH_WATER if high is None else high
        self._low, self._high = high // 4 if low is None else low, high

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return self._size

    def _check_marks(self) -> None:
        if self._protocol is None:
            return
        if self._size > self._high and not self._full:
            self._full = True
            self._protocol.pause_writing()
        elif self._size <= self._low and self._full:
            self._full = False
            self._protocol.resume_writing()

    # Reading

    def is_reading(self) -> bool:
        return self._may_read.is_set() and not self._ending

    def pause_reading(self) -> None:
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()

    # The end

    def close(self) -> None:
        self._ending = True
        self._something.set()

    def abort(self) -> None:
        self._ending = True
        self._connection.transport.abort()
        if not self._attached.done():
            self._attached.set_result(False)

    def is_closing(self) -> bool:
        return self._ending

    # The rest

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.BufferedProtocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._connection.transport.get_extra_info(name, default)
