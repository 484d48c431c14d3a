"""What a session offers to code that was written for asyncio's transports and streams."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from muxtcp._channel import Channel
from muxtcp.errors import MuxError
from muxtcp.opening import Opening
from muxtcp.serving import Serving
from muxtcp.streams import LIMIT, ChannelServer, as_stream
from muxtcp.transport import ChannelTransport, as_os_error, as_transport

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Adapters(Serving):
    """A session whose channels are transports and streams, where that is wanted."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._writers: list[ChannelTransport] = []  # have joined what was written in this turn of the loop
        self._servers: set[ChannelServer] = set()

    def _write_soon(self, transport: ChannelTransport) -> None:
        if not self._writers:
            self.loop.call_soon(self._write_joined)
        self._writers.append(transport)

    def _write_joined(self) -> None:
        """Send what the transports have joined, in one write, instead of in another turn of the loop."""
        writers, self._writers = self._writers, []
        for transport in writers:
            transport._flush_joined()
        self._write_now()

    def open(self, name: str, *args: Any, **options: Any) -> Opening:
        """Overridden."""
        raise NotImplementedError

    async def create_connection(
        self, protocol_factory: Callable[[], P], name: str, **options: Any
    ) -> tuple[ChannelTransport, P]:
        """Open a channel and run a protocol in it, as `loop.create_connection()` does with a socket.

        There is no reply to wait for: a peer without such a service is told of by `connection_lost()`.

        Args:
            protocol_factory: makes an `asyncio.Protocol` or `asyncio.BufferedProtocol`.
            name: of the channel.
            options: as for `open()`; `mode` stays "rw", and there is no codec.

        Returns:
            The transport and the protocol, after `connection_made()`.

        Raises:
            ConnectionRefusedError: the session is over, or the peer takes no new channels; what `open()` raises is its
                `__cause__`.
            ValueError: as `open()`.

        Example:
            transport, protocol = await session.create_connection(HTTPProtocol, "http")
        """
        channel = await self._dial(name, options)
        try:
            protocol = protocol_factory()
            transport = as_transport(channel, protocol)
            await asyncio.sleep(0)  # connection_made() is called meanwhile
        except BaseException:
            await channel.close()
            raise
        return transport, protocol

    async def open_stream(
        self, name: str, *, limit: int = LIMIT, **options: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a channel as a stream of bytes, as `asyncio.open_connection()` does with a socket.

        Args:
            name: of the channel.
            limit: bytes in which `readline()` and `readuntil()` look for their separator.
            options: as for `open()`; `mode` stays "rw", and there is no codec.

        Raises:
            ConnectionRefusedError: the session is over, or the peer takes no new channels; what `open()` raises is its
                `__cause__`.
            ValueError: as `open()`, or a limit below 1.

        Example:
            reader, writer = await session.open_stream("log")
            async for line in reader:
                print(line)
        """
        channel = await self._dial(name, options)
        try:
            return as_stream(channel, limit=limit)
        except BaseException:
            await channel.close()
            raise

    async def _dial(self, name: str, options: dict[str, Any]) -> Channel:
        try:
            return await self.open(name, **options)
        except MuxError as error:
            raise as_os_error(error, refused=True) from error

    async def create_server(self, protocol_factory: Callable[[], asyncio.BaseProtocol], name: str) -> ChannelServer:
        """Run a protocol in each channel of this name that the peer opens, as `loop.create_server()` does with sockets.

        These channels do not come to the session's handler. On a server, which has many sessions, `on_session` is the
        place to call it.

        Args:
            protocol_factory: called for each channel. What it raises resets the channel with INTERNAL, and is logged.
            name: of the channels.

        Raises:
            ValueError: another server of the session has this name.
            ConnectionRefusedError: the session is over. When it ends later, the server is closed.

        Example:
            server = await session.create_server(HTTPProtocol, "http")
        """
        self._check_thread()
        if name in self._services:
            raise ValueError(f"this session has a server for channels named {name!r} already")
        if self.exception is not None:
            raise as_os_error(self.exception, refused=True)
        server = ChannelServer(name, self.loop, self._forget_server)
        self._servers.add(server)
        self._services[name] = partial(server._accept, protocol_factory)
        return server

    def _forget_server(self, server: ChannelServer) -> None:
        self._servers.remove(server)
        del self._services[server.name]

    def _on_ended(self, channels: list[Channel]) -> None:
        super()._on_ended(channels)
        for server in self._servers.copy():
            server.close()
