"""Two silences in real time, with a server in a process of its own; the tests of liveness have them on a virtual clock.

`python tests/support/silence.py blocked` blocks this side's event loop for 30 s, at the worst moment: it has just asked
the peer for a sign of life. The session goes on. `python tests/support/silence.py stopped` stops the server with
SIGSTOP: the session is lost after 20 s, which is keepalive and keepalive_timeout, 10 s each. Both print what was seen,
and fail if it was anything else.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for `support`, as pytest does

from support import loops

import muxtcp

CONFIG = muxtcp.Config()
KEEPALIVE = CONFIG.keepalive or 0.0
LIMIT = 30.0  # seconds beyond the expected ones, after which a run is given up
LATE = 1.0  # seconds that finding a silent peer may take beyond the promised ones


async def serve() -> None:
    """The server, until its standard input ends. It never asks whether the client is alive."""

    async def echo(channel: muxtcp.Channel) -> None:
        async for message in channel:
            await channel.send(message)

    config = muxtcp.Config(keepalive=None, user_timeout=None)
    async with muxtcp.serve(echo, "127.0.0.1", 0, config=config) as server:
        print(server.addresses[0], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@asynccontextmanager
async def server_process() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A server's process and address."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, "serve", stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    try:
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        process.send_signal(signal.SIGCONT)
        await process.communicate(b"")


async def blocked(seconds: float) -> None:
    """Block the loop between our PING and reading its answer; the session and its channel go on."""
    silence = KEEPALIVE + 1.0
    async with asyncio.timeout(silence + seconds + LIMIT), server_process() as (process, address):
        async with muxtcp.connect(address) as session, session.open("echo") as channel:
            await echoed(channel, b"before")
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(silence)
            process.send_signal(signal.SIGCONT)
            time.sleep(seconds)  # noqa: ASYNC251 - it is what this is about
            await echoed(channel, b"after")
            rtt = await session.ping()
            print(f"the loop was blocked for {seconds:.1f} s; the session goes on, round trip {rtt * 1e6:.0f} us")


async def stopped() -> None:
    """Stop the peer; the session is lost in the promised time, and says why."""
    promised = KEEPALIVE + CONFIG.keepalive_timeout
    async with asyncio.timeout(promised + LIMIT), server_process() as (process, address):
        session = await muxtcp.connect(address)
        channel = await session.open("echo")
        await echoed(channel, b"before")
        process.send_signal(signal.SIGSTOP)
        since = time.monotonic()
        try:
            raise AssertionError(f"a stopped process has sent {await channel.recv()!r}")
        except muxtcp.SessionLost as lost:
            elapsed = time.monotonic() - since
            print(f"found after {elapsed:.1f} s, promised are {promised:.1f}: {lost}")
        assert elapsed <= promised + LATE
        await session.wait_closed()


async def echoed(channel: muxtcp.Channel, message: bytes) -> None:
    await channel.send(message)
    assert await channel.recv() == message


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["blocked", "stopped", "serve"])
    parser.add_argument("--seconds", type=float, default=30.0, help="for which the loop is blocked")
    parser.add_argument("--loop", choices=loops.NAMES, default="uvloop")
    options = parser.parse_args()
    with loops.runner(options.loop) as runner:
        match options.what:
            case "blocked":
                runner.run(blocked(options.seconds))
            case "stopped":
                runner.run(stopped())
            case "serve":
                runner.run(serve())


if __name__ == "__main__":
    main()
