"""An honest client that opens and closes channels as fast as it can: a million on one session, and nothing is left.

    python tests/adversity/opens.py --channels 1000000

Prints the rate, and what both processes have allocated, to the byte, as the channels go by.
"""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for `support`, as pytest does

from adversity.costs import EXACT, Server
from support import loops
from support.leftovers import allocated

from muxtcp import Session, connect

TASKS = 32  # that open and close at the same time
STEPS = 10
TOLERANCE = 1 << 18  # bytes: blocks that are being written come and go


class Step(NamedTuple):
    """A part of the channels has gone by."""

    rate: float  # channels per second
    client: int  # bytes allocated
    server: int


async def open_and_close(session: Session, count: int) -> None:
    """So many channels, by several tasks."""

    async def one_after_the_other(share: int) -> None:
        for _ in range(share):
            async with session.open("brief"):
                pass

    async with asyncio.TaskGroup() as group:
        for _ in range(TASKS):
            group.create_task(one_after_the_other(count // TASKS))


async def steps(server: Server, count: int) -> list[Step]:
    """All channels on one session; what was measured after each part of them."""
    results = []
    async with connect("127.0.0.1", server.port) as session:
        for _ in range(STEPS):
            began = time.perf_counter()
            await open_and_close(session, count // STEPS)
            rate = count / STEPS / (time.perf_counter() - began)
            await session.ping()
            results.append(Step(rate, allocated(), server.state().allocated))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--channels", type=int, default=1_000_000)
    parser.add_argument("--loop", choices=loops.NAMES, default="uvloop")
    options = parser.parse_args()
    if os.environ.get("PYTHONMALLOC") != EXACT["PYTHONMALLOC"]:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | EXACT)
    with Server(options.loop, {}) as server, loops.runner(options.loop) as runner:
        results = runner.run(steps(server, options.channels))
    print("channels       per second   KiB allocated: client, server")
    for number, step in enumerate(results, 1):
        done = options.channels * number // STEPS
        print(f"{done:9,} {step.rate:15,.0f} {step.client / 1024:22,.1f} {step.server / 1024:7,.1f}")
    grown = max(results[-1].client - results[0].client, results[-1].server - results[0].server)
    sys.exit(f"memory grew by {grown:,} bytes" if grown > TOLERANCE else None)


if __name__ == "__main__":
    main()
