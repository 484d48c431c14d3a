"""A session's life with everything at once, in virtual time: each seed is one, and goes the same way in every run.

    python tests/adversity/visits.py --seeds 1000            from seed 0 on
    python tests/adversity/visits.py --first 4711 --seeds 1  the one that was told of

Two sessions over a link in memory hold every kind of conversation (`adversity/talks.py`), while the link breaks in
every way that it knows. Each conversation has to end, whole or with its session. What the soak finds by chance, and
once, is found here again.
"""

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for `support` and `adversity`, as pytest does

from adversity.soak import CONFIG, LONGEST_CUT, PATIENCE, RESUME, VISIT, WIDTH
from adversity.talks import Talker
from support.situation import situation

from muxtcp import Config
from muxtcp.testing import Link, Pair, VirtualClockLoop, pair

MOST_BREAKS = 150
PAUSE = 0.5  # seconds between two breaks, at most


class Stuck(AssertionError):
    """Something that has to come to an end does not; with where everything stands."""


class Visit:
    """One session, from its first conversation to its end."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.seed = seed
        self.client, self.server = Talker(f"{seed} client"), Talker(f"{seed} server")
        self.left = self.dice.randrange(1, VISIT)
        self.leave = self.dice.randrange(-self.left, self.left)  # how many conversations the end does not wait for
        self.breaks = 0
        self.most_breaks = int(self.dice.random() ** 2 * MOST_BREAKS)
        self.to_come = 0  # links that break soon after they were made
        self.ends: Pair

    async def run(self) -> None:
        dice = self.dice
        line: dict[str, Any] = {
            "latency": dice.choice([0.0, 0.0, 0.0001, 0.003, 0.02]),
            "chunk": dice.choice([None, None, "random"]),
            "socket_buffer": dice.choice([4_096, 65_536, 262_144]),
        }
        handlers = self.server.handler, self.client.handler
        async with pair(
            *handlers, config=Config(**CONFIG), resume=RESUME, on_link=self.made, seed=self.seed, **line
        ) as self.ends:
            breaker = asyncio.create_task(self.break_links())
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(WIDTH):
                        group.create_task(self.talk())
            finally:
                breaker.cancel()
            with suppress(asyncio.CancelledError):
                await breaker  # which may have failed
            await self.come_to_rest()

    async def talk(self) -> None:
        session = self.ends.client
        while self.left > 0 and not self.client.is_ending(session):
            self.left -= 1
            try:
                async with asyncio.timeout(PATIENCE):
                    await self.client.converse(session)
            except TimeoutError:
                raise Stuck(self.situation()) from None
            except Exception as error:
                if not self.client.excused(session, error):
                    raise
            if self.left == self.leave:
                self.client.ending.add(session)
                if self.dice.random() < 0.5:
                    await session.close(timeout=self.dice.random())
                else:
                    session.abort()

    async def come_to_rest(self) -> None:
        """Nothing is left of what was said, on a session that goes on, and nothing at all behind one that has ended."""
        self.ends.link.resume()
        client, server = self.ends.client, self.ends.server
        try:
            async with asyncio.timeout(PATIENCE):
                if not client.closed:
                    await until_slowly(lambda: client.closed or not (client.channels or server.channels))
                    await client.close()
                await until_slowly(lambda: server.closed)
                await client.wait_closed()
                await server.wait_closed()
        except TimeoutError:
            raise Stuck(self.situation()) from None

    def situation(self) -> str:
        sessions = [self.ends.client, self.ends.server]
        return f"seed {self.seed}, at {asyncio.get_running_loop().time():.3f} s\n{situation(sessions)}"

    # What breaks

    def made(self, link: Link) -> None:
        """A new link: some do not get far."""
        if self.to_come:
            self.to_come -= 1
            link.cut_after(self.dice.randint(1, 300), self.direction())

    def direction(self) -> Any:
        return self.dice.choice(["to_server", "to_client"])

    async def break_links(self) -> None:
        """For a while: what is stuck then is not so for want of a connection."""
        while self.breaks < self.most_breaks:
            await asyncio.sleep(self.dice.random() ** 3 * PAUSE)
            link = self.ends.link
            match self.dice.choice(["cut", "cut", "cut later", "half-closed", "stalled", "again", "mended"]):
                case "cut":
                    link.cut()
                case "cut later":
                    link.cut_after(int(2 ** self.dice.uniform(0, LONGEST_CUT.bit_length())), self.direction())
                case "half-closed":
                    link.half_close(self.direction())
                case "stalled":
                    link.stall(self.dice.choice([None, "to_server", "to_client"]))
                case "again":
                    self.to_come = self.dice.randint(1, 3)
                    link.cut()
                case "mended":
                    link.resume()
            self.breaks += 1
        self.to_come = 0
        self.ends.link.resume()


async def until_slowly(condition: Callable[[], object]) -> None:
    """Until it holds, letting time pass."""
    while not condition():
        await asyncio.sleep(0.01)


def play(seed: int) -> Counter[str]:
    """One seed; raises where something is lost, doubled, reordered or stuck."""
    visit = Visit(seed)
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(visit.run())
    return visit.client.counts + visit.server.counts + Counter(breaks=visit.breaks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=100)
    options = parser.parse_args()
    totals, began = Counter[str](), time.monotonic()
    for seed in range(options.first, options.first + options.seeds):
        try:
            totals += play(seed)
        except BaseException:
            print(f"again with: python tests/adversity/visits.py --first {seed} --seeds 1", file=sys.stderr)
            raise
    print(f"{options.seeds:,} seeds in {time.monotonic() - began:.0f} s: {dict(totals)}")


if __name__ == "__main__":
    main()
