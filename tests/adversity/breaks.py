"""One session under load in both directions whose connection breaks again and again: nothing lost, doubled, reordered.

    python tests/adversity/breaks.py --breaks 1000 --loop uvloop

prints what came through and how long the breaks were. Every message carries the number that it has on its channel, and
both ends hash all they send and receive.
"""

import argparse
import asyncio
import hashlib
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for `support`, as pytest does

from support import loops
from support.proxy import DIRECTIONS, ProxyProcess

from muxtcp import Channel, Config, Session, State, StateInfo, connect, constant, serve

SIZE = 64  # bytes of a message
GROUP = 256  # messages handed to send_many at once
NEXT_BREAK = 50_000  # messages that arrive between two breaks at most
LONGEST_CUT = 2_000_000  # bytes that pass at most before a cut that was ordered happens
HANDSHAKE = 300  # bytes: what resuming takes in one direction, and some more
ALLOWED = 0.05  # seconds that a break may take beside the outage and two round trips
RETRY = 0.02  # seconds between two attempts
SILENCE = 0.2  # seconds after which a silent connection is asked, and after which it is given up


@dataclass
class Lane:
    """One channel in one direction, as one of its ends sees it."""

    count: int = 0
    hash: Any = field(default_factory=hashlib.blake2b)
    over: bool = False

    def add(self, messages: list[bytes]) -> None:
        self.count += len(messages)
        self.hash.update(b"".join(messages))

    @property
    def sum(self) -> tuple[int, str]:
        return self.count, self.hash.hexdigest()


def messages(first: int, count: int, lane: int) -> list[bytes]:
    """What a lane carries at these places."""
    rest = bytes([lane]) * (SIZE - 8)
    return [number.to_bytes(8) + rest for number in range(first, first + count)]


class Load:
    """Both sides send on every channel as fast as it goes, until `stopping`."""

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.sent: dict[tuple[str, int], Lane] = {}
        self.received: dict[tuple[str, int], Lane] = {}
        self.stopping = False
        self._awaited: tuple[int, asyncio.Future[None]] | None = None
        self._served: set[int] = set()

    async def client(self, session: Session) -> None:
        """Run all channels from the client's side, to their ends."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.channels):
                group.create_task(self._both(await session.open(f"{number}"), "to_server", "to_client"))

    async def server(self, channel: Channel) -> None:
        """The handler."""
        assert int(channel.name) not in self._served, f"channel {channel.name} was opened twice"
        self._served.add(int(channel.name))
        await self._both(channel, "to_client", "to_server")

    async def _both(self, channel: Channel, outward: str, inward: str) -> None:
        number = int(channel.name)
        out = self.sent[outward, number] = Lane()
        back = self.received[inward, number] = Lane()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send(channel, out, number))
            group.create_task(self._receive(channel, back, number))

    async def _send(self, channel: Channel, lane: Lane, number: int) -> None:
        while not self.stopping:
            group = messages(lane.count, GROUP, number)
            await channel.send_many(group)
            lane.add(group)
            await asyncio.sleep(0)  # a fast line never makes it wait
        await channel.send_eof()
        lane.over = True

    async def _receive(self, channel: Channel, lane: Lane, number: int) -> None:
        async for batch in channel.batches():
            expected = messages(lane.count, len(batch), number)
            assert batch == expected, f"channel {number}: not the messages from {lane.count:,} on"
            lane.add(batch)
            self._notice()
        lane.over = True

    @property
    def total(self) -> int:
        """Messages that have arrived at either side."""
        return sum(lane.count for lane in self.received.values())

    async def until(self, total: int) -> None:
        """Wait until so many messages have arrived."""
        if self.total < total:
            self._awaited = total, asyncio.get_running_loop().create_future()
            await self._awaited[1]

    def _notice(self) -> None:
        if self._awaited is not None and self.total >= self._awaited[0] and not self._awaited[1].done():
            self._awaited[1].set_result(None)

    def verify(self) -> None:
        """Whatever was sent has arrived, once and in order."""
        assert len(self.sent) == 2 * self.channels
        assert set(self.sent) == set(self.received)
        for key, lane in self.sent.items():
            assert (lane.over, self.received[key].over) == (True, True), f"{key} did not end"
            assert lane.sum == self.received[key].sum, f"{key}: {lane.sum} sent, {self.received[key].sum} received"


Way = Callable[[ProxyProcess, str, int], object]  # of the proxy, a direction, and a number of bytes

OFTEN: dict[str, Way] = {
    "reset": lambda proxy, direction, after: proxy.cut(how="rst"),
    "end": lambda proxy, direction, after: proxy.cut(how="fin"),
    "reset at a byte": lambda proxy, direction, after: proxy.cut(how="rst", after=after, direction=direction),
    "end at a byte": lambda proxy, direction, after: proxy.cut(how="fin", after=after, direction=direction),
    "client reset, server hears nothing": lambda proxy, direction, after: proxy.reset(side="client"),
    "half-closed": lambda proxy, direction, after: proxy.half_close(direction=direction),
}
SELDOM: dict[str, Way] = {  # they take the time until the silence is noticed
    "server reset, client hears nothing": lambda proxy, direction, after: proxy.reset(side="server"),
    "stalled": lambda proxy, direction, after: proxy.stall(),
    "stalled in one direction": lambda proxy, direction, after: proxy.stall(direction=direction),
}
WAYS = OFTEN | SELDOM
MIX = list(OFTEN) * 5 + list(SELDOM)


class Breaker:
    """Breaks connections in every way that the proxy knows, and waits until the session goes on.

    Attributes:
        done: how often each way was taken.
        gaps: of each break, what the session saw: seconds, and the seconds that were allowed.
        states: all that the connector told.
    """

    def __init__(self, proxy: ProxyProcess, seed: int, outage: float, ways: list[str]) -> None:
        self.done: Counter[str] = Counter()
        self.gaps: list[tuple[float, float]] = []
        self.states: list[State] = []
        self.random = random.Random(seed)
        self._proxy, self._outage, self._ways = proxy, outage, ways
        self._resumed = asyncio.Event()

    def on_state(self, state: State, info: StateInfo) -> None:
        self.states.append(state)
        if state is State.RESUMED:
            self._resumed.set()

    async def once(self, session: Session) -> None:
        """One break, and its end."""
        self._resumed.clear()
        allowed = 2 * session.rtt + ALLOWED
        if self._outage:
            self._proxy.refuse()
        for _ in range(again := self.random.choice([0, 0, 0, 0, 0, 0, 1, 2])):
            self._proxy.cut_next(after=self.random.randint(1, HANDSHAKE), direction=self.random.choice(DIRECTIONS))
            allowed += RETRY
        name = self.random.choice(self._ways)
        after = int(2 ** self.random.uniform(0, LONGEST_CUT.bit_length()))
        try:
            WAYS[name](self._proxy, self.random.choice(DIRECTIONS), after)
        except LookupError:
            name = "by a cut that was meant for the handshake"
        if self._outage:
            await asyncio.sleep(self._outage)  # this is what is measured
            self._proxy.accept()
        await self._resumed.wait()
        self._proxy.resume(which=None)  # what an old connection held back arrives now, and is for nobody
        self.done[name] += 1
        self.done["again in the handshake"] += again
        self.gaps.append((session.gap, allowed + self._outage))


async def run(
    breaks: int, *, seed: int, channels: int = 4, outage: float = 0.0, ways: list[str] = MIX
) -> tuple[Load, Breaker]:
    """Load a session, break its connection so often, let everything end, and verify that all has arrived."""
    load = Load(channels)
    config = Config(keepalive=SILENCE, keepalive_timeout=SILENCE)
    async with serve(load.server, "127.0.0.1", 0, config=config) as server:
        with ProxyProcess(server.sockets[0].getsockname()[1]) as proxy:
            breaker = Breaker(proxy, seed, outage, ways)
            connector = connect(
                "127.0.0.1",
                proxy.port,
                config=config,
                resume=30.0,
                backoff=constant(RETRY),
                on_state=breaker.on_state,
            )
            async with connector as session, asyncio.TaskGroup() as group:
                group.create_task(load.client(session))  # if it fails, nobody waits for a connection any more
                for _ in range(breaks):
                    await load.until(load.total + breaker.random.randrange(NEXT_BREAK))
                    await breaker.once(session)
                load.stopping = True
    load.verify()
    told = breaker.states[2:-1]  # connecting, connected, ..., disconnected
    assert told == [State.RECONNECTING, State.RESUMED] * (len(told) // 2)
    return load, breaker


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def report(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    load, breaker = await run(options.breaks, seed=options.seed, channels=options.channels, outage=options.outage)
    elapsed = loop.time() - began
    print(
        f"{options.loop}, seed {options.seed}, {options.channels} channels: {options.breaks:,} breaks, {elapsed:.1f} s"
    )
    print(f"  {load.total:,} messages, {load.total / elapsed:,.0f}/s breaks included: 0 lost, doubled or reordered")
    print("  " + ", ".join(f"{name} {count}" for name, count in sorted(breaker.done.items())))
    gaps, allowed = [gap for gap, _ in breaker.gaps], [most for _, most in breaker.gaps]
    for name, share in ("p50", 0.5), ("p99", 0.99), ("max", 1.0):
        print(f"  gap {name}: {percentile(gaps, share) * 1e3:.1f} ms", end="")
        print(f", outage + 2 round trips + 50 ms: {percentile(allowed, share) * 1e3:.1f} ms")
    print(f"  over what is allowed: {sum(gap > most for gap, most in breaker.gaps)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--breaks", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--outage", type=float, default=0.0, help="seconds for which each break lets nobody in")
    parser.add_argument("--loop", choices=loops.NAMES, default="uvloop")
    options = parser.parse_args()
    with loops.runner(options.loop) as runner:
        runner.run(report(options))


if __name__ == "__main__":
    main()
