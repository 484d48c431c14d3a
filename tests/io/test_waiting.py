"""Senders that wait, and what becomes of those behind one that gives up: nobody stays behind.

On a virtual clock and without keepalive, a sender that nobody wakes ends the test with the loop's RuntimeError.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from muxtcp import Channel, Config, MessageTooLarge, Session, SessionClosed
from muxtcp.testing import Pair, VirtualClockLoop, pair

TIGHT = Config(max_message=65_536, session_window=65_600, memory_limit=65_600, keepalive=None)
CROWDED = Config(send_buffer=8_192, keepalive=None)


def run(test: Callable[[Pair], Awaitable[None]], config: Config, *, reads: bool) -> None:
    """Run `test` with two sessions; the server reads everything, or nothing."""

    async def handler(channel: Channel) -> None:
        if not reads:
            await asyncio.get_running_loop().create_future()
        async for _ in channel:
            pass

    async def within() -> None:
        async with pair(handler, config=config) as peers:
            await test(peers)

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(within())


def sending(channel: Channel, size: int) -> asyncio.Task[None]:
    async def send() -> None:
        await channel.send(bytes(size))

    return asyncio.create_task(send())


async def used_up(session: Session) -> None:
    """Leave 25 KB of the session's credit."""
    await (await session.open("used")).send(bytes(40_000))


@pytest.mark.parametrize("where", ["the same channel", "another channel"])
def test_who_waits_behind_one_that_gives_up_for_credit(where: str) -> None:
    async def test(peers: Pair) -> None:
        await used_up(peers.client)
        first = await peers.client.open("first")
        second = first if where == "the same channel" else await peers.client.open("second")
        gives_up, goes_on = sending(first, 60_000), sending(second, 100)
        await asyncio.sleep(10.0)  # of virtual time: no timer is left that would wake them
        assert first.stall.reason == second.stall.reason == "session_window"
        gives_up.cancel()
        await goes_on

    run(test, TIGHT, reads=False)


def test_who_waits_behind_one_that_gives_up_for_room() -> None:
    """The one that is promised room is cancelled, and the next on its channel has a larger message."""

    async def test(peers: Pair) -> None:
        full, first, second = [await peers.client.open(name) for name in ("full", "first", "second")]
        await peers.client.ping()
        gives_up, *others = sending(first, 5_000), sending(first, 6_500), sending(second, 5_000)
        assert full.send_nowait(bytes(6_000))
        await asyncio.sleep(0)
        assert first.stall.reason == second.stall.reason == "memory"
        gives_up.cancel()
        await asyncio.gather(*others)

    run(test, CROWDED, reads=True)


def test_the_end_of_a_session_that_two_wait_for() -> None:
    """Both are told; what the first gives back after the end is nobody's."""

    async def test(peers: Pair) -> None:
        await used_up(peers.client)
        first, second = [await peers.client.open(name) for name in ("first", "second")]
        gives_up = sending(first, 60_000)
        await peers.client.ping()
        assert not second.send_nowait(b"behind it")
        await asyncio.sleep(10.0)  # of virtual time: nothing is on its way, which a server that aborts would not read
        peers.server.abort()
        with pytest.raises(SessionClosed):
            await gives_up
        await peers.client.wait_closed()

    run(test, TIGHT, reads=False)


def test_a_message_that_is_too_large_is_no_stall_and_neither_is_one_that_was_given_up() -> None:
    async def test(peers: Pair) -> None:
        await used_up(peers.client)
        channel = await peers.client.open("")
        gives_up = sending(channel, 60_000)
        await asyncio.sleep(10.0)
        gives_up.cancel()
        waits, too_large = sending(channel, 60_000), sending(channel, 70_000)
        await asyncio.sleep(10.0)
        assert channel.stall.since == pytest.approx(10.0)
        waits.cancel()
        await asyncio.wait([too_large])
        with pytest.raises(MessageTooLarge):
            too_large.result()
        with pytest.raises(MessageTooLarge):
            await channel.send(bytes(70_000))
        assert channel.stall is None

    run(test, TIGHT, reads=False)
