"""The program `python tests/conformance`: what it prints, and how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

from conformance.suite import PLAYS

HERE = Path(__file__).parent
FAULTY = """
from conformance import subject

subject.pattern = lambda number, size: bytes(size)  # what it sends is not what it was told to
subject.cli()
"""


def conformance(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, HERE, "--patience", "30", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_lists_every_play() -> None:
    done = conformance("--list")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(PLAYS)


def test_a_table_by_section(tmp_path: Path) -> None:
    done = conformance("--loop", "asyncio", "--only", "R-2", "--only", "S-1", "--json", tmp_path / "told.json")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["R-2", "PING", "is", "answered", "5/5", "-", "pass"] in rows
    server, client = json.loads((tmp_path / "told.json").read_text())
    assert (server["role"], client["role"]) == ("server", "client")
    assert {play["verdict"] for play in server["plays"]} == {"pass"}


def test_a_failure_says_what_was_sent_expected_and_heard(tmp_path: Path) -> None:
    program = tmp_path / "faulty.py"
    program.write_text(FAULTY)
    done = conformance("--subject", program, "--role", "client", "--loop", "asyncio", "--only", "E-1", "-v")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAIL  client: after goaway nothing is opened and what is open goes on  (right; E-1)" in done.stdout
    assert "came      b'\\x00\\x00\\x00\\x00\\x00'" in done.stdout
    assert "GOAWAY last=1 code=0; PING n=1" in done.stdout
    assert "06 08 00 00 00 00 00" in done.stdout
    assert "red: E-1" in done.stdout


def test_an_implementation_that_is_not_there() -> None:
    done = conformance("--server", "tcp://127.0.0.1:1")
    assert done.returncode == 2
    assert "server tcp://127.0.0.1:1:" in done.stderr
