"""What is measured, against which floor, and what is asked of it."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from fnmatch import fnmatchcase

from . import floors, lives, ours
from .peers import Play
from .stage import Contestant, TwoSides

Figures = dict[str, float]  # what one side's child reports: see Stage


class Placement(Enum):
    """Which CPUs the two processes are pinned to."""

    APART = "client and server on a CPU each"
    TOGETHER = "both on one CPU"


class Depth(IntEnum):
    """How thorough a run has to be for a workload to be in it, unless it is asked for by name."""

    QUICK = 0
    ORDINARY = 1
    FULL = 2


@dataclass(frozen=True)
class Bound:
    """What a figure must reach: as a ratio to `of`, or as a value."""

    limit: float
    of: str = "floor"  # the floor, the id of a workload or a peer, the label of a reference; "value": the figure itself


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Which of the reported figures counts, and how it is printed."""

    unit: str
    scale: float  # printed value = figure / scale
    take: Callable[[Figures, Figures], float]  # of (client, server)
    more_is_better: bool = True
    asides: tuple[tuple[str, str], ...] = ()  # figures of the client that are shown beside the value, with their units

    @property
    def is_rate(self) -> bool:
        """Whether it counts something per second, so that the CPU time for each can be told."""
        return self.unit.endswith("/s")


def _cost(client: Figures, server: Figures) -> float:
    """CPU seconds of both sides for each unit that the server received."""
    if not server["rate"]:
        return math.inf
    return (client["cpu"] / client["seconds"] + server["cpu"] / server["seconds"]) / server["rate"]


RECEIVED = Measure(unit="k msg/s", scale=1e3, take=lambda client, server: server["rate"])
MEGABYTES = Measure(unit="MB/s", scale=1e6 / 65_536, take=lambda client, server: server["rate"])
ROUND_TRIPS = Measure(unit="k rt/s", scale=1e3, take=lambda client, server: client["rate"])
OPENS = Measure(unit="k opens/s", scale=1e3, take=lambda client, server: client["rate"])
LATENCY = Measure(
    unit="µs",
    scale=1,
    take=lambda client, server: client["p50"],
    more_is_better=False,
    asides=(("p99", "µs"),),
)
COST = Measure(unit="ns CPU/msg", scale=1e-9, take=_cost, more_is_better=False)
MEMORY = Measure(
    unit="bytes", scale=1, take=lambda client, server: max(client["bytes"], server["bytes"]), more_is_better=False
)
LIFE = replace(MEMORY, asides=(("open", "s"), ("exchange", "s"), ("close", "s")))


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One section of the report."""

    id: str
    title: str
    measure: Measure
    ours: TwoSides
    floor: TwoSides
    references: tuple[Contestant, ...] = ()  # also measured and shown
    play: Play | None = None  # what peers do for comparison; None: nothing that compares
    placement: Placement = Placement.APART
    targets: tuple[Bound, ...] = ()
    depth: Depth = Depth.QUICK


# Rates of thousands a second, on the machine where the targets were set, of the floors beside which they were set: as
# ratios they carry over to other machines.
RAW_W5 = 300

HAND_BATCHED_100 = floors.HandBatched(size=64, channels=100)
RAW_64K = floors.RawFlood(size=65_536, write_size=65_536)
RAW_32K = floors.RawFlood(size=65_536, write_size=32_768)
RAW_PING_PONG = floors.RawPingPong(size=64)
RAW_100_AT_ONCE = floors.RawRally(size=64, outstanding=100)
HAND_BATCHED_RALLY = floors.HandBatchedRally(size=64, channels=100)
IDLE_CONNECTION = floors.IdleConnections(connections=2_000)
AMONG_TEN = ours.Flood(size=64, channels=10)

FLOOD_1, FLOOD_100 = Play(name="flood", channels=1), Play(name="flood", channels=100)
PING_PONG, RALLY = Play(name="echo", channels=1), Play(name="echo", channels=100)
IDLE_CHANNELS = Play(name="idle", channels=10_000)

WORKLOADS: tuple[Workload, ...] = (
    Workload(
        id="W1",
        title="64 B one way, 100 channels, send to async for",
        measure=RECEIVED,
        ours=ours.Flood(size=64, channels=100),
        floor=HAND_BATCHED_100,
        play=FLOOD_100,
        targets=(Bound(1.5), Bound(15, of="mux-demux"), Bound(6, of="http2")),
    ),
    Workload(
        id="W1b",
        title="W1, received with batches()",
        measure=RECEIVED,
        ours=ours.BatchFlood(size=64, channels=100),
        floor=HAND_BATCHED_100,
    ),
    Workload(
        id="W1l",
        title="W1, received by a listener",
        measure=RECEIVED,
        ours=ours.ListenerFlood(size=64, channels=100),
        floor=HAND_BATCHED_100,
        targets=(Bound(1.5, of="W1"),),
    ),
    Workload(
        id="W2",
        title="64 B one way, 1 channel",
        measure=RECEIVED,
        ours=ours.Flood(size=64, channels=1),
        floor=floors.HandBatched(size=64, channels=1),
        references=(floors.RawFlood(size=64, write_size=64),),
        play=FLOOD_1,
        targets=(Bound(2.2), Bound(15, of="mux-demux")),
    ),
    Workload(
        id="W3",
        title="64 KiB one way, 1 channel",
        measure=MEGABYTES,
        ours=ours.Flood(size=65_536, channels=1),
        floor=RAW_64K,
        references=(RAW_32K,),
        play=Play(name="flood", size=65_536),
        targets=(Bound(3), Bound(1.25, of="smux"), Bound(0.75, of="sockets")),
    ),
    Workload(
        id="W3x16",
        title="64 KiB one way, 16 channels",
        measure=MEGABYTES,
        ours=ours.Flood(size=65_536, channels=16),
        floor=RAW_64K,
        play=Play(name="flood", size=65_536, channels=16),
        targets=(Bound(3), Bound(1.25, of="smux")),
    ),
    Workload(
        id="W4",
        title="ping-pong, 64 B, p50",
        measure=LATENCY,
        ours=ours.Echo(size=64, channels=1),
        floor=RAW_PING_PONG,
        play=PING_PONG,
        targets=(Bound(1.05),),
    ),
    Workload(
        id="W4s",
        title="ping-pong on one CPU, p50",
        measure=LATENCY,
        ours=ours.Echo(size=64, channels=1),
        floor=RAW_PING_PONG,
        play=PING_PONG,
        placement=Placement.TOGETHER,
        targets=(Bound(1.15),),
    ),
    Workload(
        id="W4sl",
        title="W4s with listeners",
        measure=LATENCY,
        ours=ours.ListenerEcho(size=64, channels=1),
        floor=RAW_PING_PONG,
        placement=Placement.TOGETHER,
        targets=(Bound(1.05),),
    ),
    Workload(
        id="W5",
        title="echo on 100 channels at once, a task each",
        measure=ROUND_TRIPS,
        ours=ours.Echo(size=64, channels=100),
        floor=RAW_100_AT_ONCE,
        references=(HAND_BATCHED_RALLY,),
        play=RALLY,
        targets=(Bound(2),),
    ),
    Workload(
        id="W5l",
        title="W5 with listeners",
        measure=ROUND_TRIPS,
        ours=ours.ListenerEcho(size=64, channels=100),
        floor=RAW_100_AT_ONCE,
        references=(HAND_BATCHED_RALLY,),
        targets=(Bound(900 / RAW_W5),),
    ),
    Workload(
        id="W6s",
        title="open, 64 B echo, close; one after another",
        measure=OPENS,
        ours=ours.Opens(size=64, tasks=1),
        floor=RAW_PING_PONG,
        play=Play(name="opens", channels=1),
        depth=Depth.ORDINARY,
    ),
    Workload(
        id="W6c",
        title="open, 64 B echo, close; 100 at once",
        measure=OPENS,
        ours=ours.Opens(size=64, tasks=100),
        floor=RAW_100_AT_ONCE,
        play=Play(name="opens", channels=100),
        targets=(Bound(120 / RAW_W5),),
    ),
    Workload(
        id="W7",
        title="an idle channel with a listener, the larger side",
        measure=MEMORY,
        ours=ours.IdleChannels(channels=10_000, tasks=False),
        floor=IDLE_CONNECTION,
        play=IDLE_CHANNELS,
        targets=(Bound(512, of="value"),),
    ),
    Workload(
        id="W7t",
        title="an idle channel with a handler task",
        measure=MEMORY,
        ours=ours.IdleChannels(channels=10_000, tasks=True),
        floor=IDLE_CONNECTION,
        play=IDLE_CHANNELS,
        targets=(Bound(2_048, of="value"),),
    ),
    Workload(
        id="W7m",
        title="a million channels: opened, a message each way, closed",
        measure=LIFE,
        ours=lives.Lives(channels=1_000_000),
        floor=lives.Lives(channels=10_000),
        depth=Depth.FULL,
    ),
    Workload(
        id="W8",
        title="W1 on a resumable session",
        measure=RECEIVED,
        ours=ours.Flood(size=64, channels=100, resume=30.0),
        floor=HAND_BATCHED_100,
        targets=(Bound(0.9, of="W1"),),
    ),
    Workload(
        id="W10",
        title="W1's cost on 10 of 1,000 open channels",
        measure=COST,
        ours=ours.Flood(size=64, channels=10, idle=990),
        floor=AMONG_TEN,
        targets=(Bound(1.25),),
        depth=Depth.ORDINARY,
    ),
    Workload(
        id="W10k",
        title="W1's cost on 10 of 10,000 open channels",
        measure=COST,
        ours=ours.Flood(size=64, channels=10, idle=9_990),
        floor=AMONG_TEN,
        targets=(Bound(1.25),),
        depth=Depth.ORDINARY,
    ),
    Workload(
        id="W10a",
        title="W1's cost on 10,000 channels, all busy in turn",
        measure=COST,
        ours=ours.Flood(size=64, channels=10_000),
        floor=AMONG_TEN,
        depth=Depth.ORDINARY,
    ),
    Workload(
        id="W11",
        title="W3 over TLS",
        measure=MEGABYTES,
        ours=ours.Flood(size=65_536, channels=1, tls=True),
        floor=floors.RawFlood(size=65_536, write_size=65_536, tls=True),
        targets=(Bound(0.9),),
        depth=Depth.ORDINARY,
    ),
    Workload(
        id="W11p",
        title="W4s over TLS",
        measure=LATENCY,
        ours=ours.Echo(size=64, channels=1, tls=True),
        floor=floors.RawPingPong(size=64, tls=True),
        placement=Placement.TOGETHER,
        targets=(Bound(1 / 0.9),),
        depth=Depth.ORDINARY,
    ),
)


def of_depth(depth: Depth) -> list[Workload]:
    """The workloads of a run that is so thorough."""
    return [workload for workload in WORKLOADS if workload.depth <= depth]


def select(patterns: Iterable[str]) -> list[Workload]:
    """The workloads whose ids match any of the shell patterns, in the order of the table; letter case does not matter.

    Raises `ValueError` for a pattern that matches none.
    """
    wanted = [pattern.strip().lower() for pattern in patterns]
    for pattern in wanted:
        if not any(fnmatchcase(workload.id.lower(), pattern) for workload in WORKLOADS):
            known = ", ".join(workload.id for workload in WORKLOADS)
            raise ValueError(f"no workload matches {pattern!r}; there are {known}")
    return [workload for workload in WORKLOADS if any(fnmatchcase(workload.id.lower(), pattern) for pattern in wanted)]
