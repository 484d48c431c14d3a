"""websockets: one message after another on one connection, without channels."""

import asyncio
import contextlib

from driver import Ended, Handler, Open, Peer, main
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from muxtcp.bench.stage import Stage

# Compression would be most of the work, and nobody else here compresses.
OPTIONS = {"compression": None, "ping_interval": None}


class WebSockets(Peer):
    async def accept(self, stage: Stage, handler: Handler) -> None:
        async def play(connection: ServerConnection) -> None:
            with contextlib.suppress(Ended, ConnectionClosed):
                await handler(connection)

        async with serve(play, sock=stage.listen(), **OPTIONS):
            await asyncio.Event().wait()

    async def connect(self, stage: Stage) -> Open:
        host, port = stage.address
        return lambda: connect(f"ws://{host}:{port}", **OPTIONS)


if __name__ == "__main__":
    main(WebSockets)
