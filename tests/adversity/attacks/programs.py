"""The processes of a run: the server that is attacked, an honest client that measures, and the attacker."""

import asyncio
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))  # for `adversity` and `support`, as pytest does

from adversity.attacks.table import ATTACKS
from adversity.attacks.target import Target
from adversity.attacks.wire import Allowance
from adversity.peers import Peer, commands, play, tell

from muxtcp import Channel, ChannelListener, Priority, connect

LANES = 8  # channels over which the honest client sends its small messages
MESSAGE = bytes(64)
PAUSE = 0.002  # seconds between two pings
POLITE = 10  # niceness of the attacker: on the core that it shares with the victim, the victim goes first
REACH = 200  # messages on their way on each lane: together they are most of a session's first window


def pin(core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})


def cpu() -> float:
    """Seconds that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def waited() -> float:
    """Seconds for which this process could have run, and others had its core."""
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9


def peak() -> int:
    """The most bytes that this process had in memory since it was asked last."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return int(line.split()[1]) << 10


async def server(*, core: int | None, config: dict[str, Any], served: dict[str, Any]) -> None:
    """Tells ["listening", host, port]; asked for its "state", the peak of its memory, its processor, counters."""
    pin(core)
    inbox = await commands()
    async with Target(config, served) as target:
        tell("listening", *target.place)
        while True:
            match await inbox.get():
                case ["state"]:
                    tell("state", peak(), cpu(), waited(), target.seen)


class Lane(ChannelListener):
    """Keeps so many messages on their way."""

    def __init__(self) -> None:
        self.received = 0
        self.owed = REACH

    def on_message(self, channel: Channel, view: memoryview) -> None:
        self.received += 1
        self.owed += 1
        self.on_writable(channel)

    def on_writable(self, channel: Channel) -> None:
        while self.owed and channel.send_nowait(MESSAGE):
            self.owed -= 1


async def honest(*, core: int | None, host: str, port: int) -> None:
    """Two sessions: one full of small messages, one that pings. It measures from "begin" to "end", and tells."""
    pin(core)
    inbox = await commands()
    async with connect(host, port) as bulk, connect(host, port) as other:
        lanes = []
        for _ in range(LANES):
            channel = await bulk.open("echo")
            lanes.append(Lane())
            channel.listen(lanes[-1])
            lanes[-1].on_writable(channel)
        trips: list[float] = []
        pinging = asyncio.create_task(ping(await other.open("echo", priority=Priority.HIGH), trips))
        tell("ready")
        count, began = 0, 0.0
        while True:
            match await inbox.get():
                case ["begin"]:
                    count, began = sum(lane.received for lane in lanes), time.monotonic()
                    trips.clear()
                case ["end"]:
                    if pinging.done():
                        pinging.result()  # raises what ended it
                    total = sum(lane.received for lane in lanes) - count
                    tell("measured", total / (time.monotonic() - began), *quantiles(trips), bulk.closed or other.closed)


async def ping(channel: Channel, trips: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await channel.send(b"ping")
        await channel.recv()
        trips.append(time.perf_counter() - began)
        await asyncio.sleep(PAUSE)


def quantiles(trips: list[float]) -> tuple[float, float]:
    """The 50th and the 99th percentile."""
    ordered = sorted(trips) or [float("inf")]
    return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]


async def attacker(*, core: int | None, name: str, host: str, port: int, seconds: float) -> None:
    """Plays an attack; tells how often it connected, what it sent, and its share of a core."""
    pin(core)
    os.nice(POLITE)
    tell("begins")
    began, used = time.monotonic(), cpu()
    allowance = Allowance(seconds)
    ATTACKS[name].play((host, port), allowance)
    tell("played", allowance.connections, allowance.sent, (cpu() - used) / (time.monotonic() - began))


class Program(Peer):
    """One of the programs above."""

    program = __file__


ROLES = {"server": server, "honest": honest, "attacker": attacker}


if __name__ == "__main__":
    play(ROLES)
