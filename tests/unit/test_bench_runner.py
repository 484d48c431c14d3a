"""The benchmark's schedule and its child processes; the floors stand in for everything that is measured."""

import asyncio
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from muxtcp.bench import floors, peers, runner, workloads
from muxtcp.bench.peers import Peer, Performance, Play
from muxtcp.bench.runner import BenchError, Match, Outcome, Settings, schedule
from muxtcp.bench.stage import Contestant, Stage, TwoSides
from muxtcp.bench.workloads import WORKLOADS, Depth, Placement, Workload, of_depth, select

BRIEF = Settings(rounds=1, warmup=0.01, seconds=0.05)
PING_PONG = floors.RawPingPong(size=64)


def workload(contestant: Contestant, **changes: Any) -> Workload:
    return Workload(
        **{"id": "T", "title": "", "measure": workloads.ROUND_TRIPS, "ours": contestant, "floor": contestant, **changes}
    )


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    """Other tests may have children, which stay as long as those need them."""
    before = children()
    yield
    assert children() - before == set()


def children() -> set[str]:
    """The processes whose parent we are."""
    return set(Path(f"/proc/self/task/{Path('/proc/thread-self').readlink().name}/children").read_text().split())


def measure(contestant: Contestant) -> Outcome:
    match = Match(contestant, Placement.TOGETHER, "T")
    with runner.certificate([match]) as path:
        return asyncio.run(runner.measure(match, BRIEF, runner.two_cpus(), path))


def test_ids_are_unique() -> None:
    assert len({workload.id for workload in WORKLOADS}) == len(WORKLOADS)


def test_bounds_refer_to_something() -> None:
    folder = peers.home()
    assert folder is not None
    known = {"floor", "value", *(workload.id for workload in WORKLOADS), *(peer.id for peer in peers.known(folder))}
    assert {bound.of for workload in WORKLOADS for bound in workload.targets} <= known


def test_a_quick_run_leaves_out_what_takes_long() -> None:
    quick, ordinary, full = ({workload.id for workload in of_depth(depth)} for depth in Depth)
    assert quick < ordinary < full
    assert full - ordinary == {"W7m"}


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
    plan = schedule([workload(first), workload(second)])
    rounds = asyncio.run(
        runner.run(plan, Settings(rounds=3), lambda number, match: seen.append((number, match.contestant)), pytest.fail)
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
        floors.RawPingPong(size=64, tls=True),
    ],
    ids=lambda contestant: type(contestant).__name__,
)
def test_a_floor_measures_both_sides(contestant: Contestant) -> None:
    outcome = measure(contestant)
    assert outcome.server["rate"] + outcome.client["rate"] > 0
    for side in (outcome.client, outcome.server):
        assert side["seconds"] > BRIEF.seconds / 2  # a loop's clock has milliseconds
        assert side["waited"] >= 0
        assert 0 <= side["cpu"] < 2 * side["seconds"]


def test_latencies_have_percentiles() -> None:
    client = measure(PING_PONG).client
    assert 0 < client["p50"] <= client["p99"]


def test_memory_has_no_interval() -> None:
    outcome = measure(floors.IdleConnections(connections=50, settled=5))
    assert set(outcome.client) == set(outcome.server) == {"bytes"}


@dataclass(frozen=True, kw_only=True)
class Broken(TwoSides):
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


@pytest.mark.usefixtures("importable")
def test_a_hanging_child_is_given_up_and_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Broken, "patience", 0.2)
    with pytest.raises(BenchError, match=r"T, broken: no result within 0.26 s"):
        measure(Broken(how="hangs"))


# A driver that keeps to the contract and measures nothing.
DRIVER = """
import json, sys
if "--version" in sys.argv:
    print(json.dumps({"version": "1.2.3"}))
    sys.exit()
job = json.loads(sys.stdin.readline())
if job["role"] == "server":
    print(json.dumps({"port": 7}), flush=True)
print(json.dumps({"result": {"rate": job["arguments"]["channels"], "port": job["port"]}}), flush=True)
sys.stdin.read()
"""
ECHO = Play(name="echo", channels=100)


def peer(program: str, *rest: str, **changes: Any) -> Peer:
    return Peer(
        **{
            "id": "it",
            "label": "theirs",
            "program": (program, *rest),
            "plays": ("echo",),
            "channels": True,
            "reference": False,
            "install": "a word",
            **changes,
        }
    )


def test_a_peer_is_measured_by_its_own_program() -> None:
    driver = peer(sys.executable, "-c", DRIVER)
    outcome = measure(Performance(peer=driver, task=ECHO))
    assert outcome == Outcome({"rate": 100, "port": 7}, {"rate": 100, "port": 0})


def test_a_peer_plays_what_it_can() -> None:
    assert peer("x").can(ECHO)
    assert not peer("x").can(Play(name="flood"))
    assert not peer("x", channels=False).can(ECHO)
    assert peer("x", channels=False).can(Play(name="echo"))


def test_workloads_without_a_play_have_no_peers() -> None:
    plan = schedule([workload(PING_PONG), workload(PING_PONG, id="U", play=ECHO)], [peer("x")])
    assert [match.contestant for match in plan] == [PING_PONG, Performance(peer=peer("x"), task=ECHO)]


def test_a_failing_peer_is_left_out_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Performance(peer=peer("x"), task=ECHO)
    tried, told = [], []

    async def instead(match: Match, *_: Any) -> Outcome:
        tried.append(match.contestant)
        if match.contestant == broken:
            raise BenchError("out of luck")
        return Outcome({}, {})

    monkeypatch.setattr(runner, "measure", instead)
    plan = schedule([workload(PING_PONG, play=ECHO)], [broken.peer])
    rounds = asyncio.run(runner.run(plan, Settings(rounds=2), lambda *_: None, told.append))
    assert [str(error) for error in told] == ["out of luck"]
    assert tried == [PING_PONG, broken, PING_PONG]
    assert [len(outcomes) for outcomes in rounds] == [1, 1]


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("print('hello')", r"said b'hello\\n' where a JSON line with 'port' was due"),
        ("print('[]')", r"said b'\[\]\\n' where a JSON line with 'port' was due"),
        ("""print('{"error": "no luck"}')""", "theirs, server: no luck"),
    ],
)
def test_what_breaks_the_contract_is_shown(code: str, complaint: str) -> None:
    with pytest.raises(BenchError, match=complaint):
        measure(Performance(peer=peer(sys.executable, "-c", code), task=ECHO))


def test_who_is_not_installed_is_said_with_the_reason() -> None:
    absent = """print('{"missing": "No module named zmq"}')"""
    asked = [
        peer(sys.executable, "-c", DRIVER),
        peer(sys.executable, "-c", absent, label="b"),
        peer("/no/such/program", label="c"),
        peer(sys.executable, "-c", "raise SystemExit(3)", label="d"),
    ]
    present, missing = asyncio.run(peers.installed(asked))
    assert [(found.label, found.version) for found in present] == [("theirs", "1.2.3")]
    assert missing == [
        "without b: No module named zmq (install it with: a word)",
        "without c: /no/such/program: No such file or directory (install it with: a word)",
        "without d: its program ended with exit code 3 (install it with: a word)",
    ]


def test_the_folder_of_peers_describes_programs_that_are_there() -> None:
    folder = peers.home()
    assert folder is not None
    for known in peers.known(folder):
        assert set(known.plays) <= {"flood", "echo", "opens", "idle"}
        if known.program[0] == sys.executable:
            assert Path(known.program[1]).is_file()


def test_a_bad_description_is_named(tmp_path: Path) -> None:
    (tmp_path / "peers.toml").write_text("[zmq]\nlabel = 'pyzmq'\n")
    with pytest.raises(ValueError, match=r"peers.toml: KeyError\('command'\)"):
        peers.known(tmp_path)


def test_peers_are_chosen_by_name() -> None:
    assert peers.choose([peer("x"), peer("y", id="other")], ["it"]) == [peer("x")]
    with pytest.raises(ValueError, match="no peer is called that; there are it"):
        peers.choose([peer("x")], ["that"])
