"""A source file has a wall at 700 lines; what is over 500 is listed here with the reason why it stays one file."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WALL, ASK = 700, 500
SUFFIXES = {".py", ".pyi", ".pyx", ".pxd", ".h", ".js"}
FOLDERS = ["muxtcp", "ext", "tests", "bench", ".ci"]

ASKED = {
    "ext/muxtcp/_channel.pyx": "what users call of one channel; what receives is in the inbox already",
    "ext/muxtcp/_session.pyx": "what arrives, what it wakes and what is written for it is one order of events",
    "ext/muxtcp/_machine.pyx": "one parser and its checks: split, its states would be in two places",
    "ext/muxtcp/_life.pyx": "limits, commands, liveness and the end of a session work on the same few fields",
    "ext/muxtcp/_output.pyx": "all that writes frames: the counting of sequenced ones has to stay in one place",
    "tests/support/model.py": "the whole machine once more, to be read from top to bottom as the oracle",
}

FILES = {
    str(path.relative_to(ROOT)): len(path.read_text().splitlines())
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
    if path.suffix in SUFFIXES and "node_modules" not in path.parts
}


@pytest.mark.parametrize("name", [name for name, lines in FILES.items() if lines > ASK])
def test_a_long_file_has_a_reason(name: str) -> None:
    assert FILES[name] <= WALL
    assert name in ASKED, f"{FILES[name]} lines: what is its second responsibility?"


def test_reasons_that_are_needed_no_more() -> None:
    assert {name for name in ASKED if FILES.get(name, 0) <= ASK} == set()
