"""However the peer behaves, each close ends in its time: on a virtual clock, exactly."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from muxtcp import Channel, Config, MuxError, Session
from muxtcp.testing import Link, Pair, VirtualClockLoop, pair

CONFIG = Config(keepalive=None, close_timeout=3.0)
BOUND = 2 * CONFIG.close_timeout  # for the channels, and for goodbye and handlers
ROUNDING = 0.01  # seconds
CALLS = 4  # that wait on each side


async def never_reads(channel: Channel) -> None:
    """A handler that does not end of its own accord, and takes its time when it is cancelled."""
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(100.0)


async def nothing(p: Pair) -> None:
    """The peer is well, and its handlers never end."""


async def never_answers(p: Pair) -> None:
    p.link.stall()


async def hears_nothing(p: Pair) -> None:
    p.link.stall("to_server")


async def says_nothing(p: Pair) -> None:
    p.link.stall("to_client")


async def is_parked(p: Pair) -> None:
    """The connection is broken, and each attempt to resume hangs in its handshake."""
    p.link.cut()
    while p.client.connected or p.server.connected:
        await asyncio.sleep(0)


async def resumes(p: Pair) -> None:
    """The same, in the middle of such an attempt."""
    await is_parked(p)
    await asyncio.sleep(1.0)


@asynccontextmanager
async def busy_pair(side: str, *, resume: float) -> AsyncIterator[tuple[Pair, Session]]:
    """Both sides send what the other will not read; `side` is closed in the block, and its calls must then be over."""
    links: list[Link] = []

    def stall_later_ones(link: Link) -> None:
        links.append(link)
        if len(links) > 1:
            link.stall()

    async with asyncio.TaskGroup() as group:
        async with pair(never_reads, never_reads, config=CONFIG, resume=resume, on_link=stall_later_ones) as p:
            calls = {
                name: [group.create_task(send(await session.open("full"))) for _ in range(CALLS)]
                for name, session in (("client", p.client), ("server", p.server))
            }
            await asyncio.sleep(1.0)
            yield p, getattr(p, side)
            await asyncio.sleep(ROUNDING)
            assert all(call.done() for call in calls[side]), "a call waits for a session that is over"


async def send(channel: Channel) -> None:
    """More than the peer takes."""
    with pytest.raises(MuxError):
        while True:
            await channel.send(bytes(100_000))


def timed(scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(scenario)


CLOSES: dict[str, Callable[[Session], Coroutine[Any, Any, None]]] = {
    "close": lambda session: session.close(),
    "leaving its block": lambda session: session.__aexit__(None, None, None),
}


@pytest.mark.parametrize("peer", [nothing, never_answers, hears_nothing, says_nothing, is_parked, resumes])
@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("how", CLOSES)
def test_a_close_ends_in_its_time(how: str, side: str, peer: Any) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with busy_pair(side, resume=60.0) as (p, session):
            await peer(p)
            since = loop.time()
            await CLOSES[how](session)
            assert loop.time() - since <= BOUND + ROUNDING

    timed(scenario())


@pytest.mark.parametrize("peer", [nothing, never_answers])
def test_a_close_that_gives_the_channels_no_time_is_as_short_as_a_goodbye(peer: Any) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with busy_pair("client", resume=0.0) as (p, session):
            await peer(p)
            since = loop.time()
            await session.close(timeout=0)
            assert loop.time() - since <= CONFIG.close_timeout + ROUNDING

    timed(scenario())
