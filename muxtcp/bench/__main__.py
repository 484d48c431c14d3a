"""`python -m muxtcp.bench`: see --help."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import compare, micro, peers
from .judge import judge
from .machine import Times, description, in_words, noise
from .progress import progress
from .report import document, show
from .runner import QUICK, BenchError, Match, Settings, run, schedule
from .workloads import WORKLOADS, Depth, Workload, of_depth, select

EXAMPLES = """
examples:
  python -m muxtcp.bench --quick                    the main workloads once, in half a minute
  python -m muxtcp.bench --only W1,W4s --rounds 5   two workloads, five rounds each
  python -m muxtcp.bench --only 'W3*' --peers smux  the bulk workloads beside one peer
  python -m muxtcp.bench --only W7m                 a million channels; half a minute, 2 GB
  python -m muxtcp.bench --json new.json --compare old.json --plot speed.svg
  python -m muxtcp.bench --micro                    parse, deliver, send and receive alone, in memory

Two processes on loopback, each pinned to a CPU (both to one in W4s). Every figure is the median of its rounds, and the
ratio beside a contestant is ours to its, of the same round. The floor is the same work without a library; peers are
other libraries, where they are installed (bench/peers/install). CPU is what the client and the server used of theirs,
"each" what both spent on a message. Exit codes: 0 measured, 1 failed, 2 bad usage, 130 interrupted.
"""


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    width = max(len(workload.id) for workload in WORKLOADS)
    remarks = {Depth.QUICK: "", Depth.ORDINARY: " (not with --quick)", Depth.FULL: " (only with --full)"}
    listing = "\n".join(f"  {w.id:<{width}}  {w.title}{remarks[w.depth]}" for w in WORKLOADS)
    parser = argparse.ArgumentParser(
        prog="python -m muxtcp.bench",
        description="Measure muxtcp against raw uvloop, and against other libraries, on this machine.",
        epilog=f"workloads:\n{listing}\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    rounds = f"rounds (default {Settings().rounds}, {QUICK.rounds} with --quick)"
    add = parser.add_argument
    depth = parser.add_mutually_exclusive_group()
    depth.add_argument("--quick", action="store_true", help="one short round of the main workloads, without peers")
    depth.add_argument("--full", action="store_true", help="all workloads, those that take long as well")
    add("--only", type=_selection, metavar="W1,W4*", help="these workloads (shell patterns)")
    add("--rounds", type=_at_least_one, metavar="N", help=rounds)
    add("--peers", metavar="A,B", help="these peers, or 'none' (default: all that are installed)")
    add("--json", type=Path, metavar="FILE", help="write a JSON document as well")
    add("--compare", type=Path, metavar="OLD.json", help="say what changed since an earlier --json")
    add("--plot", type=Path, metavar="FILE", help="draw bars and latency curves: .svg, .png (needs muxtcp[plot])")
    add("--micro", action="store_true", help="time, and instructions where valgrind is installed, of each step alone")
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
    _check_files(options)
    earlier = compare.read(options.compare) if options.compare else None
    settings = QUICK if options.quick else Settings()
    settings = replace(settings, rounds=options.rounds or settings.rounds, verbose=options.verbose)
    depth = Depth.FULL if options.full else Depth.QUICK if options.quick else Depth.ORDINARY
    workloads: list[Workload] = options.only or of_depth(depth)
    present = asyncio.run(_peers(options))
    plan = schedule(workloads, present)
    machine, before = description(), Times.now()
    with progress(settings.rounds * len(plan)) as step:

        def on_match(number: int, match: Match) -> None:
            step(f"round {number + 1}: {match}")

        rounds = asyncio.run(run(plan, settings, on_match, _warn))
    rows = judge(workloads, rounds, present)
    findings = noise(rounds, rows, Times.now().stolen_since(before))
    result = document(rows, settings, machine, present, findings)
    print(in_words(machine))
    show(rows, terminal=sys.stdout.isatty())
    if earlier:
        print(compare.text(earlier, result))
    for finding in findings:
        _warn(f"this machine is too noisy to believe the figures: {finding}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if options.plot:
        from .plot import draw

        draw(result, options.plot)


def _check_files(options: argparse.Namespace) -> None:
    """Find out before an hour of measuring whether its fruits can be kept."""
    for path in (options.json, options.plot):
        if path and not os.access(path.parent, os.W_OK):
            raise OSError(f"cannot write {path}: no writable directory {path.parent}")
    if options.plot:
        from .plot import check

        check(options.plot)


async def _peers(options: argparse.Namespace) -> list[peers.Peer]:
    """The peers that were asked for and are installed; a line for each of the others."""
    folder = peers.home()
    if options.peers == "none" or (options.quick and not options.peers):
        return []
    if folder is None:
        if options.peers:
            raise OSError("peers need the source tree of muxtcp, with its folder bench/peers: run it there")
        return []
    known = peers.known(folder)
    wanted = peers.choose(known, options.peers.split(",")) if options.peers else known
    present, missing = await peers.installed(wanted)
    for line in missing:
        _warn(line)
    return present


def _warn(message: object) -> None:
    print(f"muxtcp.bench: {message}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 measured, 1 failed (one line says why), 2 bad usage, 130 interrupted."""
    options = _parse(argv)
    try:
        if options.micro:
            print(micro.report())
        else:
            _bench(options)
    except (BenchError, OSError, ValueError) as error:
        _warn(error)
        return 1
    except KeyboardInterrupt:
        _warn("interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
