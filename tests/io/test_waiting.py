"""Senders that wait, and what becomes of those behind one that gives up: nobody stays behind.

On a virtual clock and without keepalive, a sender that nobody wakes ends the test with the loop's RuntimeError.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from muxtcp import Channel, ChannelClosed, Config, LocalProtocolError, MessageTooLarge, Priority, Session, SessionClosed
from muxtcp.testing import Pair, VirtualClockLoop, pair

TIGHT = Config(max_message=65_536, session_window=65_600, memory_limit=65_600, send_buffer=8_192, keepalive=None)
CROWDED = Config(send_buffer=8_192, keepalive=None)


def run(test: Callable[[Pair], Awaitable[None]], config: Config, *, reads: bool, **link: Any) -> None:
    """Run `test` with two sessions; the server reads everything, or nothing."""

    async def handler(channel: Channel) -> None:
        if not reads:
            await asyncio.get_running_loop().create_future()
        async for _ in channel:
            pass

    async def within() -> None:
        async with pair(handler, config=config, **link) as peers:
            await test(peers)

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(within())


def sending(channel: Channel, size: int) -> asyncio.Task[None]:
    async def send() -> None:
        await channel.send(bytes(size))

    return asyncio.create_task(send())


async def used_up(session: Session) -> Channel:
    """A channel whose message fills the queue, and lacks credit of the session for as long as nothing is read."""
    channel = await session.open("used")
    await channel.send(bytes(40_000))
    await channel.send(bytes(60_000))
    return channel


@pytest.mark.parametrize("where", ["the same channel", "another channel"])
def test_who_waits_behind_one_that_gives_up_until_the_credit_comes_back(where: str) -> None:
    async def test(peers: Pair) -> None:
        used = await used_up(peers.client)
        first = await peers.client.open("first")
        second = first if where == "the same channel" else await peers.client.open("second")
        gives_up, goes_on = sending(first, 60_000), sending(second, 100)
        await asyncio.sleep(10.0)  # of virtual time: no timer is left that would wake them
        assert first.stall.reason == second.stall.reason == "session_window"
        gives_up.cancel()
        await asyncio.sleep(10.0)
        assert not goes_on.done()
        await used.reset()
        await goes_on
        assert peers.client.engine.counters["messages_sent"] == 3  # the one that was given up is none of them

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
        assert not second.send_nowait(b"no room for it")
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


BEGUN = pytest.mark.parametrize("begun", [False, True], ids=["not begun", "begun"])
NARROW = Config(send_buffer=8_192, channel_window=1 << 20, session_window=2 << 20, keepalive=None)


async def beside_bulk(session: Session, begun: bool) -> tuple[Channel, asyncio.Task[None]]:
    """Who sends half a second's worth and finds no room in the queue; the beginning of it is written, or nothing."""
    bulk = await session.open("bulk", priority=Priority.BULK)
    channel = await session.open("waits", priority=Priority.URGENT)
    assert bulk.send_nowait(bytes(800_000))
    await asyncio.sleep(0)
    waits = sending(channel, 500_000)
    await asyncio.sleep(0.3 if begun else 0.1)
    assert not waits.done()
    return channel, waits


def received(session: Session) -> int:
    [channel] = [channel for channel in session.channels if channel.name == "waits"]
    return channel.stats().received


@BEGUN
def test_a_message_that_is_given_up_is_sent_if_it_has_begun(begun: bool) -> None:
    """Nothing of it, or all of it: half a message is no message."""

    async def test(peers: Pair) -> None:
        channel, gives_up = await beside_bulk(peers.client, begun)
        goes_on = sending(channel, 7)
        await asyncio.sleep(0)
        gives_up.cancel()
        await goes_on
        assert gives_up.cancelled() is not begun
        await channel.flush()
        assert received(peers.server) == 71 + (500_064 if begun else 0)

    run(test, NARROW, reads=False, bandwidth=1e6)


@BEGUN
@pytest.mark.parametrize("end", ["send_eof", "close"])
def test_who_waits_as_the_channel_is_ended_learns_what_becomes_of_his_message(end: str, begun: bool) -> None:
    async def test(peers: Pair) -> None:
        channel, waits = await beside_bulk(peers.client, begun)
        await getattr(channel, end)()
        await asyncio.wait([waits])
        if begun:
            waits.result()
        else:
            with pytest.raises((LocalProtocolError, ChannelClosed)):
                waits.result()
        await asyncio.sleep(2.0)
        assert received(peers.server) == (500_064 if begun else 0)

    run(test, NARROW, reads=False, bandwidth=1e6)
