"""From figures to rows: medians over the rounds, ratios within them, and whether targets are met."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from statistics import median

from .peers import Peer, Performance
from .runner import Match, Outcome, Round, matches
from .stage import LEVELS
from .workloads import Bound, Measure, Workload


class Kind(Enum):
    """What a contestant is to us."""

    OURS = "muxtcp"
    FLOOR = "floor"
    REFERENCE = "reference"  # also no library, for orientation
    PEER = "peer"


@dataclass(frozen=True)
class Series:
    """One figure over the rounds."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """What is reported."""
        return median(self.rounds)

    @property
    def spread(self) -> float:
        """Half of what lies between the lowest and the highest round, as a fraction of the median."""
        return (max(self.rounds) - min(self.rounds)) / 2 / self.median if self.median else 0.0

    def __truediv__(self, other: "Series") -> "Series":
        """The ratio of each round: numerator and denominator met the same weather."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return Series(tuple(ours / theirs if theirs else math.inf for ours, theirs in pairs))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one contestant reached in one workload, in the unit of its measure."""

    label: str
    value: Series
    kind: Kind
    id: str = ""  # of a peer
    asides: tuple[float, ...] = ()  # of the measure, medians
    curve: tuple[float, ...] = ()  # latency at each of LEVELS in microseconds, medians
    # Of client and server; they measure an interval each, and a busy loop ends its own late. None: there was none.
    seconds: tuple[float, float] | None = None
    cpu: tuple[float, float] | None = None
    each: float | None = None  # CPU seconds of both sides for each unit of a rate

    @property
    def busy(self) -> tuple[float, float] | None:
        """The share of its CPU that each side used."""
        if self.cpu is None or self.seconds is None:
            return None
        return self.cpu[0] / self.seconds[0], self.cpu[1] / self.seconds[1]


@dataclass(frozen=True)
class Verdict:
    """A bound beside what was reached; both None where what it refers to was not measured."""

    bound: Bound
    reached: float | None = None
    met: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One workload, judged."""

    workload: Workload
    ours: Entry
    others: list[Entry]  # floor, references, peers: the best first
    verdicts: list[Verdict]

    @cached_property
    def floor(self) -> Entry:
        """What the machine can do without a library."""
        return next(entry for entry in self.others if entry.kind is Kind.FLOOR)

    @cached_property
    def best_peer(self) -> Entry | None:
        """The best of those that were measured."""
        return next((entry for entry in self.others if entry.kind is Kind.PEER), None)

    def ratio(self, other: Entry) -> Series:
        """Ours to theirs."""
        return self.ours.value / other.value


def judge(workloads: Sequence[Workload], rounds: Sequence[Round], peers: Sequence[Peer] = ()) -> list[Row]:
    """One row per workload."""
    entries = {workload.id: _entries(workload, rounds, peers) for workload in workloads}
    reached = {name: ours.value for name, (ours, *_) in entries.items()}
    rows = []
    for workload in workloads:
        ours, *others = entries[workload.id]
        known = reached | {entry.id or entry.label: entry.value for entry in others}
        known |= {"floor": others[0].value}
        rows.append(
            Row(
                workload=workload,
                ours=ours,
                others=_best_first(others, workload.measure),
                verdicts=[_verdict(bound, workload.measure, ours.value, known) for bound in workload.targets],
            )
        )
    return rows


def _entries(workload: Workload, rounds: Sequence[Round], peers: Sequence[Peer]) -> list[Entry]:
    """Ours, the floor, and the others that were measured in every round."""
    floor, ours, *others = matches(workload, peers)
    there = [match for match in (ours, floor, *others) if all(match in outcomes for outcomes in rounds)]
    return [
        _entry(workload.measure, match, _kind(workload, match), [outcomes[match] for outcomes in rounds])
        for match in there
    ]


def _kind(workload: Workload, match: Match) -> Kind:
    contestant = match.contestant
    if isinstance(contestant, Performance):
        return Kind.REFERENCE if contestant.peer.reference else Kind.PEER
    if contestant == workload.ours:
        return Kind.OURS
    return Kind.FLOOR if contestant == workload.floor else Kind.REFERENCE


def _entry(measure: Measure, match: Match, kind: Kind, outcomes: Sequence[Outcome]) -> Entry:
    def over_rounds(figure: Callable[[Outcome], float]) -> Series:
        return Series(tuple(map(figure, outcomes)))

    def of_client(name: str) -> float:
        return over_rounds(lambda o: o.client[name]).median

    def of_both_sides(name: str) -> tuple[float, float] | None:
        if name not in outcomes[0].client:
            return None
        return of_client(name), over_rounds(lambda o: o.server[name]).median

    contestant = match.contestant
    value = over_rounds(lambda o: measure.take(o.client, o.server) / measure.scale)
    seconds, cpu = of_both_sides("seconds"), of_both_sides("cpu")
    each = None
    if seconds and cpu and measure.is_rate and value.median:
        each = sum(spent / passed for spent, passed in zip(cpu, seconds, strict=True)) / (value.median * measure.scale)
    curve = tuple(of_client(f"p{level:g}") for level in LEVELS) if f"p{LEVELS[0]:g}" in outcomes[0].client else ()
    return Entry(
        label=contestant.label,
        id=contestant.peer.id if isinstance(contestant, Performance) else "",
        kind=kind,
        value=value,
        asides=tuple(of_client(name) for name, _ in measure.asides if name in outcomes[0].client),
        curve=curve,
        seconds=seconds,
        cpu=cpu,
        each=each,
    )


def _best_first(others: Sequence[Entry], measure: Measure) -> list[Entry]:
    order = [Kind.FLOOR, Kind.REFERENCE, Kind.PEER]
    sign = -1 if measure.more_is_better else 1
    return sorted(others, key=lambda entry: (order.index(entry.kind), sign * entry.value.median))


def _verdict(bound: Bound, measure: Measure, value: Series, known: dict[str, Series]) -> Verdict:
    """`known` has what a bound may be a ratio to: the floor, every workload, reference and peer by name."""
    if bound.of == "value":
        reached = value.median
    elif bound.of in known:
        reached = (value / known[bound.of]).median
    else:
        return Verdict(bound)
    return Verdict(bound, reached, reached >= bound.limit if measure.more_is_better else reached <= bound.limit)
