"""`python -m muxtcp.bench` as its user sees it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from muxtcp.bench import __main__ as command
from muxtcp.bench import runner, workloads
from muxtcp.bench.runner import BenchError, Outcome
from muxtcp.bench.stage import LEVELS

FIGURES = {
    "rate": 2e6,
    "seconds": 1.0,
    "cpu": 0.5,
    "waited": 0.0,
    "bytes": 600.0,
    **{f"p{level:g}": 10.0 + level for level in LEVELS},
    "open": 1.0,
    "exchange": 2.0,
    "close": 3.0,
}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing is run: every contestant reaches `FIGURES`. Gives the names of what would have been measured."""
    names: list[str] = []

    async def instead(match: runner.Match, *_: Any) -> Outcome:
        names.append(str(match))
        return Outcome(FIGURES, FIGURES)

    monkeypatch.setattr(runner, "measure", instead)
    return names


def test_a_run_prints_progress_and_the_table(measured: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--quick", "--only", "W1"]) == 0
    assert measured == ["W1, hand-batched Python", "W1, muxtcp, 100 channels"]
    output = capsys.readouterr()
    assert output.err.splitlines() == [
        "[1/2] round 1: W1, hand-batched Python",
        "[2/2] round 1: W1, muxtcp, 100 channels",
    ]
    assert ">= 1.5 MISSED" in output.out
    assert "CPUs" in output.out.splitlines()[0]


def test_every_workload_is_in_the_document(measured: list[str], tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    assert command.main(["--full", "--rounds", "1", "--peers", "none", "--json", str(target)]) == 0
    content = json.loads(target.read_text())
    assert [row["id"] for row in content["workloads"]] == [workload.id for workload in workloads.WORKLOADS]
    assert all(entry["ratio"] == 1 for row in content["workloads"] for entry in row["others"])


def test_an_earlier_run_is_compared_with(
    measured: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "result.json"
    assert command.main(["--quick", "--only", "W1", "--json", str(target)]) == 0
    assert command.main(["--quick", "--only", "W1", "--compare", str(target)]) == 0
    assert "1.00 ->   1.00" in capsys.readouterr().out


def test_a_noisy_machine_is_warned_of(
    measured: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(FIGURES, "waited", 0.5)
    assert command.main(["--quick", "--only", "W1"]) == 0
    assert "too noisy to believe the figures" in capsys.readouterr().err


def test_a_peer_that_is_not_known_is_found_before_anything_is_measured(
    measured: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--quick", "--peers", "carrier-pigeon"]) == 1
    assert measured == []
    assert "no peer is called carrier-pigeon; there are " in capsys.readouterr().err


def test_rounds_may_be_set(measured: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--quick", "--only", "W1", "--rounds", "2"]) == 0
    assert measured == ["W1, hand-batched Python", *["W1, muxtcp, 100 channels"] * 2, "W1, hand-batched Python"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--only", "W99"], "no workload matches 'w99'"),
        (["--rounds", "0"], "'0' is not a whole number of at least 1"),
        (["--rounds", "many"], "'many' is not a whole number of at least 1"),
        (["--fast"], "unrecognized arguments: --fast"),
        (["--quick", "--full"], "not allowed with argument --quick"),
    ],
)
def test_bad_usage_exits_with_2(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        command.main(arguments)
    assert exit_info.value.code == 2
    assert complaint in capsys.readouterr().err


def test_help_has_examples_and_workloads(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        command.main(["--help"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    assert "python -m muxtcp.bench --quick" in text
    assert all(workload.title in text for workload in workloads.WORKLOADS)


def test_an_unwritable_file_is_found_before_anything_is_measured(
    measured: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "absent" / "result.json"
    assert command.main(["--json", str(target)]) == 1
    assert measured == []
    assert capsys.readouterr().err == f"muxtcp.bench: cannot write {target}: no writable directory {target.parent}\n"


def test_a_failed_measurement_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def instead(*_: Any) -> Outcome:
        raise BenchError("W1, muxtcp, server: OSError: out of luck")

    monkeypatch.setattr(runner, "measure", instead)
    assert command.main(["--only", "W1", "--peers", "none"]) == 1
    assert capsys.readouterr().err.splitlines()[1:] == ["muxtcp.bench: W1, muxtcp, server: OSError: out of luck"]


INTERRUPTED = """
import sys
from dataclasses import replace
from muxtcp.bench import __main__ as command, floors, workloads

ping_pong = floors.RawPingPong(size=64)
endless = replace(workloads.WORKLOADS[0], id="T", ours=ping_pong, floor=ping_pong)
workloads.WORKLOADS = (endless,)
sys.exit(command.main(["--rounds", "1000", "--peers", "none"]))
"""


def test_ctrl_c_reaps_the_children_and_says_so() -> None:
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED], stderr=subprocess.PIPE, text=True) as bench:
        assert bench.stderr is not None
        assert "T, raw uvloop" in bench.stderr.readline()
        tasks = Path(f"/proc/{bench.pid}/task")
        while not (children := [pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()]):
            pass
        bench.send_signal(signal.SIGINT)
        *_, last = bench.stderr
    assert bench.returncode == 130
    assert last == "muxtcp.bench: interrupted\n"
    assert not any(os.path.exists(f"/proc/{pid}") for pid in children)  # noqa: PTH110
