"""asyncio streams on uvloop, with a length before each message: what one writes before looking for a library."""

import asyncio
import socket

from driver import Handler, Open, Peer, Prefixed, main

from muxtcp.bench.stage import Stage

LIMIT = 1 << 18  # bytes that the reader may hold before it stops the transport; the default of 64 KiB is slower


class Channel(Prefixed):
    """The connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

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
