"""The benchmark's statistics and verdicts."""

from dataclasses import replace
from typing import Any

import pytest

from muxtcp.bench.floors import HandBatched, RawFlood
from muxtcp.bench.judge import Kind, Series, judge
from muxtcp.bench.peers import Peer, Performance, Play
from muxtcp.bench.runner import Match, Outcome, Round
from muxtcp.bench.stage import LEVELS, Contestant
from muxtcp.bench.workloads import COST, LATENCY, MEMORY, RECEIVED, Bound, Placement, Workload

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
    assert row.ratio(row.floor).rounds == pytest.approx((2, 2, 2.1))
    assert row.ratio(row.floor).median == pytest.approx(2)
    assert row.ours.value.median == 200
    assert row.floor.value.median == 100


@pytest.mark.parametrize(("limit", "met"), [(1.9, True), (2.0, True), (2.1, False)])
def test_a_rate_must_reach_its_bound(limit: float, met: bool) -> None:
    [row] = judge([replace(W, targets=(Bound(limit),))], rounds((2_000, 1_000)))
    [verdict] = row.verdicts
    assert (verdict.reached, verdict.met) == (2, met)


@pytest.mark.parametrize(("limit", "met"), [(1.4, False), (1.5, True), (1.6, True)])
def test_a_latency_must_stay_within_its_bound(limit: float, met: bool) -> None:
    workload = replace(W, measure=LATENCY, targets=(Bound(limit),))
    [row] = judge([workload], rounds((outcome(0, p50=15, p99=40), outcome(0, p50=10, p99=20))))
    assert [verdict.met for verdict in row.verdicts] == [met]
    assert row.ours.asides == (40,)
    assert row.ours.curve == ()


def test_memory_is_that_of_the_larger_side_and_its_bound_a_value() -> None:
    workload = replace(W, measure=MEMORY, targets=(Bound(512, of="value"),))
    ours, floor = Outcome({"bytes": 500}, {"bytes": 600}), Outcome({"bytes": 1_200}, {"bytes": 1_100})
    [row] = judge([workload], rounds((ours, floor)))
    assert row.ours.value.median == 600
    assert row.ratio(row.floor).median == 0.5
    assert row.ours.cpu is None
    assert [(verdict.reached, verdict.met) for verdict in row.verdicts] == [(600, False)]


def test_a_bound_may_refer_to_another_workload() -> None:
    listener = replace(W, id="Wl", ours=REFERENCE, targets=(Bound(1.5, of="W"),))
    figures = rounds((1_000, 500, 1_800), contestants=(OURS, FLOOR, REFERENCE))
    _, row = judge([W, listener], figures)
    assert [(verdict.reached, verdict.met) for verdict in row.verdicts] == [(pytest.approx(1.8), True)]


def test_a_bound_to_a_workload_that_was_not_measured_is_left_open() -> None:
    [row] = judge([replace(W, targets=(Bound(1.5, of="W99"),))], rounds((1_000, 500)))
    assert [(verdict.reached, verdict.met) for verdict in row.verdicts] == [(None, None)]


def test_references_are_reported_behind_the_floor() -> None:
    reference = RawFlood(size=64, write_size=64)
    workload = replace(W, references=(reference,))
    [row] = judge([workload], rounds((1_000, 500, 100_000), contestants=(OURS, FLOOR, reference)))
    assert [(entry.label, entry.value.median) for entry in row.others[1:]] == [("raw uvloop, 64 B writes", 100)]
    assert row.best_peer is None


def peer(name: str) -> Peer:
    return Peer(
        id=name, label=name, program=(name,), plays=("flood",), channels=True, reference=name == "c", install=""
    )


def test_peers_follow_the_best_first_and_a_target_may_refer_to_one() -> None:
    play = Play(name="flood")
    peers = [peer(name) for name in ("slow", "fast", "c", "failed")]
    performances = [Performance(peer=peer, task=play) for peer in peers[:3]]
    workload = replace(W, play=play, targets=(Bound(4, of="fast"), Bound(2, of="failed")))
    [row] = judge([workload], rounds((1_000, 500, 100, 200, 9_000), contestants=(OURS, FLOOR, *performances)), peers)
    assert [(entry.id, entry.kind) for entry in row.others] == [
        ("", Kind.FLOOR),
        ("c", Kind.REFERENCE),
        ("fast", Kind.PEER),
        ("slow", Kind.PEER),
    ]
    assert row.best_peer is row.others[2]
    assert [(verdict.reached, verdict.met) for verdict in row.verdicts] == [(5, True), (None, None)]


def test_cpu_is_kept_for_each_side_and_told_for_each_message() -> None:
    [row] = judge([W], rounds((1_000, 500)))
    assert row.ours.cpu == (0.5, 0.25)
    assert row.ours.seconds == (1, 1)
    assert row.ours.busy == (0.5, 0.25)
    assert row.ours.each == pytest.approx(0.75 / 1_000)


def test_the_cost_of_a_message_is_a_measure() -> None:
    [row] = judge([replace(W, measure=COST)], rounds((1_000, 500)))
    assert row.ours.value.median == pytest.approx(0.75 / 1_000 * 1e9)
    assert row.ours.each is None


def test_latencies_make_a_curve() -> None:
    levels = {f"p{level:g}": 10 * level for level in LEVELS}
    [row] = judge([replace(W, measure=LATENCY)], rounds((outcome(0, **levels), outcome(0, **levels))))
    assert row.ours.curve == tuple(10 * level for level in LEVELS)
