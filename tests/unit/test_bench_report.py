"""The benchmark's table, JSON document, comparison, plot and its doubts about the machine."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from muxtcp.bench import compare, machine, plot
from muxtcp.bench.floors import HandBatched
from muxtcp.bench.judge import Entry, Kind, Row, Series, Verdict
from muxtcp.bench.peers import Peer
from muxtcp.bench.report import COLUMNS, cells, document, plain, show
from muxtcp.bench.runner import Match, Outcome, Settings
from muxtcp.bench.stage import LEVELS
from muxtcp.bench.workloads import LATENCY, LIFE, MEMORY, RECEIVED, Bound, Measure, Placement, Workload

CONTESTANT = HandBatched(size=64, channels=1)
PEER = Peer(id="zmq", label="pyzmq", program=("x",), plays=(), channels=True, reference=False, install="", version="27")


@pytest.fixture
def row() -> Row:
    return Row(
        workload=Workload(id="W1", title="small messages", measure=RECEIVED, ours=CONTESTANT, floor=CONTESTANT),
        ours=Entry(
            kind=Kind.OURS,
            label="muxtcp",
            value=Series((5_400.0, 5_500.0, 5_600.0)),
            seconds=(2.0, 2.0),
            cpu=(1.0, 2.0),
            each=2.5e-7,
        ),
        others=[
            Entry(
                kind=Kind.FLOOR,
                label="by hand",
                value=Series((3_600.0, 3_700.0, 3_650.0)),
                seconds=(2.0, 2.0),
                cpu=(0.5, 1.9),
                each=3.4e-6,
            ),
            Entry(kind=Kind.REFERENCE, label="one at a time", value=Series((50.0, 50.0, 50.0))),
            Entry(kind=Kind.PEER, id="zmq", label="pyzmq", value=Series((275.0, 275.0, 275.0))),
        ],
        verdicts=[
            Verdict(Bound(2), 1.5, False),
            Verdict(Bound(15, of="zmq"), 20.0, True),
            Verdict(Bound(0.9, of="W9"), 1.1, True),
        ],
    )


def content(*rows: Row, noise: tuple[str, ...] = ()) -> dict[str, Any]:
    whole = document(rows, Settings(), machine.description(), [PEER], noise)
    result: dict[str, Any] = json.loads(json.dumps(whole))
    return result


def test_each_ratio_stands_beside_its_target(row: Row) -> None:
    ours, floor, reference, peer = (dict(zip(COLUMNS, line, strict=True)) for line in cells([row]))
    assert ours == {
        "": "W1",
        "workload": "small messages",
        "value": "5,500 ±2% k msg/s",
        "ratio": "",
        "target": ">= 0.9 x W9, is 1.10 met",
        "CPU %": "50 + 100",
        "CPU each": "250 ns",
    }
    assert floor == {
        "": "",
        "workload": "  floor: by hand",
        "value": "3,650 ±1%",
        "ratio": "1.50",
        "target": ">= 2 MISSED",
        "CPU %": "25 + 95",
        "CPU each": "3.4 µs",
    }
    assert (reference["workload"], reference["ratio"], reference["target"]) == (
        "  reference: one at a time",
        "110.00",
        "",
    )
    assert (peer["workload"], peer["target"]) == ("  peer: pyzmq", ">= 15 x zmq, is 20.00 met")


@pytest.mark.parametrize(
    ("measure", "verdict", "text"),
    [
        (LATENCY, Verdict(Bound(1.15, of="W"), 1.1, True), "<= 1.15 x W, is 1.10 met"),
        (MEMORY, Verdict(Bound(1_024, of="value"), 900, True), "<= 1,024 bytes met"),
        (RECEIVED, Verdict(Bound(1.5, of="W1")), ">= 1.5 x W1 ?"),
    ],
)
def test_a_bound_says_which_way_and_of_what(row: Row, measure: Measure, verdict: Verdict, text: str) -> None:
    changed = replace(row, workload=replace(row.workload, measure=measure), verdicts=[verdict])
    assert dict(zip(COLUMNS, cells([changed])[0], strict=True))["target"] == text


@pytest.mark.parametrize(
    ("measure", "asides", "text"),
    [
        (LATENCY, (20.25,), "11.5 (p99 20.2 µs) µs"),
        (LIFE, (4.0, 3.0, 5.0), "11.5 (open 4 s, exchange 3 s, close 5 s) bytes"),
    ],
)
def test_what_a_measure_has_beside_the_value_is_shown(
    row: Row, measure: Measure, asides: tuple[float, ...], text: str
) -> None:
    ours = replace(row.ours, value=Series((11.5,)), asides=asides)
    changed = replace(row, ours=ours, others=[], workload=replace(row.workload, measure=measure), verdicts=[])
    assert cells([changed])[0][2] == text


def test_plain_text_is_aligned(row: Row) -> None:
    head, *lines = plain(cells([row])).splitlines()
    assert len(lines) == 4
    assert head.index("ratio") + len("ratio") == lines[1].index("1.50") + len("1.50")


def test_the_table_is_plain_text_off_a_terminal(row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    show([row], terminal=False)
    assert capsys.readouterr().out == plain(cells([row])) + "\n"


def test_the_table_on_a_terminal_has_the_same_cells(
    row: Row, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich", reason="without rich the table is plain text")
    monkeypatch.setenv("COLUMNS", "200")
    show([row], terminal=True)
    drawn = capsys.readouterr().out
    assert all(cell in drawn for line in cells([row]) for cell in line)


def test_the_document_survives_json(row: Row) -> None:
    whole = content(row, noise=("too loud",))
    assert set(whole) == {"muxtcp", "date", "machine", "noise", "settings", "peers", "workloads"}
    assert {"cpu", "cpus", "virtual", "memory_gib", "python", "uvloop", "openssl", "system", "load"} == set(
        whole["machine"]
    )
    assert whole["noise"] == ["too loud"]
    assert whole["peers"] == {"zmq": {"label": "pyzmq", "version": "27"}}
    [workload] = whole["workloads"]
    assert (workload["id"], workload["unit"], workload["best_peer"]) == ("W1", "k msg/s", "zmq")
    assert workload["ours"]["value"] == 5_500
    assert workload["ours"]["cpu"] == {"client": 0.5, "server": 1.0}
    assert workload["ours"]["cpu_each_ns"] == pytest.approx(250)
    assert [(entry["kind"], entry["ratio"]) for entry in workload["others"]] == [
        ("floor", pytest.approx(1.5, rel=0.01)),
        ("reference", 110),
        ("peer", 20),
    ]
    assert workload["targets"][0] == {"limit": 2, "of": "floor", "reached": 1.5, "met": False}


def test_the_machine_is_described_in_a_line() -> None:
    facts = machine.description()
    line = machine.in_words({**facts, "virtual": True})
    assert str(facts["cpu"]) in line
    assert "CPUs of a virtual machine" in line
    assert facts["python"] in line


# Comparing


def faster(row: Row, factor: float) -> Row:
    return replace(row, ours=replace(row.ours, value=Series((5_500.0 * factor,))), others=[quiet(row.floor)])


def quiet(entry: Entry) -> Entry:
    return replace(entry, value=Series((entry.value.median,)))


@pytest.mark.parametrize(("factor", "verdict"), [(1.2, "better"), (1.01, "same"), (0.8, "WORSE")])
def test_a_change_is_told_by_ratios_to_the_floor(row: Row, factor: float, verdict: str) -> None:
    [change] = compare.changes(content(faster(row, 1)), content(faster(row, factor)))
    assert (change.id, change.factor, change.verdict) == ("W1", pytest.approx(factor), verdict)


def test_less_is_better_for_a_latency(row: Row) -> None:
    latency = replace(row, workload=replace(row.workload, measure=LATENCY))
    [change] = compare.changes(content(faster(latency, 1)), content(faster(latency, 0.5)))
    assert (change.factor, change.verdict) == (pytest.approx(2), "better")


def test_what_varies_more_than_it_changed_is_the_same(row: Row) -> None:
    noisy = replace(row, ours=replace(row.ours, value=Series((5_000.0, 6_600.0, 7_000.0))))
    [change] = compare.changes(content(row), content(noisy))
    assert (change.factor, change.verdict) == (pytest.approx(1.2, abs=0.02), "same")


def test_the_comparison_in_words(row: Row) -> None:
    old, new = content(faster(row, 1)), content(faster(row, 1.5))
    old["machine"]["cpu"] = "An abacus"
    text = compare.text(old, new)
    assert "An abacus" in text
    assert "1.51 ->   2.26" in text
    assert "+50% (doubt ±3%)  better" in text
    assert "no workload is in both" in compare.text(old, content())


@pytest.mark.parametrize("text", ["", "{}", '{"workloads": [{"id": "W1"}]}', "[]"])
def test_another_file_is_not_compared_with(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="was not written by"):
        compare.read(path)


# Drawing


def test_bars_and_curves_are_drawn(row: Row, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="drawing needs the extra 'plot'")
    curve = tuple(10.0 + level for level in LEVELS)
    timed = replace(
        row,
        workload=replace(row.workload, id="W4", title="there and back", measure=LATENCY),
        ours=replace(row.ours, curve=curve),
        others=[replace(entry, curve=curve) for entry in row.others],
    )
    path = tmp_path / "speed.svg"
    plot.draw(content(row, timed), path)
    drawn = path.read_text()
    for text in ("W1: small messages", "W4: there and back", "by hand", "pyzmq"):
        assert f">{text}</text>" in drawn


def test_a_plot_has_a_known_form() -> None:
    with pytest.raises(ValueError, match=r"a plot is .svg or .png, not .jpg: speed.jpg"):
        plot.check(Path("speed.jpg"))


# Doubts


def noise(waited: float = 0.0, spread: float = 0.0, stolen: float = 0.0) -> list[str]:
    side = {"waited": waited, "seconds": 1.0}
    outcomes = {Match(CONTESTANT, Placement.APART, "W"): Outcome(side, side)}
    floor = Entry(kind=Kind.FLOOR, label="", value=Series((1 - spread, 1.0, 1 + spread)))
    workload = Workload(id="W", title="", measure=RECEIVED, ours=CONTESTANT, floor=CONTESTANT)
    return machine.noise([outcomes], [Row(workload=workload, ours=floor, others=[floor], verdicts=[])], stolen)


def test_a_quiet_machine_is_believed() -> None:
    assert noise(waited=0.04, spread=0.1, stolen=0.01) == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"waited": 0.3}, "waited for their CPU for 30% of the time"),
        ({"spread": 0.4}, "varied by ±40% or more"),
        ({"stolen": 0.1}, "gave 10% of the time to other machines"),
    ],
)
def test_a_noisy_machine_is_doubted(changes: dict[str, float], text: str) -> None:
    [finding] = noise(**changes)
    assert text in finding


def test_waiting_for_the_other_side_on_one_cpu_is_no_noise() -> None:
    side = {"waited": 0.5, "seconds": 1.0}
    outcomes = {Match(CONTESTANT, Placement.TOGETHER, "W"): Outcome(side, side)}
    assert machine.noise([outcomes], [], 0.0) == []
