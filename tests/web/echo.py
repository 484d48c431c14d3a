"""A server that sends back what comes, for clients in other languages: its port is the first line of its output."""

import asyncio
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])

from support.basics import echo

import muxtcp


async def main() -> None:
    async with muxtcp.serve(echo, "127.0.0.1", 0) as server:
        print(server.addresses[0].rpartition(":")[2], flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    muxtcp.run(main())
