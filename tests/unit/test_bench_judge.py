"""The benchmark's statistics and verdicts."""

from dataclasses import replace
from typing import Any

import pytest

from muxtcp.bench.floors import HandBatched, RawFlood
from muxtcp.bench.judge import Series, judge
from muxtcp.bench.runner import Match, Outcome, Round
from muxtcp.bench.stage import Contestant
from muxtcp.bench.workloads import LATENCY, MEMORY, RECEIVED, Bound, Placement, Workload

OURS, FLOOR, REFERENCE = (HandBatched(size=64, channels=count) for count in (1, 2, 3))
W = Workload(id="W", title="a workload", measure=RECEIVED, ours=OURS, floor=FLOOR)


def outcome(rate: float, **client: float) -> Outcome:
    return Outcome({"rate": 0, "seconds": 1, "cpu": 0.5, **client}, {"rate": rate, "seconds": 1, "cpu": 0.25})


def rounds(*pairs: tuple[Any, ...], contestants: tuple[Contestant, ...] = (OURS, FLOOR)) -> list[Round]:
    """One round per tuple; a figure, or an outcome, per contestant."""
    return [
        {
            Match(contestant, Placement.APART, "W"): figure if isinstance(figure, Outcome) else outcome(figure)
            for contestant, figure in zip(contestants, figures, strict=True)
        }
        for figures in pairs
    ]


def test_a_series_reports_its_median_and_half_its_range() -> None:
    series = Series((90.0, 100.0, 130.0))
    assert series.median == 100
    assert series.spread == pytest.approx(0.2)


def test_a_single_round_has_no_spread() -> None:
    assert Series((7.0,)).spread == 0


def test_a_series_of_zeros_has_no_spread() -> None:
    assert Series((0.0, 0.0)).spread == 0


def test_the_ratio_is_taken_within_each_round() -> None:
    # The machine halves its speed in round two: medians of all rounds first would mix both speeds.
    [row] = judge([W], rounds((200_000, 100_000), (100_000, 50_000), (210_000, 100_000)))
    assert row.ratio.rounds == pytest.approx((2, 2, 2.1))
    assert row.ratio.median == pytest.approx(2)
    assert row.ours.value.median == 200
    assert row.floor.value.median == 100


@pytest.mark.parametrize(("limit", "met"), [(1.9, True), (2.0, True), (2.1, False)])
def test_a_rate_must_reach_its_bound(limit: float, met: bool) -> None:
    [row] = judge([replace(W, milestone=Bound(limit, "test"))], rounds((2_000, 1_000)))
    assert row.milestone.reached == 2
    assert row.milestone.met is met
    assert row.target is None


@pytest.mark.parametrize(("limit", "met"), [(1.4, False), (1.5, True), (1.6, True)])
def test_a_latency_must_stay_within_its_bound(limit: float, met: bool) -> None:
    workload = replace(W, measure=LATENCY, target=Bound(limit, "test"))
    [row] = judge([workload], rounds((outcome(0, p50=15, p99=40), outcome(0, p50=10, p99=20))))
    assert row.target.met is met
    assert row.ours.aside == 40


def test_memory_is_that_of_the_larger_side_and_its_bound_a_value() -> None:
    workload = replace(W, measure=MEMORY, target=Bound(512, "test", of="value"))
    ours, floor = Outcome({"bytes": 500}, {"bytes": 600}), Outcome({"bytes": 1_200}, {"bytes": 1_100})
    [row] = judge([workload], rounds((ours, floor)))
    assert row.ours.value.median == 600
    assert row.ratio.median == 0.5
    assert row.ours.cpu is None
    assert (row.target.reached, row.target.met) == (600, False)


def test_a_bound_may_refer_to_another_workload() -> None:
    listener = replace(W, id="Wl", ours=REFERENCE, target=Bound(1.5, "test", of="W"))
    figures = rounds((1_000, 500, 1_800), contestants=(OURS, FLOOR, REFERENCE))
    _, row = judge([W, listener], figures)
    assert (row.target.reached, row.target.met) == (pytest.approx(1.8), True)


def test_a_bound_to_a_workload_that_was_not_measured_is_left_open() -> None:
    [row] = judge([replace(W, target=Bound(1.5, "test", of="W99"))], rounds((1_000, 500)))
    assert (row.target.reached, row.target.met) == (None, None)


def test_references_are_reported_without_a_verdict() -> None:
    reference = RawFlood(size=64, write_size=64)
    workload = replace(W, references=(reference,))
    [row] = judge([workload], rounds((1_000, 500, 100), contestants=(OURS, FLOOR, reference)))
    assert [(entry.label, entry.value.median) for entry in row.references] == [("raw uvloop, 64 B writes", 0.1)]


def test_cpu_is_kept_for_each_side() -> None:
    [row] = judge([W], rounds((1_000, 500)))
    assert row.ours.cpu == (0.5, 0.25)
    assert row.ours.seconds == (1, 1)
