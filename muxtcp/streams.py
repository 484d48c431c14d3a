"""Channels as asyncio's own streams, and servers whose channels are transports.

session.open_stream(name)                    as asyncio.open_connection(): (reader, writer)
serve(None, ..., stream_handler=handler)     as asyncio.start_server(handler, ...)
session.create_connection(factory, name)     as loop.create_connection(): (transport, protocol)
session.create_server(factory, name)         as loop.create_server(), for channels of that name that the peer opens
as_stream(channel)                           for a channel that is open already: in a handler, by its name or meta
as_transport(channel, protocol)
"""

import asyncio
from collections.abc import Awaitable, Callable

from muxtcp._channel import Channel
from muxtcp.transport import ChannelTransport, Receiver, as_transport

__all__ = ["ChannelServer", "as_stream"]

StreamHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

LIMIT = 65_536  # bytes that a StreamReader holds before it pauses its transport (at twice that), as in asyncio


def as_stream(channel: Channel, *, limit: int = LIMIT) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Read and write a channel that is open as a stream of bytes; nobody else may send or receive on it from then on.

    Close the writer at the end, and wait for that: `writer.close()`, `await writer.wait_closed()`.

    Args:
        channel: open in both directions. A codec that it has is used no more.
        limit: bytes in which `readline()` and `readuntil()` look for their separator, from 1. The reader holds twice as
            many before it pauses its transport.

    Raises:
        LocalProtocolError: a task receives from the channel.
        ValueError: a limit below 1.
    """
    loop = channel.session.loop
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    writers: list[asyncio.StreamWriter] = []
    accepted = channel.id % 2 != channel.session.is_client
    # A protocol with a callback makes the writer itself, and StreamWriter.start_tls() takes it for the server's side.
    told = (lambda reader, writer: writers.append(writer)) if accepted else None
    protocol = asyncio.StreamReaderProtocol(reader, told, loop=loop)
    transport = ChannelTransport(channel, protocol)
    protocol.connection_made(transport)
    loop.call_soon(transport._receiver.read_on)
    return reader, writers[0] if accepted else asyncio.StreamWriter(transport, protocol, reader, loop)


async def close_in_order(channel: Channel) -> None:
    """Close a channel; if it has a transport, that one sends first what it still holds."""
    listener = channel._listener()
    if isinstance(listener, Receiver):
        listener.transport.close()
    else:
        await channel.close()


def serving_streams(handler: StreamHandler) -> Callable[[Channel], Awaitable[None]]:
    """A channel handler that calls one for streams, and closes the stream behind it."""

    async def serve(channel: Channel) -> None:
        reader, writer = as_stream(channel)
        try:
            await handler(reader, writer)
            writer.close()
            await writer.wait_closed()
        except ConnectionError as error:
            if channel.exception is None:
                raise
            raise channel._how_it_ended() from error  # so that the session knows it for the end of its own channel

    return serve


class ChannelServer(asyncio.AbstractServer):
    """What `session.create_server()` returns: closes as an `asyncio.Server` does, and is a context manager as that is.

    Attributes:
        name: of the channels that it serves.
    """

    def __init__(
        self, name: str, loop: asyncio.AbstractEventLoop, on_close: Callable[["ChannelServer"], object]
    ) -> None:
        self.name = name
        self._loop = loop
        self._on_close = on_close
        self._serving = True
        self._open = 0  # transports
        self._ended = loop.create_future()

    def _accept(self, protocol_factory: Callable[[], asyncio.BaseProtocol], channel: Channel) -> None:
        transport = as_transport(channel, protocol_factory())
        transport._on_lost.append(self._lost)
        self._open += 1

    def _lost(self) -> None:
        self._open -= 1
        self._check_end()

    def _check_end(self) -> None:
        if not self._serving and not self._open and not self._ended.done():
            self._ended.set_result(None)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The session's."""
        return self._loop

    def is_serving(self) -> bool:
        """Until `close()`."""
        return self._serving

    async def start_serving(self) -> None:
        """Nothing: it serves from the beginning."""

    async def serve_forever(self) -> None:
        """Serve until `close()`, or until the caller is cancelled, which closes it."""
        try:
            await asyncio.shield(self._ended)
        finally:
            self.close()

    def close(self) -> None:
        """Take no new channels of this name; transports that are open go on. The session's end does it, too."""
        if self._serving:
            self._serving = False
            self._on_close(self)
            self._check_end()

    async def wait_closed(self) -> None:
        """Wait until it was closed and its transports are, too."""
        await asyncio.shield(self._ended)
