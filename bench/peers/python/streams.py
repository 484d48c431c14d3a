"""asyncio streams on uvloop, with a length before each message: what one writes before looking for a library."""

import asyncio
import socket
from struct import Struct

from driver import Ended, Handler, Open, Peer, main

from muxtcp.bench.stage import Stage

HEADER = Struct("!I")
LIMIT = 1 << 18  # bytes that the reader may hold before it stops the transport; the default of 64 KiB is slower


class Channel:
    """The connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def send(self, message: bytes) -> None:
        self.writer.write(HEADER.pack(len(message)) + message)
        await self.writer.drain()

    async def recv(self) -> bytes:
        try:
            (size,) = HEADER.unpack(await self.reader.readexactly(HEADER.size))
            return await self.reader.readexactly(size)
        except asyncio.IncompleteReadError:
            raise Ended from None

    async def close(self) -> None:
        self.writer.close()


class Streams(Peer):
    async def accept(self, stage: Stage, handler: Handler) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.run(handler, Channel(reader, writer))

        server = await asyncio.start_server(serve, sock=stage.listen(), limit=LIMIT)
        await server.serve_forever()

    async def connect(self, stage: Stage) -> Open:
        async def open_channel() -> Channel:
            return Channel(*await asyncio.open_connection(*stage.address, limit=LIMIT))

        return open_channel


if __name__ == "__main__":
    main(Streams)
