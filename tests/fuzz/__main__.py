"""Fuzz one target: `python tests/fuzz stream --seconds 60`; see docs/testing.md."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.driver import NAMES, Finding, Target, by_chance, explain, guided, keep, run


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


def main() -> int:
    options = arguments()
    if options.guided:
        length = f"-runs={options.runs}" if options.runs else f"-max_total_time={options.seconds:.0f}"
        guided(options.target, options.corpus, [length, f"-artifact_prefix={options.findings}/"], options.seed)
    target = Target(options.target)
    if options.reproduce is not None:
        return 0 if explain(target, options.reproduce.read_bytes()) else 1
    began = time.monotonic()
    until = None if options.runs else began + options.seconds
    try:
        runs = run(target, by_chance(target, target.inputs(options.corpus), options.seed), options.runs, until)
    except Finding as finding:
        path = keep(finding, options.findings)
        print(f"{finding}\nto see it again: python tests/fuzz {target.name} --reproduce {path}", file=sys.stderr)
        raise
    taken = time.monotonic() - began
    print(f"{target.name}: {runs:,} runs in {taken:.0f} s, {runs / taken:,.0f} a second, no finding")
    return 0


if __name__ == "__main__":
    sys.exit(main())
