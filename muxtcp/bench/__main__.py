"""`python -m muxtcp.bench`: see --help."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .judge import judge
from .progress import progress
from .report import document, show
from .runner import QUICK, BenchError, Match, Settings, run, schedule
from .workloads import WORKLOADS, Workload, select

EXAMPLES = """
examples:
  python -m muxtcp.bench --quick                    every workload once, in under half a minute
  python -m muxtcp.bench --only W1,W4s --rounds 5   two workloads, five rounds each
  python -m muxtcp.bench --only 'W3*'               the bulk workloads
  python -m muxtcp.bench --json result.json         everything, and a file to keep

Two processes on loopback, each pinned to a CPU (both to one in W4s). Every figure is the median of its rounds, beside
its floor: the same work on raw uvloop without muxtcp, measured in the same round. "now" is the ratio to the floor that
must hold already, "target" the one to reach.
"""


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    width = max(len(workload.id) for workload in WORKLOADS)
    listing = "\n".join(f"  {workload.id:<{width}}  {workload.title}" for workload in WORKLOADS)
    parser = argparse.ArgumentParser(
        prog="python -m muxtcp.bench",
        description="Measure muxtcp against raw uvloop on this machine.",
        epilog=f"workloads:\n{listing}\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    rounds = f"rounds (default {Settings().rounds}, {QUICK.rounds} with --quick)"
    add = parser.add_argument
    add("--quick", action="store_true", help="one short round of each workload")
    add("--only", type=_selection, default=list(WORKLOADS), metavar="W1,W4*", help="these workloads (shell patterns)")
    add("--rounds", type=_at_least_one, metavar="N", help=rounds)
    add("--json", type=Path, metavar="FILE", help="write a JSON document as well")
    add("-v", "--verbose", action="store_true", help="show what the child processes write to standard error")
    return parser.parse_args(argv)


def _selection(text: str) -> list[Workload]:
    try:
        return select(text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _bench(options: argparse.Namespace) -> None:
    if options.json and not os.access(options.json.parent, os.W_OK):
        raise OSError(f"cannot write {options.json}: no writable directory {options.json.parent}")
    settings = QUICK if options.quick else Settings()
    settings = replace(settings, rounds=options.rounds or settings.rounds, verbose=options.verbose)
    workloads: list[Workload] = options.only
    with progress(settings.rounds * len(schedule(workloads))) as step:

        def on_match(number: int, match: Match) -> None:
            step(f"round {number + 1}: {match}")

        rounds = asyncio.run(run(workloads, settings, on_match))
    rows = judge(workloads, rounds)
    show(rows, terminal=sys.stdout.isatty())
    if options.json:
        options.json.write_text(json.dumps(document(rows, settings), indent=2) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 measured, 1 failed (one line says why), 2 bad usage, 130 interrupted."""
    options = _parse(argv)
    try:
        _bench(options)
    except (BenchError, OSError) as error:
        print(f"muxtcp.bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("muxtcp.bench: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
