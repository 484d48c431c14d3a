"""Fuzz one target: `python tests/fuzz stream --seconds 60`; see docs/testing.md."""

import argparse
import itertools
import math
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.driver import NAMES, Last, Target, by_chance, guided, keep, run


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__)
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--seconds", type=float, default=60.0, help="before it ends (%(default)s)")
    parser.add_argument("--runs", type=int, help="before it ends, in place of --seconds")
    parser.add_argument("--seed", type=int, default=1, help="of all changes (%(default)s)")
    parser.add_argument("--corpus", type=Path, help="folder of inputs in place of the one that is kept")
    parser.add_argument("--findings", type=Path, default=Path(tempfile.gettempdir()), help="folder (%(default)s)")
    parser.add_argument("--guided", action="store_true", help="by coverage, with atheris; adds to --corpus")
    parser.add_argument("--reproduce", type=Path, metavar="FILE", help="run this input alone")
    return parser.parse_args()


def fuzz(options: argparse.Namespace, last: Last) -> None:
    target, began = Target(options.target), time.monotonic()
    inputs = by_chance(target, target.inputs(options.corpus), options.seed)
    until = began + options.seconds if options.runs is None else math.inf
    runs = run(target, itertools.islice(inputs, options.runs), last, until)
    taken = time.monotonic() - began
    print(f"{target.name}: {runs:,} runs in {taken:.0f} s, {runs / taken:,.0f} a second, no finding")


def main() -> int:
    options = arguments()
    if options.guided:
        length = f"-max_total_time={options.seconds:.0f}" if options.runs is None else f"-runs={options.runs}"
        guided(options.target, options.corpus, [length, f"-artifact_prefix={options.findings}/"], options.seed)
    if options.reproduce is not None:
        Target(options.target).one(options.reproduce.read_bytes())
        return 0
    last = Last()
    process = multiprocessing.get_context("fork").Process(target=fuzz, args=(options, last))
    process.start()
    process.join()
    if process.exitcode == 0:
        return 0
    print(f"run {last.number:,} of {options.target} does not pass: {last.data[:500].hex()}", file=sys.stderr)
    path = keep(last.data, options.findings)
    print(f"to see it again: python tests/fuzz {options.target} --reproduce {path}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
