"""Whether the table turns red: plant violations in a copy of muxtcp, one at a time, and try each with the runner.

    python tests/conformance/planted.py                    all of them; a few minutes, for most are compiled
    python tests/conformance/planted.py --only "no check"  those with these words in their name

Needs what building muxtcp needs. Exit code 0: each turned exactly those rows red that it says.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Plant(NamedTuple):
    """A violation: `old` is in the file once, and `new` in its place breaks the rules `rows`."""

    name: str
    file: str
    old: str
    new: str
    rows: set[str]


MACHINE, RESUMPTION = "ext/muxtcp/_machine.pyx", "muxtcp/resumption.py"
PLANTS = [
    Plant("nothing", RESUMPTION, "import hmac\n", "import hmac\n", set()),
    Plant("no check of the secret", RESUMPTION,
          "if not hmac.compare_digest(check, _check(secret)):", "if False:", {"S-2"}),
    Plant("other limits are let pass", RESUMPTION, "if question.limits != self.limits:", "if False:", {"S-4"}),
    Plant("the same generation again", RESUMPTION,
          "        self.generation += 1\n", "        self.generation = 1\n", {"S-3", "S-4", "S-8"}),
    Plant("more time than was wished", "muxtcp/parking.py", "min(wished, self._longest)", "self._longest", {"S-1"}),
    Plant("a PART of 1,023 bytes is let pass", MACHINE,
          "size < _wire.MIN_PART:", "size < _wire.MIN_PART - 1:", {"M-1"}),
    Plant("an ACK of one frame too many is let pass", MACHINE,
          "numbers[0] > self.acknowledgeable():", "numbers[0] > self.acknowledgeable() + 1:", {"S-9"}),
    Plant("a GOAWAY may raise its last channel", MACHINE,
          "if self.peer_going_away and numbers[0] > self.peer_last:", "if False:", {"E-3"}),
    Plant("FINISH inside a message is let pass", MACHINE,
          "if channel.partial_size and channel.state != LOCAL_RESET:", "if False:", {"M-3"}),
    Plant("a RESET is answered with another code", MACHINE,
          "channel.reset_code = _wire.CANCELLED", "channel.reset_code = _wire.INTERNAL", {"L-2"}),
    Plant("discarded data keeps its credit", MACHINE,
          "        self.grant_session(cost)\n        return True\n\n    cdef int opened_by_peer",
          "        return True\n\n    cdef int opened_by_peer", {"K-5", "L-3", "E-2", "E-3"}),
    Plant("a need that is too low", "ext/muxtcp/_output.pyx",
          "channel.outgoing.used + channel.need)", "channel.outgoing.used + channel.need - 1)", {"K-1", "K-2", "K-7"}),
    Plant("a limit may fall by one", "ext/muxtcp/_life.pyx",
          "if value < limit[0]:", "if value + 1 < limit[0]:", {"C-6"}),
]  # fmt: skip


def run(plant: Plant, tree: Path) -> set[str]:
    """The rows that turned red."""
    place = tree / plant.file
    text = place.read_text()
    if text.count(plant.old) != 1:
        raise SystemExit(f"{plant.file} has {text.count(plant.old)} times what {plant.name!r} replaces: {plant.old!r}")
    place.write_text(text.replace(plant.old, plant.new))
    try:
        build(tree)
        return red(tree)
    finally:
        place.write_text(text)


def build(tree: Path) -> None:
    """Compile what has changed."""
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def red(tree: Path) -> set[str]:
    told = tree / "told.json"
    told.unlink(missing_ok=True)
    command = [sys.executable, "tests/conformance", "--loop", "uvloop", "--patience", "2", "--json", told.name]
    done = subprocess.run(
        command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True, check=False
    )
    if not told.exists():
        raise SystemExit(done.stdout + done.stderr)
    return {
        must
        for role in json.loads(told.read_text())
        for play in role["plays"]
        for must in play["musts"]
        if play["verdict"] == "FAIL"
    }


def listed(rows: set[str]) -> str:
    return " ".join(sorted(rows)) or "none"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="WORDS", default="")
    given = parser.parse_args()
    plants = [plant for plant in PLANTS if given.only in plant.name]
    wrong = 0
    with tempfile.TemporaryDirectory() as work:
        tree = Path(work) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "__pycache__", "*.egg-info"))
        for plant in plants:
            rows = run(plant, tree)
            verdict = "as it should be" if rows == plant.rows else f"WRONG: not {listed(plant.rows)}"
            print(f"{plant.name:<44}red: {listed(rows):<20}{verdict}", flush=True)
            wrong += rows != plant.rows
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
