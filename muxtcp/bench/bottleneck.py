"""W9: urgent messages beside bulk that fills a line of 100 Mbit/s.

    python -m muxtcp.bench.bottleneck

Two network namespaces with a cable between them, which `tc` makes narrow; a client in the one, a server in the other.
The delay of a message is from its `send()` to its handler, on the one monotonic clock that both processes have. Needs
root, `ip` and `tc`.
"""

import asyncio
import contextlib
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import quantiles
from typing import Any, NamedTuple

import uvloop

from muxtcp import Channel, Config, Priority, Session, connect, serve

RATE = 100_000_000  # bits per second
QUEUE = 1_000_000  # bytes that the line's own queue holds: enough, as the kernel lets a socket have few of them there
BURST = 4_000  # bytes that pass at once: a few packets
CARRIED = 1_448 / 1_514  # of each packet on Ethernet, what TCP has for us
SERVER, CLIENT = "10.98.0.1", "10.98.0.2"
WARM = 1.0  # seconds until the windows have grown and the queues are full
LARGE, SMALL = 65_536, 64  # bytes of a message
PAUSE = 0.01  # seconds between two urgent messages
CLOCK = struct.Struct("!d")
MODULE = "muxtcp.bench.bottleneck"


class Figures(NamedTuple):
    """Delays in seconds, 0 where nothing came; `share` is what bulk had of what the line carries."""

    urgent_p50: float
    urgent_p99: float
    bulk_p50: float
    bulk_p99: float
    share: float

    def __str__(self) -> str:
        delays = "  ".join(f"{1e3 * delay:7.1f}" for delay in self[:4])
        return f"{delays}  {self.share:7.1%}"


def measure(seconds: float = 5.0, *, bulks: int = 1, notsent_lowat: int | None = 65_536) -> Figures:
    """Send for so many seconds, on one urgent and so many bulk channels.

    Raises:
        RuntimeError: A namespace cannot be made, or one of the two processes failed; with what it wrote.
    """
    with _line() as (server, client), _side(server, "serve") as serving:
        port = _said(serving)["port"]
        with _side(client, "send", port, bulks, seconds, notsent_lowat) as sending:
            return Figures(**_said(sending))


# The line and the two processes


@contextlib.contextmanager
def _line() -> Iterator[tuple[str, str]]:
    """Two namespaces, by name, with a narrow cable between them."""
    server, client = names = [f"muxtcp-bench-{os.getpid()}-{side}" for side in ("server", "client")]
    shape = ["rate", f"{RATE}bit", "burst", f"{BURST}b", "limit", f"{QUEUE}b"]
    with contextlib.ExitStack() as stack:
        for name in names:
            _run("ip", "netns", "add", name)
            stack.callback(_run, "ip", "netns", "delete", name)
        _run("ip", "-n", client, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", server)
        for name, address in (server, SERVER), (client, CLIENT):
            _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "cable")
            _run("ip", "-n", name, "link", "set", "cable", "up")
            _run("tc", "-n", name, "qdisc", "replace", "dev", "cable", "root", "tbf", *shape)
        yield server, client


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except OSError as error:
        raise RuntimeError(f"{command[0]} cannot be run: {error}") from error
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{' '.join(command)}: {error.stderr.strip()}") from error


@contextlib.contextmanager
def _side(namespace: str, *job: object) -> Iterator[subprocess.Popen[str]]:
    command = ["ip", "netns", "exec", namespace, sys.executable, "-m", MODULE, json.dumps(job)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _said(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The line that a process says, or what it wrote as it failed."""
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a side of the bottleneck failed: {process.stderr.read().strip()}")
    said: dict[str, Any] = json.loads(line)
    return said


# Inside the processes


class Arrival(NamedTuple):
    """When a message came, how long it had taken, and its bytes."""

    at: float
    delay: float
    size: int


async def _serve() -> None:
    """Note what comes, and answer a request `report` of "begin end" with the figures of that time."""
    arrivals: dict[str, list[Arrival]] = {"urgent": [], "bulk": []}

    async def handler(channel: Channel) -> None:
        async for message in channel:
            if channel.name == "report":
                begin, end = map(float, message.split())
                noted = {name: [each for each in came if begin <= each.at < end] for name, came in arrivals.items()}
                await channel.send(json.dumps(_figures(noted, end - begin)).encode())
            else:
                now = time.monotonic()
                arrivals[channel.name].append(Arrival(now, now - CLOCK.unpack_from(message)[0], len(message)))

    async with serve(handler, SERVER, 0) as server:
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        await server.serve_forever()


def _figures(noted: dict[str, list[Arrival]], seconds: float) -> dict[str, float]:
    delays = {
        f"{name}_p{percent}": quantiles([each.delay for each in came] or [0.0, 0.0], n=100)[percent - 1]
        for name, came in noted.items()
        for percent in (50, 99)
    }
    return delays | {"share": sum(each.size for each in noted["bulk"]) * 8 / seconds / (RATE * CARRIED)}


async def _send(port: int, bulks: int, seconds: float, notsent_lowat: int | None) -> None:
    """Fill the line, send small messages beside it, and say what the server noted."""
    async with connect(SERVER, port, config=Config(notsent_lowat=notsent_lowat)) as session:
        floods = [asyncio.create_task(_flood(session)) for _ in range(bulks)]
        await asyncio.sleep(WARM)
        begin = time.monotonic()
        urgent = await session.open("urgent", mode="w", priority=Priority.URGENT)
        while time.monotonic() < begin + seconds:
            await urgent.send(CLOCK.pack(time.monotonic()).ljust(SMALL))
            await asyncio.sleep(PAUSE)
        report = await session.request("report", f"{begin} {begin + seconds}".encode())
        print(report.decode(), flush=True)
        for flood in floods:
            flood.cancel()


async def _flood(session: Session) -> None:
    channel = await session.open("bulk", mode="w", priority=Priority.BULK)
    rest = bytes(LARGE - CLOCK.size)
    while True:
        await channel.send(CLOCK.pack(time.monotonic()) + rest)


def main() -> None:
    """One of the two sides, if that is what is asked for; else the table."""
    if len(sys.argv) > 1:
        side, *numbers = json.loads(sys.argv[1])
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve() if side == "serve" else _send(*numbers))
        return
    print(
        f"{SMALL} B beside {LARGE:,} B, {RATE / 1e6:g} Mbit/s; p50, p99 in ms: urgent,        bulk;          bulk has"
    )
    for bulks in (1, 10):
        for lowat in (Config().notsent_lowat, None):
            how = f"{bulks} channels of bulk, TCP_NOTSENT_LOWAT {lowat or 'off'}"
            print(f"{how:<44} {measure(bulks=bulks, notsent_lowat=lowat)}", flush=True)


if __name__ == "__main__":
    main()
