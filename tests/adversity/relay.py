"""The floor of a forwarder: a relay that copies bytes between two TCP connections, and does nothing else.

    python tests/adversity/relay.py PORT TARGET_PORT     on loopback, until it is ended

No framing, no credit, no back-pressure: two of these in a row make the system calls that a link of two processes
cannot do without, on the loop that the forwarder runs on.
"""

import asyncio
import sys
from typing import cast

from muxtcp import run

HERE = "127.0.0.1"


class End(asyncio.Protocol):
    """One of the two connections of a pair; what it reads, the other writes."""

    def __init__(self, other: "End | None" = None) -> None:
        self.other = other
        self.early = b""  # what came before there was somewhere to go

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        if self.other is None:
            self.task = asyncio.create_task(self.connect())

    async def connect(self) -> None:
        _, self.other = await asyncio.get_running_loop().create_connection(lambda: End(self), HERE, int(sys.argv[2]))
        self.other.transport.write(self.early)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early += data
        else:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.transport.close()


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(End, HERE, int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    run(main())
