"""Some who send through windows and a queue that hardly fit a message, and two of them give up: nobody stays stranded.

Each seed is one way in which it may go, on a virtual clock: it goes the same way again. A sender that nobody wakes
meets the deadline, as do two that wake each other for ever; without keepalive, nothing else would wake them.
"""

import asyncio
import random

import pytest

from muxtcp import Channel, Config
from muxtcp.testing import VirtualClockLoop, pair

LARGEST = 20_000
SIZES = [100, 5_000, 6_500, LARGEST]
SEEDS = 300
DEADLINE = 100.0  # virtual seconds


class TurningClock(VirtualClockLoop):
    """Each look at the clock takes a millisecond: whatever goes round in circles comes to an end."""

    looks = 0

    def time(self) -> float:
        self.looks += 1
        return super().time() + self.looks / 1_000


async def read(channel: Channel) -> None:
    async for _ in channel:
        pass


async def send(channel: Channel, size: int) -> None:
    await channel.send(bytes(size))


async def exchange(chance: random.Random) -> None:
    config = Config(
        max_message=LARGEST,
        channel_window=65_536,
        session_window=chance.choice([LARGEST + 64, 65_536]),
        memory_limit=65_536,
        send_buffer=chance.choice([8_192, 30_000]),
        keepalive=None,
    )
    async with asyncio.timeout(DEADLINE), pair(read, config=config) as peers:
        channels = [await peers.client.open("") for _ in range(4)]
        await peers.client.ping()
        senders = [asyncio.create_task(send(chance.choice(channels), chance.choice(SIZES))) for _ in range(8)]
        for gives_up in chance.sample(senders, 2):
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            gives_up.cancel()
        await asyncio.wait(senders)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nobody_stays_stranded(seed: int) -> None:
    with asyncio.Runner(loop_factory=TurningClock) as runner:
        runner.run(exchange(random.Random(seed)))
