"""LocalEnd: one carried connection as this process sees it: a socket on one side, a channel on the other.

Back-pressure goes both ways. A channel without credit pauses the reading of the socket; a socket that takes no more
leaves the channel's messages unread, so that their credit stays here.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from muxtcp import Channel, ChannelListener, MuxError

from .faults import Fault
from .traffic import Traffic

HIGH_WATER = 131_072  # bytes that wait for the socket, beside those in it, before the channel is read no further
LOW_WATER = 32_768
PATIENCE = 60.0  # seconds in which a socket has to take the last that it is owed, as nobody waits for it any more
LINGER = struct.Struct("ii")  # SO_LINGER: on or off, and for how long


Arrived = Callable[["LocalEnd"], object]


def ignore(end: "LocalEnd") -> None:
    """The default of who is told."""


def reset_when_closed(sock: socket.socket, yes: bool = True) -> None:
    """Whether closing sends RST, also in place of what was not sent yet; else FIN, behind it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER.pack(yes, 0))


class LocalReset(ConnectionError):
    """The connection on this side ended without its FIN."""


class LocalEnd(ChannelListener, asyncio.BufferedProtocol):
    """The asyncio protocol of a carried connection's socket, and the listener of the channel that carries it.

    It reads next to nothing before `carry()`, which is called once, with a channel.

    Args:
        buffer: what is read goes through it; all ends of one loop may share one.
        traffic: what counts its bytes.
        arrived: told of this end once it has its transport.
        early: what was read before this end had its transport.
    """

    def __init__(self, buffer: memoryview, traffic: Traffic, arrived: Arrived = ignore, early: bytes = b"") -> None:
        self.traffic = traffic
        self.transport: asyncio.Transport
        self._buffer = buffer
        self._arrived = arrived
        self._channel: Channel | None = None
        self._unsent = early  # what the channel does not take yet; while there is any, nothing is read
        self._said_eof = False  # the socket has; it may be ahead of the channel
        self._halves = 2  # that go on
        self._error: Exception | None = None  # why the socket ended
        loop = asyncio.get_running_loop()
        self._loop = loop
        # Both halves are over (None), or the channel is. Not raised from it: its traceback would close a cycle.
        self._over: asyncio.Future[Exception | None] = loop.create_future()
        self._gone: asyncio.Future[None] = loop.create_future()  # the socket is closed
        self._finishing: asyncio.Task[None] | None = None

    async def carry(self, channel: Channel) -> Exception | None:
        """Move bytes both ways until both sides have ended, or one is reset; then the other is, too.

        Returns:
            Why it did not end in good order; None when it did. The channel is over in any case.
        """
        self._channel = channel
        try:
            if self.transport.is_closing():
                return LocalReset("it was given up before it was carried")
            channel.listen(self)
            self._go_on_reading()
            failure = await self._over
            if failure is not None:
                return self._error or failure
            await channel.close()
            reset_when_closed(self.transport.get_extra_info("socket"), False)
            self.transport.close()
            async with asyncio.timeout(PATIENCE):
                await self._gone
        except (MuxError, OSError) as error:
            return self._error or error.with_traceback(None)
        finally:
            self.reset()
            await channel.reset(Fault.RESET)
            self._over.cancel()
        return self._error

    def reset(self) -> None:
        """End the socket's connection with RST, unless it is over: a loss must not look like an end."""
        if not self._gone.done():
            reset_when_closed(self.transport.get_extra_info("socket"))
            self.transport.abort()

    def _half_is_over(self) -> None:
        self._halves -= 1
        if not self._halves and not self._over.done():
            self._over.set_result(None)

    # From the channel to the socket

    def on_message(self, channel: Channel, view: memoryview) -> None:
        """Some of what the other side's socket said."""
        if not self.transport.is_closing():  # else the channel is being told
            self.traffic.inward += len(view)
            self.transport.write(bytes(view))

    def on_eof(self, channel: Channel) -> None:
        """The FIN of the other side's."""
        if not self.transport.is_closing():
            self.transport.write_eof()
        self._half_is_over()

    def on_closed(self, channel: Channel, exc: Exception | None) -> None:
        """The channel is over, in good order or not."""
        if exc is not None and not self._over.done():
            self._over.set_result(exc)

    def pause_writing(self) -> None:
        """The socket takes no more: the rest stays in the channel, with its credit."""
        if self._channel is not None:
            self._channel.listen(self, paused=True)

    def resume_writing(self) -> None:
        """It does again."""
        self._loop.call_soon(self._read_channel)  # a write_eof() in here, asyncio would do again, and fail of it

    def _read_channel(self) -> None:
        if self._channel is not None and not self._over.done():
            self._channel.listen(self)

    # From the socket to the channel

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop reads into; it is empty again before another end is asked."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have come."""
        data = bytes(self._buffer[:nbytes])
        self.traffic.outward += nbytes
        if self._channel is None or not self._taken(self._channel, data):
            self._unsent += data  # it was empty, unless uvloop has not heeded the pause in connection_made()
            self.transport.pause_reading()

    def on_writable(self, channel: Channel) -> None:
        """The channel may take what it did not."""
        self._go_on_reading()

    def _go_on_reading(self) -> None:
        assert self._channel is not None
        if self._unsent:
            if not self._taken(self._channel, self._unsent):
                return
            self._unsent = b""
        if self._said_eof:
            self._finish()
        elif not self.transport.is_closing():
            self.transport.resume_reading()

    def _taken(self, channel: Channel, data: bytes) -> bool:
        try:
            return channel.send_nowait(data)
        except MuxError:  # it is over, which on_closed() tells
            return False

    def eof_received(self) -> bool:
        """The FIN has come; the other direction goes on."""
        self._said_eof = True
        if self._channel is not None and not self._unsent:
            self._finish()
        return True

    def _finish(self) -> None:
        self._finishing = self._loop.create_task(self._send_eof())

    async def _send_eof(self) -> None:
        assert self._channel is not None
        with suppress(MuxError):  # it is over, which on_closed() tells
            await self._channel.send_eof()
            self._half_is_over()

    # The socket's life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop has it; nothing is read yet."""
        self.transport = cast("asyncio.Transport", transport)  # those of uvloop are none by name
        reset_when_closed(self.transport.get_extra_info("socket"))  # also if this process is killed
        self.transport.pause_reading()
        self.transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        self._arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed, or was reset."""
        self._gone.set_result(None)
        if exc is not None:
            self._error = LocalReset(f"the connection was reset: {exc}")
            if self._channel is not None:
                self._channel._reset(Fault.RESET, "the connection was reset")
