"""From figures to rows: medians over the rounds, ratios within them, and whether bounds are met."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from .runner import Match, Outcome, Round, matches
from .workloads import Bound, Measure, Workload


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
        return Series(tuple(ours / theirs for ours, theirs in zip(self.rounds, other.rounds, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one contestant reached in one workload, in the unit of its measure."""

    label: str
    value: Series
    aside: float | None = None
    # Of client and server; they measure an interval each, and a busy loop ends its own late. None: there was none.
    seconds: tuple[float, float] | None = None
    cpu: tuple[float, float] | None = None


@dataclass(frozen=True)
class Verdict:
    """A bound beside what was reached; both None where the workload that it refers to was not measured."""

    bound: Bound
    reached: float | None = None
    met: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One workload, judged."""

    workload: Workload
    ours: Entry
    floor: Entry
    references: list[Entry]
    ratio: Series
    milestone: Verdict | None
    target: Verdict | None


def judge(workloads: Sequence[Workload], rounds: Sequence[Round]) -> list[Row]:
    """One row per workload."""
    entries = {workload.id: _entries(workload, rounds) for workload in workloads}
    values = {name: ours.value for name, (_, ours, *_) in entries.items()}
    rows = []
    for workload in workloads:
        floor, ours, *references = entries[workload.id]
        known = {**values, "floor": floor.value}
        rows.append(
            Row(
                workload=workload,
                ours=ours,
                floor=floor,
                references=references,
                ratio=ours.value / floor.value,
                milestone=_verdict(workload.milestone, workload.measure, ours.value, known),
                target=_verdict(workload.target, workload.measure, ours.value, known),
            )
        )
    return rows


def _entries(workload: Workload, rounds: Sequence[Round]) -> list[Entry]:
    """Floor, ours and references, in the order of `matches`."""
    measure = workload.measure
    return [_entry(measure, match, [outcomes[match] for outcomes in rounds]) for match in matches(workload)]


def _entry(measure: Measure, match: Match, outcomes: Sequence[Outcome]) -> Entry:
    def over_rounds(figure: Callable[[Outcome], float]) -> Series:
        return Series(tuple(map(figure, outcomes)))

    label = match.contestant.label
    value = over_rounds(lambda o: measure.take(o.client, o.server) / measure.scale)
    if "seconds" not in outcomes[0].client:
        return Entry(label=label, value=value)

    def of_both_sides(figure: str) -> tuple[float, float]:
        return over_rounds(lambda o: o.client[figure]).median, over_rounds(lambda o: o.server[figure]).median

    aside = measure.aside
    return Entry(
        label=label,
        value=value,
        aside=over_rounds(lambda o: o.client[aside] / measure.scale).median if aside else None,
        seconds=of_both_sides("seconds"),
        cpu=of_both_sides("cpu"),
    )


def _verdict(bound: Bound | None, measure: Measure, value: Series, known: dict[str, Series]) -> Verdict | None:
    """`known` has the floor and every workload by name: what a bound may be a ratio to."""
    if bound is None:
        return None
    if bound.of == "value":
        reached = value.median
    elif bound.of in known:
        reached = (value / known[bound.of]).median
    else:
        return Verdict(bound)
    return Verdict(bound, reached, reached >= bound.limit if measure.more_is_better else reached <= bound.limit)
