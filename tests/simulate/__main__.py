"""Simulate for as long as one likes: `python tests/simulate --breaks 2000000`; see docs/testing.md."""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from simulate.runs import Totals, run
from simulate.world import SITUATIONS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/simulate", description=__doc__)
    parser.add_argument("--breaks", type=int, default=200_000, help="of connections, before it ends (%(default)s)")
    parser.add_argument("--seed", default="by hand", help="of all schedules (%(default)r)")
    parser.add_argument("--schedule", help="run this one alone: what a failure names")
    arguments = parser.parse_args()
    if arguments.schedule is not None:
        world = run(arguments.schedule)
        print(f"{world.breaks} breaks, {world.resumptions} resumptions, {world.messages} messages: nothing lost")
        return
    totals, began = Totals(), time.monotonic()
    for _ in totals.run(arguments.seed, arguments.breaks):
        if totals.schedules % 2_000 == 0:
            print(f"{totals.breaks:>12,} breaks, {time.monotonic() - began:6.0f} s", file=sys.stderr)
    for name in ("schedules", "breaks", "resumptions", "messages"):
        print(f"{getattr(totals, name):>12,} {name}")
    for situation in SITUATIONS:
        print(f"{totals.seen[situation]:>12,}  {situation}")
    print(f"nothing lost, doubled or reordered; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
