"""Windows follow what is used of them: over a fast line with a long round trip, on a virtual clock."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from muxtcp import Channel, Config
from muxtcp.testing import VirtualClockLoop, pair

RATE = 125_000_000  # bytes per second: 1 Gbit/s
TRIP = 0.050  # seconds there and back
SMALLEST = Config().channel_window


class Line:
    """A channel from a client to a server that takes whatever comes."""

    def __init__(self) -> None:
        self.sending: Channel
        self.receiving: Channel
        self.received = 0

    async def handler(self, channel: Channel) -> None:
        if channel.name == "idle":
            return await channel.session.wait_closed()
        self.receiving = channel
        async for batch in channel.batches():
            self.received += sum(map(len, batch))

    @property
    def window(self) -> int:
        return self.receiving.stats().receive_window

    async def leave_unread(self, channels: int) -> None:
        """Fill the windows of so many more channels, which nobody reads."""
        for _ in range(channels):
            idle = await self.sending.session.open("idle", mode="w")
            for _ in range(SMALLEST // 16_064):
                await idle.send(bytes(16_000))

    async def flood(self) -> None:
        while True:
            await self.sending.send(bytes(16_000))

    async def share(self) -> float:
        """What comes in the next round trip, of what the line could carry."""
        before = self.received
        await asyncio.sleep(TRIP)
        return (self.received - before) / (RATE * TRIP)

    async def trickle(self, size: int, times: int) -> None:
        """So many messages, ten a second."""
        for _ in range(times):
            await self.sending.send(bytes(size))
            await asyncio.sleep(0.1)

    @contextlib.asynccontextmanager
    async def flooded(self) -> AsyncIterator[None]:
        flood = asyncio.create_task(self.flood())
        yield
        flood.cancel()
        await asyncio.wait([flood])


def over_a_long_line(play: Callable[[Line], Awaitable[None]]) -> None:
    async def main() -> None:
        line = Line()
        async with pair(line.handler, latency=TRIP / 2, bandwidth=RATE, socket_buffer=1 << 25) as peers:
            async with peers.client.open("flood", mode="w") as line.sending:
                await play(line)

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(main())


def test_one_channel_fills_the_line_within_ten_round_trips() -> None:
    async def play(line: Line) -> None:
        async with line.flooded():
            await asyncio.sleep(9 * TRIP)
            assert await line.share() >= 0.8

    over_a_long_line(play)


def test_a_window_that_is_used_little_becomes_small_again() -> None:
    async def play(line: Line) -> None:
        async with line.flooded():
            await asyncio.sleep(20 * TRIP)
        assert line.window >= RATE * TRIP
        await line.trickle(100_000, 600)
        assert line.window == SMALLEST

    over_a_long_line(play)


def test_a_pause_does_not_make_it_small() -> None:
    """Whoever floods every now and then has his window when he does, once he begins."""

    async def play(line: Line) -> None:
        for _ in range(3):
            async with line.flooded():
                await asyncio.sleep(12 * TRIP)
                assert line.window >= RATE * TRIP
            await asyncio.sleep(9)

    over_a_long_line(play)


@pytest.mark.parametrize("channels", [1, 2, 10])
def test_what_idle_channels_hold_slows_no_other(channels: int) -> None:
    async def play(line: Line) -> None:
        await line.leave_unread(channels)
        async with line.flooded():
            await asyncio.sleep(14 * TRIP)
            assert await line.share() >= 0.8

    over_a_long_line(play)
