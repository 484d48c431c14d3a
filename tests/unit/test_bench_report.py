"""The benchmark's table and JSON document."""

import json
from dataclasses import replace

import pytest

from muxtcp.bench.floors import HandBatched
from muxtcp.bench.judge import Entry, Row, Series, Verdict
from muxtcp.bench.report import COLUMNS, cells, document, plain, show
from muxtcp.bench.runner import Settings
from muxtcp.bench.workloads import LATENCY, MEMORY, RECEIVED, Bound, Measure, Workload


@pytest.fixture
def row() -> Row:
    contestant = HandBatched(size=64, channels=1)
    return Row(
        workload=Workload(id="W1", title="small messages", measure=RECEIVED, ours=contestant, floor=contestant),
        ours=Entry(label="muxtcp", value=Series((5_400.0, 5_500.0, 5_600.0)), seconds=(2.0, 2.0), cpu=(1.0, 2.0)),
        floor=Entry(label="by hand", value=Series((3_600.0, 3_700.0, 3_650.0)), seconds=(2.0, 2.0), cpu=(0.5, 1.9)),
        references=[Entry(label="one at a time", value=Series((50.0, 50.0, 50.0)))],
        ratio=Series((1.5, 1.49, 1.53)),
        milestone=Verdict(Bound(0.69, "the first step"), 1.5, True),
        target=Verdict(Bound(2, "the goal"), 1.5, False),
    )


def test_each_ratio_stands_beside_its_bounds(row: Row) -> None:
    line, reference = (dict(zip(COLUMNS, cells, strict=True)) for cells in cells([row]))
    assert line == {
        "": "W1",
        "workload": "small messages",
        "muxtcp": "5,500 ±2% k msg/s",
        "floor": "3,650 ±1%",
        "ratio": "1.50",
        "now": ">= 0.69 met",
        "target": ">= 2 MISSED",
        "CPU %": "50 + 100",
        "floor's": "25 + 95",
    }
    assert reference["workload"].strip() == "beside it: one at a time"
    assert reference["floor"] == "50.0 ±0%"


@pytest.mark.parametrize(
    ("measure", "verdict", "text"),
    [
        (LATENCY, Verdict(Bound(1.15, ""), 1.1, True), "<= 1.15 met"),
        (MEMORY, Verdict(Bound(1_024, "", of="value"), 900, True), "<= 1,024 bytes met"),
        (RECEIVED, Verdict(Bound(1.5, "", of="W1")), ">= 1.5 x W1 ?"),
    ],
)
def test_a_bound_says_which_way_and_of_what(row: Row, measure: Measure, verdict: Verdict, text: str) -> None:
    changed = replace(row, workload=replace(row.workload, measure=measure), target=verdict)
    assert dict(zip(COLUMNS, cells([changed])[0], strict=True))["target"] == text


def test_a_latency_shows_its_p99(row: Row) -> None:
    ours = Entry(label="muxtcp", value=Series((11.5,)), aside=20.25)
    changed = replace(row, ours=ours, workload=replace(row.workload, measure=LATENCY))
    assert cells([changed])[0][2] == "11.5 (20.2) µs"


def test_plain_text_is_aligned(row: Row) -> None:
    head, *lines = plain(cells([row])).splitlines()
    assert len(lines) == 2
    assert head.index("ratio") + len("ratio") == lines[0].index("1.50") + len("1.50")


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
    content = json.loads(json.dumps(document([row], Settings())))
    assert {"muxtcp", "date", "machine", "settings", "workloads"} == set(content)
    assert {"cpu", "cpus", "python", "uvloop", "system", "load"} == set(content["machine"])
    [workload] = content["workloads"]
    assert workload["id"] == "W1"
    assert workload["unit"] == "k msg/s"
    assert workload["value"] == 5_500
    assert workload["ratio"] == 1.5
    assert workload["cpu_seconds"] == {"client": 1.0, "server": 2.0}
    assert workload["floor"]["value"] == 3_650
    assert workload["milestone"] == {
        "limit": 0.69,
        "source": "the first step",
        "of": "floor",
        "reached": 1.5,
        "met": True,
    }
    assert workload["target"]["met"] is False
    assert [reference["contestant"] for reference in workload["references"]] == ["one at a time"]
