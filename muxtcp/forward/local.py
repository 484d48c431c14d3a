"""LocalEnd: one carried connection as this process sees it: a socket on one side, a channel on the other.

Back-pressure goes both ways. A channel without credit pauses the reading of the socket; a socket that takes no more
leaves the channel's messages unread, so that their credit stays here.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import cast

from muxtcp import Channel, ChannelListener, MuxError

from .faults import Fault
from .traffic import Traffic

HIGH_WATER = 131_072  # bytes that wait for the socket, beside those in it, before the channel is read no further
LOW_WATER = 32_768
LINGER = struct.Struct("ii")  # SO_LINGER: on or off, and for how long


Arrived = Callable[["LocalEnd"], object]


def ignore(end: "LocalEnd") -> None:
    """The default of who is told."""


def reset_when_closed(sock: socket.socket, yes: bool = True) -> None:
    """Whether closing sends RST, also in place of what was not sent yet; else FIN, behind it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER.pack(yes, 0))


class LocalReset(ConnectionError):
    """The connection on this side ended without its FIN."""


class LocalEnd(asyncio.BufferedProtocol):
    """The asyncio protocol of a carried connection's socket.

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
        self._early = early
        self._early_eof = False
        self._channel: Channel | None = None
        self._error: Exception | None = None  # why this side ended
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._gone: asyncio.Future[None] = loop.create_future()
        self._all_sent: asyncio.Future[None] = loop.create_future()  # to the channel, FINISH included
        self._room: asyncio.Future[None] | None = None  # while the socket takes no more
        self._sender: asyncio.Task[None] | None = None  # of what the channel did not take at once

    async def carry(self, channel: Channel) -> Exception | None:
        """Move bytes both ways until both sides have ended, or one is reset; then the other is, too.

        Returns:
            Why it did not end in good order; None when it did. The channel is over in any case.
        """
        self._channel = channel
        try:
            if self.transport.is_closing():
                return LocalReset("it was given up before it was carried")
            if self._early:
                await channel.send(self._early)
            if self._early_eof:
                await self._send_eof(channel)
            else:
                self.transport.resume_reading()
            async for batch in channel.batches():
                self._write(batch)
                if self._room is not None:
                    await self._room
            self._write_eof()
            channel.listen(_Watch(self._all_sent))  # a reset is still to be heard of
            await self._all_sent
            await channel.close()
            reset_when_closed(self.transport.get_extra_info("socket"), False)
            self.transport.close()
            await self._gone
        except (MuxError, OSError) as error:
            return self._error or error
        finally:
            self.reset()
            await channel.reset(Fault.RESET)
            if self._sender is not None:
                self._sender.cancel()
            self._all_sent.cancel()
        return self._error

    def reset(self) -> None:
        """End the socket's connection with RST, unless it is over: a loss must not look like an end."""
        if not self._gone.done():
            reset_when_closed(self.transport.get_extra_info("socket"))
            self.transport.abort()

    # From the channel to the socket

    def _write(self, batch: list[bytes]) -> None:
        if self.transport.is_closing():  # the channel is being told
            return
        self.traffic.inward += sum(map(len, batch))
        self.transport.write(batch[0] if len(batch) == 1 else b"".join(batch))

    def _write_eof(self) -> None:
        if not self.transport.is_closing():
            self.transport.write_eof()

    def pause_writing(self) -> None:
        """The socket takes no more."""
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """It does again."""
        assert self._room is not None
        self._room.set_result(None)
        self._room = None

    # From the socket to the channel

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop reads into; it is empty again before another end is asked."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have come."""
        data = bytes(self._buffer[:nbytes])
        self.traffic.outward += nbytes
        if self._channel is None:  # uvloop does not heed a pause in connection_made()
            self.transport.pause_reading()
            self._early += data
            return
        try:
            if self._channel.send_nowait(data):
                return
        except MuxError as error:
            self._stop(error)
            return
        self.transport.pause_reading()
        self._sender = self._loop.create_task(self._send_and_go_on(self._channel, data))

    async def _send_and_go_on(self, channel: Channel, data: bytes) -> None:
        try:
            await channel.send(data)
        except MuxError as error:
            self._stop(error)
        else:
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def eof_received(self) -> bool:
        """The FIN has come; the other direction goes on."""
        if self._channel is None:
            self._early_eof = True
        else:
            self._sender = self._loop.create_task(self._send_eof(self._channel))
        return True

    async def _send_eof(self, channel: Channel) -> None:
        try:
            await channel.send_eof()
        except MuxError as error:
            self._stop(error)
        else:
            if not self._all_sent.done():
                self._all_sent.set_result(None)

    def _stop(self, error: Exception) -> None:
        """The channel takes nothing any more: whoever waits for the rest need not."""
        _fail(self._all_sent, error)

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
        if self._room is not None:
            self._room.set_result(None)
            self._room = None
        if exc is not None:
            self._error = LocalReset(f"the connection was reset: {exc}")
            if self._channel is not None:
                self._channel._reset(Fault.RESET, "the connection was reset")


class _Watch(ChannelListener):
    """Hears of a reset after the peer has sent everything."""

    def __init__(self, all_sent: asyncio.Future[None]) -> None:
        self._all_sent = all_sent

    def on_closed(self, channel: Channel, exc: Exception | None) -> None:
        """The channel is over before this side has said everything, or after."""
        if exc is not None:
            _fail(self._all_sent, exc)


def _fail(waited_for: asyncio.Future[None], error: Exception) -> None:
    """Whoever waits gets the error; nobody has to."""
    if not waited_for.done():
        waited_for.set_exception(error)
        waited_for.exception()
