"""The guard of the instructions that a message takes."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from muxtcp.bench import micro

PATH = Path(__file__).parents[2] / "bench" / "guard.py"
COUNTED = {"parse": 538.0, "send": 1_153.0}


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The program, with a baseline file of its own, and nothing counted."""
    spec = importlib.util.spec_from_file_location("guard", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "BASELINES", tmp_path / "instructions.json")
    module.BASELINES.write_text("{}")
    monkeypatch.setattr(micro, "instructions", lambda: COUNTED)
    return module


def test_the_baselines_have_every_step() -> None:
    for name, baseline in json.loads(PATH.with_name("instructions.json").read_text()).items():
        assert set(baseline) == set(micro.STEPS), name


def test_an_interpreter_without_a_baseline_passes_and_is_told_so(
    guard: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guard.main([]) == 0
    assert "has no baseline yet" in capsys.readouterr().out


def test_a_step_that_takes_a_tenth_more_fails_with_both_numbers(
    guard: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guard.main(["--renew"]) == 0
    assert guard.main([]) == 0
    monkeypatch.setattr(micro, "instructions", lambda: {"parse": 600.0, "send": 1_000.0})
    assert guard.main([]) == 1
    *_, parse, send = capsys.readouterr().out.splitlines()
    assert parse == "parse        538 ->     600 instructions per message (+11.5%): MORE than 10% above the baseline"
    assert send == "send       1,153 ->   1,000 instructions per message (-13.3%)"


def test_a_failing_valgrind_is_one_line(
    guard: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> dict[str, float]:
        raise OSError("valgrind ended with exit code 1: out of luck")

    monkeypatch.setattr(micro, "instructions", fail)
    assert guard.main([]) == 1
    assert capsys.readouterr().err == "bench/guard.py: valgrind ended with exit code 1: out of luck\n"
