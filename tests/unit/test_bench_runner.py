"""The benchmark's schedule and its child processes; the floors stand in for everything that is measured."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from muxtcp.bench import floors, runner, workloads
from muxtcp.bench.runner import BenchError, Match, Outcome, Settings, schedule
from muxtcp.bench.stage import Contestant, Stage
from muxtcp.bench.workloads import WORKLOADS, Placement, Workload, select

BRIEF = Settings(rounds=1, warmup=0.01, seconds=0.05)
PING_PONG = floors.RawPingPong(size=64)


def workload(contestant: Contestant, **changes: Any) -> Workload:
    return Workload(
        **{"id": "T", "title": "", "measure": workloads.ROUND_TRIPS, "ours": contestant, "floor": contestant, **changes}
    )


def children() -> set[str]:
    """The processes whose parent we are."""
    return set(Path(f"/proc/self/task/{Path('/proc/thread-self').readlink().name}/children").read_text().split())


def measure(contestant: Contestant) -> Outcome:
    match = Match(contestant, Placement.TOGETHER, "T")
    cpu = min(os.sched_getaffinity(0))
    return asyncio.run(runner.measure(match, BRIEF, (cpu, cpu)))


def test_ids_are_unique() -> None:
    assert len({workload.id for workload in WORKLOADS}) == len(WORKLOADS)


def test_bounds_refer_to_something() -> None:
    known = {"floor", "value", *(workload.id for workload in WORKLOADS)}
    bounds = [bound for workload in WORKLOADS for bound in (workload.milestone, workload.target) if bound]
    assert {bound.of for bound in bounds} <= known


def test_a_milestone_asks_no_more_than_the_target() -> None:
    for workload in WORKLOADS:
        if workload.milestone and workload.target:
            low, high = workload.milestone.limit, workload.target.limit
            assert low <= high if workload.measure.more_is_better else low >= high, workload.id


@pytest.mark.parametrize(
    ("patterns", "ids"),
    [(["W1"], ["W1"]), (["w4S", "W1"], ["W1", "W4s"]), (["W3*"], ["W3", "W3x16"]), ([" W7 "], ["W7"])],
)
def test_select_keeps_the_order_of_the_table(patterns: list[str], ids: list[str]) -> None:
    assert [workload.id for workload in select(patterns)] == ids


def test_select_names_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no workload matches 'w99'; there are W1, "):
        select(["W1", "W99"])


def test_what_workloads_share_is_measured_once() -> None:
    other = floors.RawPingPong(size=128)
    plan = schedule([workload(PING_PONG), workload(other, floor=PING_PONG, id="U"), workload(other, id="V")])
    assert [match.contestant for match in plan] == [PING_PONG, other]


def test_the_placement_is_part_of_what_is_measured() -> None:
    plan = schedule([workload(PING_PONG), workload(PING_PONG, placement=Placement.TOGETHER)])
    assert [match.placement for match in plan] == [Placement.APART, Placement.TOGETHER]


def test_every_other_round_goes_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    async def instead(*_: Any) -> Outcome:
        return Outcome({}, {})

    monkeypatch.setattr(runner, "measure", instead)
    first, second = (floors.RawPingPong(size=size) for size in (1, 2))
    seen = []
    two = [workload(first), workload(second)]
    rounds = asyncio.run(
        runner.run(two, Settings(rounds=3), lambda number, match: seen.append((number, match.contestant)))
    )
    assert seen == [(0, first), (0, second), (1, second), (1, first), (2, first), (2, second)]
    assert len(rounds) == 3


@pytest.mark.parametrize(
    "contestant",
    [
        floors.RawFlood(size=64, write_size=64),
        floors.HandBatched(size=64, channels=3),
        PING_PONG,
        floors.RawRally(size=64, outstanding=3),
        floors.HandBatchedRally(size=64, channels=3),
    ],
    ids=lambda contestant: type(contestant).__name__,
)
def test_a_floor_measures_both_sides(contestant: Contestant) -> None:
    outcome = measure(contestant)
    assert outcome.server["rate"] + outcome.client["rate"] > 0
    for side in (outcome.client, outcome.server):
        assert side["seconds"] > BRIEF.seconds / 2  # a loop's clock has milliseconds
        assert 0 <= side["cpu"] < 2 * side["seconds"]
    assert children() == set()


def test_latencies_have_percentiles() -> None:
    client = measure(PING_PONG).client
    assert 0 < client["p50"] <= client["p99"]


def test_memory_has_no_interval() -> None:
    outcome = measure(floors.IdleConnections(connections=50, settled=5))
    assert set(outcome.client) == set(outcome.server) == {"bytes"}


@dataclass(frozen=True, kw_only=True)
class Broken(Contestant):
    """Fails on the server's side, in the way that `how` says."""

    how: str
    label = "broken"

    async def serve(self, stage: Stage) -> None:
        match self.how:
            case "raises":
                raise RuntimeError("no such luck")
            case "exits":
                raise SystemExit(3)
            case "fails in a callback":
                asyncio.get_running_loop().call_soon([].pop)
        stage.listen()
        await asyncio.Event().wait()

    async def drive(self, stage: Stage) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets child processes import what this file defines."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setattr(Broken, "__module__", Path(__file__).stem)


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raises", "T, broken, server: RuntimeError: no such luck"),
        ("fails in a callback", "T, broken, server: IndexError: pop from empty list"),
        ("exits", "T, broken, server: ended with exit code 3 and no result"),
    ],
)
def test_a_failing_child_is_named_and_none_is_left(how: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        measure(Broken(how=how))
    assert children() == set()


@pytest.mark.usefixtures("importable")
def test_a_hanging_child_is_given_up_and_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "PATIENCE", 0.2)
    with pytest.raises(BenchError, match=r"T, broken: no result within 0.26 s"):
        measure(Broken(how="hangs"))
    assert children() == set()
