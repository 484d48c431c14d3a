"""Each step of a message alone."""

import asyncio
from pathlib import Path

import pytest

from muxtcp.bench import micro


@pytest.mark.parametrize("name", micro.STEPS)
def test_a_step_marks_its_beginning_and_end_in_each_round(name: str) -> None:
    marks: list[str] = []
    asyncio.run(micro._play(micro.STEPS[name], 3, lambda: marks.append(name)))
    assert len(marks) == 6


def test_the_report_has_a_line_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro, "ROUNDS", 1)
    monkeypatch.setattr(micro.shutil, "which", lambda program: None)
    head, _, _, *lines = micro.report().splitlines()
    assert head.startswith("one message of 64 B, 100 together, ")
    assert [line.split()[0] for line in lines[: len(micro.STEPS)]] == list(micro.STEPS)
    assert lines[-1] == "valgrind, which would count instructions, is not installed"


def test_the_total_of_a_part_is_read(tmp_path: Path) -> None:
    part = tmp_path / "counts.1"
    part.write_text("version: 1\nevents: Ir\nsummary: 12\n\ntotals: 4711\n")
    assert micro._total(part) == 4_711
    part.write_text("version: 1\n")
    with pytest.raises(OSError, match=r"wrote no totals into .*counts\.1"):
        micro._total(part)
