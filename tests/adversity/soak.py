"""Hours of everything at once: nothing lost, doubled or reordered, and nothing left behind.

    python tests/adversity/soak.py --minutes 30 --loop uvloop --seed 1

A server and a client, each a process of its own, hold every kind of conversation (`adversity/talks.py`) on one session
that lasts, and on others that come and go, while a proxy between them breaks their connections in every way. After each
minute all comes to rest, but for the session that lasts, and both processes count what they hold: that must not grow.
"""

import argparse
import asyncio
import gc
import logging
import math
import random
import select
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for `support` and `adversity`, as pytest does

from adversity.peers import Peer, commands, play, resident, tell
from adversity.talks import Talker
from support import leftovers, loops
from support.basics import until
from support.proxy import DIRECTIONS, ProxyProcess
from support.situation import situation

from muxtcp import Config, Connector, Session, State, StateInfo, connect, constant, parking, serve

CONFIG = {"keepalive": 0.5, "keepalive_timeout": 0.5, "handshake_timeout": 1.0, "close_timeout": 2.0}
RESUME = 10.0  # seconds: a session whose client has ended it without a connection is the server's for so long
RETRY = 0.02  # seconds between two attempts
SESSIONS = 3  # at once, beside the one that lasts
WIDTH = 6  # conversations at once on each
VISIT = 60  # conversations on a session that goes, at most
PAUSE = 1.0  # seconds between two breaks, at most
PATIENCE = 60.0  # seconds that a conversation may take, or coming to rest
LONGEST_CUT = 500_000  # bytes that pass before a break that was ordered comes, at most
OWN_TASKS = 2  # of a process at rest: its program, and what reads its commands
HELD = ["resident", "allocated", "objects", "descriptors", "tasks", "timers"]
STEADY = ["descriptors", "tasks", "timers"]  # must be the same after each minute
# A minute: bytes, bytes, blocks. Buffers of the session that lasts are there or not: steps of 300 KB are noise.
TOLERANCE = {"resident": 65_536.0, "allocated": 32_768.0, "objects": 20.0}


# --- the ends, as processes of their own ------------------------------------------------------------------------------


class Complaint(logging.Handler):
    """Whatever is logged as a warning or worse is a finding."""

    def emit(self, record: logging.LogRecord) -> None:
        tell("complaint", self.format(record))


class Ledger:
    """What a process holds when it is at rest; it has come to rest when it holds no more than it did the first time."""

    def __init__(self) -> None:
        self._first: list[int] | None = None

    async def rested(self, quiet: Callable[[], bool]) -> dict[str, int]:
        """Wait for that, or until it is plain that it will not come; what is held then."""
        try:
            async with asyncio.timeout(PATIENCE):
                await until(lambda: quiet() and self._as_at_first())
        except TimeoutError:
            assert quiet(), "what was said has not come to an end"
        gc.collect()
        return {
            "resident": resident(),
            "allocated": leftovers.allocated(),
            "objects": leftovers.objects(),
            **dict(zip(STEADY, self._steady(), strict=True)),
        }

    def _steady(self) -> list[int]:
        return [leftovers.descriptors(), len(asyncio.all_tasks()), len(leftovers.timers())]

    def _as_at_first(self) -> bool:
        if self._first is None:
            self._first = self._steady()
        return all(now <= then for now, then in zip(self._steady(), self._first, strict=True))


async def server(*, seed: int, resume: float) -> None:
    talker, ledger = Talker(f"{seed} server"), Ledger()
    inbox = await commands()
    parking.TOMBSTONE_TIME = resume  # what is remembered of each session for 10 minutes would hide what grows
    async with serve(talker.handler, "127.0.0.1", 0, config=Config(**CONFIG), resume=resume) as listening:
        tell("listening", listening.sockets[0].getsockname()[1])
        while True:
            match await inbox.get():
                case ["rest"]:
                    held = await ledger.rested(lambda: quiet(listening.sessions, OWN_TASKS))
                    tell("rested", held | talker.counts)
                case ["situation"]:
                    tell("situation", situation(listening.sessions))


def quiet(sessions: Collection[Session], tasks: int) -> bool:
    """Whether the session that lasts is alone, and says nothing; and no task is left but so many."""
    [*lasting] = sessions
    alone = len(lasting) == 1 and lasting[0].connected and not lasting[0].channels
    return alone and len(asyncio.all_tasks()) == tasks


@dataclass
class Visit:
    """A session's conversations that have still to begin, and how many of them its end does not wait for."""

    left: float
    leave: float
    end: Callable[[], Any]


class Client:
    """The one session that lasts, and the others."""

    def __init__(self, port: int, seed: int, resume: float) -> None:
        self.port, self.resume = port, resume
        self.talker = Talker(f"{seed} client")
        self.left, self.deadline = 0.0, 0.0

    def connect(self) -> Connector:
        return connect(
            "127.0.0.1",
            self.port,
            config=Config(**CONFIG),
            handler=self.talker.handler,
            resume=self.resume,
            backoff=constant(RETRY),
            on_state=self.on_state,
        )

    def on_state(self, state: State, info: StateInfo) -> None:
        self.talker.counts[state.value] += 1

    def more(self) -> bool:
        """Whether another conversation is to begin."""
        self.left -= 1
        return self.left >= 0 and asyncio.get_running_loop().time() < self.deadline

    async def round(self, lasting: Session, seconds: float, conversations: float) -> None:
        self.left, self.deadline = conversations, asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as group:
            group.create_task(self.use(lasting, Visit(math.inf, -1, lasting.close)))
            for _ in range(SESSIONS):
                group.create_task(self.others())

    async def others(self) -> None:
        """One session after the other, ended in one way or another."""
        dice = self.talker.random
        while self.more():
            async with self.connect() as session:
                end = dice.choice([lambda: session.close(timeout=dice.random()), session.abort])
                left = dice.randrange(VISIT)
                await self.use(session, Visit(left, dice.randrange(-left, left + 1), end))

    async def use(self, session: Session, visit: Visit) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(WIDTH):
                group.create_task(self.work(session, visit))

    async def work(self, session: Session, visit: Visit) -> None:
        while visit.left > 0 and not self.talker.is_ending(session) and self.more():
            visit.left -= 1
            try:
                async with asyncio.timeout(PATIENCE):
                    await self.talker.converse(session)
            except TimeoutError:
                tell("stuck", situation([session]))
                await asyncio.sleep(PATIENCE)  # in which the server is asked
                raise
            except Exception as error:
                if not self.talker.excused(session, error):
                    raise
            if visit.left == visit.leave:
                self.talker.ending.add(session)
                ended = visit.end()
                if ended is not None:
                    await ended


async def client(*, port: int, seed: int, resume: float) -> None:
    side, ledger = Client(port, seed, resume), Ledger()
    inbox = await commands()
    async with side.connect() as lasting:
        tell("connected")
        while True:
            match await inbox.get():
                case ["round", seconds, conversations]:
                    await side.round(lasting, seconds, conversations)
                    tell("done")
                case ["rest"]:
                    held = await ledger.rested(lambda: quiet([lasting], OWN_TASKS))
                    tell("rested", held | side.talker.counts)


# --- the run ----------------------------------------------------------------------------------------------------------


class SoakPeer(Peer):
    """The programs above."""

    program = __file__

    def silent(self, seconds: float) -> bool:
        """Whether it tells nothing for so long."""
        return b"\n" not in self.unread and not select.select([self.output], [], [], seconds)[0]

    def expect(self, word: str) -> list[Any]:
        """The rest of what it says next, which begins so: else something has failed."""
        words = self.hear()
        assert words[0] == word, words
        return words[1:]


class Breaker:
    """Breaks one connection or another, in every way that the proxy knows."""

    def __init__(self, proxy: ProxyProcess, seed: int) -> None:
        self.breaks = 0
        self._random = random.Random(seed)
        self._proxy = proxy

    def once(self) -> None:
        self.mend()
        up = int(self._proxy.count())
        if not up:
            return
        after = int(2 ** self._random.uniform(0, LONGEST_CUT.bit_length()))
        place = {"which": self._random.randrange(up), "direction": self._random.choice(DIRECTIONS)}
        how = self._random.choice(["rst", "fin"])
        way = self._random.choice(["cut", "cut", "cut later", "reset", "half-closed", "stalled", "refused", "again"])
        try:
            match way:
                case "cut later":
                    self._proxy.cut(how=how, after=after, **place)
                case "reset":
                    self._proxy.reset(side=self._random.choice(["client", "server"]), which=place["which"])
                case "half-closed":
                    self._proxy.half_close(**place)
                case "stalled":
                    self._proxy.stall(**place)
                case _:
                    self._proxy.cut(how=how, **place)
        except LookupError:  # it has ended meanwhile
            return
        self.breaks += 1
        if way == "refused":
            self._proxy.refuse()
        elif way == "again":
            self._proxy.cut_next(after=self._random.randint(1, 300), direction=self._random.choice(DIRECTIONS))

    def mend(self) -> None:
        """Nothing is stalled or refused any more; what a stalled connection held back is for nobody."""
        self._proxy.accept()
        self._proxy.resume(which=None)


class Soak:
    """The processes, for the length of a `with` block, and what they held after each round."""

    def __init__(self, loop: str, seed: int, resume: float = RESUME) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {"client": [], "server": []}
        self.server = SoakPeer("server", loop, seed=seed, resume=resume)
        self.proxy = ProxyProcess(int(self.server.until("listening")[1]))
        self.client = SoakPeer("client", loop, port=self.proxy.port, seed=seed, resume=resume)
        self.breaker = Breaker(self.proxy, seed)
        self._random = random.Random(seed)

    def __enter__(self) -> "Soak":
        self.client.until("connected")
        return self

    def __exit__(self, *error: Any) -> None:
        for part in self.client, self.proxy, self.server:
            part.__exit__(None, None, None)

    def round(self, *, seconds: float = 1e9, conversations: float = 1e9, pause: float = PAUSE) -> None:
        """Break connections until the client has had its time, or its conversations; then see what is left."""
        self.client.tell("round", seconds, conversations)
        give_up = time.monotonic() + seconds + PATIENCE
        while self.client.silent(self._random.random() * pause):
            assert self.server.silent(0), self.server.hear()
            assert time.monotonic() < give_up, "the client does not come to rest"
            self.breaker.once()
        outcome, *told = self.client.hear()
        if outcome != "done":
            raise RuntimeError("\n".join([outcome, *told, *self.server.ask("situation", answer="situation")]))
        self.breaker.mend()
        for name, peer in ("client", self.client), ("server", self.server):
            peer.tell("rest")
            assert not peer.silent(2 * PATIENCE), f"the {name} does not come to rest"
            self.rows[name] += peer.expect("rested")

    def findings(self) -> list[str]:
        """What has grown, over the second half of the rounds; the first half is there to warm up."""
        found = []
        for side, rows in self.rows.items():
            later = rows[len(rows) // 2 :]
            found += [
                f"the {side}'s {name}: {rows[0][name]} at first, {later[-1][name]} at last"
                for name in STEADY
                if later[-1][name] > rows[0][name]
            ]
            for name, most in TOLERANCE.items():
                if (growth := slope([row[name] for row in later])) > most:
                    found.append(f"the {side}'s {name} grow by {growth:,.0f} a round, and {most:,.0f} are tolerated")
        return found


def slope(values: list[float]) -> float:
    """Of the straight line that fits best, a step."""
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    spread = sum((place - middle) ** 2 for place in range(len(values)))
    return sum((place - middle) * (value - mean) for place, value in enumerate(values)) / spread if spread else 0.0


# --- by hand ----------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--loop", choices=loops.NAMES, default="uvloop")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"{options.loop}, seed {options.seed}; what the client and the server hold, at rest, after each minute")
    print("min  messages  talks  cancelled  resets  sessions  breaks  resumed  " + "  ".join(HELD))
    with Soak(options.loop, options.seed) as soak:
        for minute in range(1, options.minutes + 1):
            soak.round(seconds=60.0)
            row(minute, soak)
        findings = soak.findings()
        for side, rows in soak.rows.items():
            growth = {name: slope([each[name] for each in rows[len(rows) // 2 :]]) for name in TOLERANCE}
            print(f"the {side} grows a minute: " + ", ".join(f"{name} {value:+,.1f}" for name, value in growth.items()))
    print("0 lost, doubled or reordered; " + ("; ".join(findings) or "nothing has grown"))
    sys.exit(bool(findings))


def row(minute: int, soak: Soak) -> None:
    client, server = soak.rows["client"][-1], soak.rows["server"][-1]
    both = {name: client.get(name, 0) + server.get(name, 0) for name in client | server}
    did = [both[name] for name in ("messages", "conversations", "cancellations", "resets")]
    did += [client["connected"], soak.breaker.breaks, client.get("resumed", 0)]
    print(f"{minute:3} " + "  ".join(f"{count:,}" for count in did), end="")
    print("  |  " + "  ".join(f"{client[name]:,}/{server[name]:,}" for name in HELD), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] in (["server"], ["client"]):
        logging.getLogger().addHandler(Complaint(logging.WARNING))
        play({"server": server, "client": client})
    else:
        main()
