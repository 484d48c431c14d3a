"""What is measured, against which floor, and what is asked of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase

from . import floors, ours
from .stage import Contestant

Figures = dict[str, float]  # what one side's child reports: see Stage


class Placement(Enum):
    """Which CPUs the two processes are pinned to."""

    APART = "client and server on a CPU each"
    TOGETHER = "both on one CPU"


@dataclass(frozen=True)
class Bound:
    """What a figure must reach, as a ratio or as a value; `source` says where the number comes from."""

    limit: float
    source: str
    of: str = "floor"  # a ratio to the floor, or to the workload of this id; "value": the figure itself


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Which of the reported figures counts, and how it is printed."""

    unit: str
    scale: float  # printed value = figure / scale
    take: Callable[[Figures, Figures], float]  # of (client, server)
    more_is_better: bool = True
    aside: str | None = None  # a figure of the client that is shown beside the value, in the same unit


RECEIVED = Measure(unit="k msg/s", scale=1e3, take=lambda client, server: server["rate"])
MEGABYTES = Measure(unit="MB/s", scale=1e6 / 65_536, take=lambda client, server: server["rate"])
ROUND_TRIPS = Measure(unit="k rt/s", scale=1e3, take=lambda client, server: client["rate"])
OPENS = Measure(unit="k opens/s", scale=1e3, take=lambda client, server: client["rate"])
LATENCY = Measure(unit="µs", scale=1, take=lambda client, server: client["p50"], more_is_better=False, aside="p99")
MEMORY = Measure(
    unit="bytes", scale=1, take=lambda client, server: max(client["bytes"], server["bytes"]), more_is_better=False
)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One row of the report."""

    id: str
    title: str
    measure: Measure
    ours: Contestant
    floor: Contestant
    references: tuple[Contestant, ...] = ()  # also measured and shown; no target refers to them
    placement: Placement = Placement.APART
    milestone: Bound | None = None  # what must hold now
    target: Bound | None = None  # what it is going to be


# The floors beside which some bounds were first written down as absolute rates, in thousands a second: as ratios they
# carry over to other machines.
HAND_BATCHED_W1, HAND_BATCHED_W2, RAW_W5 = 3_640, 3_670, 300

HAND_BATCHED_100 = floors.HandBatched(size=64, channels=100)
RAW_64K = floors.RawFlood(size=65_536, write_size=65_536)
RAW_32K = floors.RawFlood(size=65_536, write_size=32_768)
RAW_PING_PONG = floors.RawPingPong(size=64)
RAW_100_AT_ONCE = floors.RawRally(size=64, outstanding=100)
IDLE_CONNECTION = floors.IdleConnections(connections=2_000)

WORKLOADS: tuple[Workload, ...] = (
    Workload(
        id="W1",
        title="64 B one way, 100 channels, send to async for",
        measure=RECEIVED,
        ours=ours.Flood(size=64, channels=100),
        floor=HAND_BATCHED_100,
        milestone=Bound(2_500 / HAND_BATCHED_W1, "2.5 M msg/s where hand-batched Python makes 3.64 M"),
        target=Bound(1.5, "1.5 x hand-batched Python"),
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
        target=Bound(1.5, "a callback costs no coroutine", of="W1"),
    ),
    Workload(
        id="W2",
        title="64 B one way, 1 channel",
        measure=RECEIVED,
        ours=ours.Flood(size=64, channels=1),
        floor=floors.HandBatched(size=64, channels=1),
        references=(floors.RawFlood(size=64, write_size=64),),
        milestone=Bound(4_000 / HAND_BATCHED_W2, "4 M msg/s where hand-batched Python makes 3.67 M"),
        target=Bound(2.2, "2.2 x hand-batched Python"),
    ),
    Workload(
        id="W3",
        title="64 KiB one way, 1 channel",
        measure=MEGABYTES,
        ours=ours.Flood(size=65_536, channels=1),
        floor=RAW_64K,
        references=(RAW_32K,),
        milestone=Bound(2, "2 x raw uvloop with 64 KiB writes"),
        target=Bound(3, "3 x raw uvloop with 64 KiB writes"),
    ),
    Workload(
        id="W3x16",
        title="64 KiB one way, 16 channels",
        measure=MEGABYTES,
        ours=ours.Flood(size=65_536, channels=16),
        floor=RAW_64K,
        references=(RAW_32K,),
        target=Bound(3, "as W3"),
    ),
    Workload(
        id="W4",
        title="ping-pong, 64 B, p50 (p99)",
        measure=LATENCY,
        ours=ours.Echo(size=64, channels=1),
        floor=RAW_PING_PONG,
        target=Bound(1.05, "1.05 x raw uvloop: the wake-up of the other CPU is most of it"),
    ),
    Workload(
        id="W4s",
        title="ping-pong on one CPU, p50 (p99)",
        measure=LATENCY,
        ours=ours.Echo(size=64, channels=1),
        floor=RAW_PING_PONG,
        placement=Placement.TOGETHER,
        milestone=Bound(1.5, "1.5 x raw uvloop"),
        target=Bound(1.15, "1.15 x raw uvloop with await"),
    ),
    Workload(
        id="W4sl",
        title="W4s with listeners",
        measure=LATENCY,
        ours=ours.ListenerEcho(size=64, channels=1),
        floor=RAW_PING_PONG,
        placement=Placement.TOGETHER,
        target=Bound(1.05, "1.05 x raw uvloop with a listener"),
    ),
    Workload(
        id="W5",
        title="echo on 100 channels at once, a task each",
        measure=ROUND_TRIPS,
        ours=ours.Echo(size=64, channels=100),
        floor=RAW_100_AT_ONCE,
        references=(floors.HandBatchedRally(size=64, channels=100),),
        milestone=Bound(1, "raw uvloop with a write per message"),
        target=Bound(2, "2 x raw uvloop with a write per message"),
    ),
    Workload(
        id="W5l",
        title="W5 with listeners",
        measure=ROUND_TRIPS,
        ours=ours.ListenerEcho(size=64, channels=100),
        floor=RAW_100_AT_ONCE,
        references=(floors.HandBatchedRally(size=64, channels=100),),
        target=Bound(900 / RAW_W5, "900 k rt/s where raw uvloop makes 300 k"),
    ),
    Workload(
        id="W6s",
        title="open, 64 B echo, close; one after another",
        measure=OPENS,
        ours=ours.Opens(size=64, tasks=1),
        floor=RAW_PING_PONG,
    ),
    Workload(
        id="W6c",
        title="open, 64 B echo, close; 100 at once",
        measure=OPENS,
        ours=ours.Opens(size=64, tasks=100),
        floor=RAW_100_AT_ONCE,
        target=Bound(120 / RAW_W5, "120 k opens/s where raw uvloop makes 300 k round trips"),
    ),
    Workload(
        id="W7",
        title="an idle channel with a listener, the larger side",
        measure=MEMORY,
        ours=ours.IdleChannels(channels=10_000, tasks=False),
        floor=IDLE_CONNECTION,
        milestone=Bound(1_024, "1 KiB a side without a handler task", of="value"),
        target=Bound(512, "512 bytes a side without a handler task", of="value"),
    ),
    Workload(
        id="W7t",
        title="an idle channel with a handler task",
        measure=MEMORY,
        ours=ours.IdleChannels(channels=10_000, tasks=True),
        floor=IDLE_CONNECTION,
        target=Bound(2_048, "2 KiB a side with a handler task", of="value"),
    ),
    Workload(
        id="W8",
        title="W1 on a resumable session",
        measure=RECEIVED,
        ours=ours.Flood(size=64, channels=100, resume=30.0),
        floor=HAND_BATCHED_100,
        milestone=Bound(0.9, "nine tenths of W1", of="W1"),
        target=Bound(0.9, "nine tenths of W1", of="W1"),
    ),
)


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
