"""How long a server under attack keeps its loop from all others at a time: the longest turn, by processor time.

    python tests/adversity/turns.py --loop asyncio

A turn is what runs between two looks at the sockets; everybody else waits for its end. Processor time is the same on a
busy machine as on a quiet one, which a latency is not. Collections of garbage are the interpreter's: they walk all
objects of the process, whoever made them, and are shown apart.
"""

import argparse
import asyncio
import gc
import sys
import time
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for `support` and `adversity`, as pytest does

from adversity.attacks.programs import Program
from adversity.attacks.table import ATTACKS
from adversity.attacks.target import Target
from adversity.attacks.wire import Attack
from support import loops

LONGEST = 0.010  # seconds: what promise 6 lets a latency grow by


class Turns(NamedTuple):
    """What the loop did in an attack: seconds of processor time."""

    longest: float  # turn, without collections
    tenth: float  # longest
    collection: float  # longest
    collections: int  # of all objects
    seen: int  # how often the attack was noticed


class Stopwatch:
    """Measures each turn of the loop, for the length of a `with` block; the loop never sleeps meanwhile."""

    def __init__(self) -> None:
        self.turns: list[float] = []
        self.collections: list[float] = []
        self._collecting = self._collected = 0.0

    def __enter__(self) -> "Stopwatch":
        gc.callbacks.append(self._collection)
        self._loop = asyncio.get_running_loop()
        self._last = time.thread_time()
        self._handle = self._loop.call_soon(self._turn)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.cancel()
        gc.callbacks.remove(self._collection)

    def _turn(self) -> None:
        now = time.thread_time()
        self.turns.append(now - self._last - self._collected)
        self._last, self._collected = now, 0.0
        self._handle = self._loop.call_soon(self._turn)

    def _collection(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._collecting = time.thread_time()
            return
        took = time.thread_time() - self._collecting
        self._collected += took
        if info["generation"] == 2:
            self.collections.append(took)


async def attacked(attack: Attack, seconds: float) -> Turns:
    """Attack a server of this process, from another one."""
    async with Target(attack.config, attack.served) as target:
        host, port = target.place
        gc.collect()
        with Program(
            "attacker", "asyncio", core=None, host=host, port=port, name=attack.name, seconds=seconds
        ) as hostile:
            await asyncio.to_thread(hostile.until, "begins")
            with Stopwatch() as watch:
                await asyncio.sleep(seconds)
            await asyncio.to_thread(hostile.until, "played")
        ordered = sorted(watch.turns, reverse=True)
        return Turns(
            ordered[0],
            ordered[9],
            max(watch.collections, default=0.0),
            len(watch.collections),
            target.seen[attack.sign],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each attack (%(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=ATTACKS, default=list(ATTACKS), help="these alone")
    parser.add_argument("--loop", choices=loops.NAMES, default="uvloop")
    options = parser.parse_args()
    print(
        f"{options.loop}, ms of processor time: the longest turn, the tenth longest, the longest of so many collections"
    )
    held = True
    for name in options.only:
        with loops.runner(options.loop) as runner:
            turns = runner.run(attacked(ATTACKS[name], options.seconds))
        fine = turns.longest <= LONGEST and turns.seen > 0
        held = held and fine
        longest = (f"{seconds * 1e3:8.1f}" for seconds in turns[:3])
        print(*longest, f" of {turns.collections:3}  {name}{'' if fine else '  <--'}", flush=True)
    sys.exit(not held)


if __name__ == "__main__":
    main()
