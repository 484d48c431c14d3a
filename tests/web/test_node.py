"""The JavaScript module in Node: its own tests, and the conformance suite against it in both roles."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.node import missing_node

HERE = Path(__file__).parent
CONFORMANCE = HERE.parent / "conformance"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing_node() is not None, reason=str(missing_node()))]


@pytest.mark.parametrize("suite", sorted(HERE.glob("*.test.mjs")), ids=lambda path: path.stem)
def test_suite(suite: Path) -> None:
    done = subprocess.run(["node", "--test", suite], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr


def conformance(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, CONFORMANCE, "--patience", "30", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_conformance_as_a_client(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    run = f"node {HERE / 'subject.mjs'} --connect {{host}}:{{port}}"
    done = conformance("--client", "--run", run, "--json", str(told))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {play["verdict"] for play in json.loads(told.read_text())[0]["plays"]} == {"pass"}


def test_conformance_as_a_server(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    command = ["node", HERE / "subject.mjs", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as subject:
        try:
            assert subject.stdout is not None
            address = subject.stdout.readline().split()[-1]
            done = conformance("--server", address, "--json", str(told))
        finally:
            subject.terminate()
    assert done.returncode == 0, done.stdout + done.stderr
    assert {play["verdict"] for play in json.loads(told.read_text())[0]["plays"]} == {"pass"}
