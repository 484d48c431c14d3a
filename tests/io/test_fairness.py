"""Who gets how much of a line that is full, and who waits how long: over a narrow link, on a virtual clock."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest

from muxtcp import Channel, Config, Priority, Session
from muxtcp.testing import VirtualClockLoop, pair

RATE = 1_000_000  # bytes per second
LATENCY = 0.005  # seconds
SOCKET = 65_536  # bytes on the way at most, as a kernel's buffers hold them
WARM = 3.0  # seconds until the windows have grown and every queue is full
SMALL, QUANTUM, LARGE = 64, 16_384, 1_048_576
GROUP = 64  # small messages that are sent at once

# What an urgent message may have to wait for: one frame, and whatever was handed to the transport before it came.
FRAME = 65_536
TRANSPORT = Config().high_water + SOCKET
LONGEST = 2 * (FRAME + TRANSPORT) / RATE + 2 * LATENCY


class Line:
    """A client that sends on channels as fast as it goes, and a server that counts what comes on each, by name."""

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        self.client: Session

    async def handler(self, channel: Channel) -> None:
        async for batch in channel.batches():
            self.received[channel.name] += sum(map(len, batch))

    async def flood(self, name: str, size: int, priority: int) -> None:
        channel = await self.client.open(name, mode="w", priority=priority)
        message, count = bytes(size), GROUP if size < QUANTUM else 1
        while True:
            await channel.send_many([message] * count)

    async def shares(self, sizes: list[int], seconds: float) -> list[float]:
        """What each of so many channels gets in so many seconds, as a multiple of an equal part."""
        async with pair(self.handler, bandwidth=RATE, latency=LATENCY, socket_buffer=SOCKET) as p:
            self.client = p.client
            floods = [
                asyncio.create_task(self.flood(f"{number}", size, Priority.NORMAL)) for number, size in enumerate(sizes)
            ]
            await asyncio.sleep(WARM)
            before = self.received.copy()
            await asyncio.sleep(seconds)
            got = [self.received[f"{number}"] - before[f"{number}"] for number in range(len(sizes))]
            await stop(floods)
        return [size * len(sizes) / sum(got) for size in got]


async def stop(floods: list[asyncio.Task[None]]) -> None:
    for flood in floods:
        flood.cancel()
    await asyncio.gather(*floods, return_exceptions=True)


def on_virtual_clock(scenario: Coroutine[Any, Any, list[float]]) -> list[float]:
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(scenario)


@pytest.mark.parametrize(
    "sizes",
    [
        [QUANTUM] * 2,
        [QUANTUM] * 10,
        [QUANTUM] * 100,
        [QUANTUM, LARGE],
        [SMALL, LARGE],
        [QUANTUM] + [LARGE] * 4,
        [QUANTUM] * 25 + [4 * QUANTUM] * 25,
    ],
    ids=["2", "10", "100", "a large one", "a small and a large one", "many large ones", "more than the queue takes"],
)
def test_busy_channels_get_equal_parts(sizes: list[int]) -> None:
    shares = on_virtual_clock(Line().shares(sizes, 60.0))
    assert min(shares) >= 0.9
    assert max(shares) <= 1.1


@pytest.mark.parametrize(("size", "flood"), [(QUANTUM, 1), (QUANTUM, 10), (LARGE, 1), (LARGE, 10)])
@pytest.mark.parametrize("priority", [Priority.URGENT, Priority.HIGH])
def test_a_small_message_beside_bulk_waits_for_little(priority: Priority, size: int, flood: int) -> None:
    async def scenario() -> list[float]:
        loop = asyncio.get_running_loop()
        line = Line()
        waits: list[float] = []

        async def took(channel: Channel) -> None:
            if channel.name != "small":
                return await line.handler(channel)
            async for message in channel:
                waits.append(loop.time() - float(message))  # noqa: PERF401 - it is cancelled in the middle

        async with pair(took, bandwidth=RATE, latency=LATENCY, socket_buffer=SOCKET) as p:
            line.client = p.client
            floods = [asyncio.create_task(line.flood("bulk", size, Priority.BULK)) for _ in range(flood)]
            await asyncio.sleep(WARM)
            channel = await p.client.open("small", mode="w", priority=priority)
            for number in range(200):
                await channel.send(f"{loop.time()!r:{SMALL}}".encode())
                await asyncio.sleep(0.05 + number % 7 / 1000)
            await stop(floods)
        return waits

    waits = sorted(on_virtual_clock(scenario()))
    assert len(waits) >= 190
    assert waits[int(0.99 * len(waits))] <= LONGEST
