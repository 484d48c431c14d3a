"""Cancelling recv, send, open or request at any tick loses nothing, doubles nothing and leaks nothing.

A tick is one turn of the loop. Every tick of an exchange is tried, one after the other in the same session, whose
window and slots are so small that a leak of one message or channel in each attempt would stop it long before the last.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from muxtcp import Channel, Config, EndOfStream
from muxtcp.testing import pair

TICKS = 60
COUNT = 12
SIZE = 1_000
CONFIG = Config(max_message=1_024, channel_window=4_096, session_window=8_192, memory_limit=8_192, max_channels=1)


def message(number: int) -> bytes:
    return bytes([number]) * SIZE


MESSAGES = [message(number) for number in range(COUNT)]


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def cancelled_at(tick: int, victim: Coroutine[Any, Any, None]) -> bool:
    """Run the victim for `tick` turns of the loop, and cancel it; whether that met it."""
    task = asyncio.create_task(victim)
    await turns(tick)
    task.cancel()
    return isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)


async def receive_all(channel: Channel, into: list[bytes]) -> None:
    try:
        while True:
            into.append(await channel.recv())
    except EndOfStream:
        pass


async def send_all(channel: Channel, accepted: list[bytes], messages: list[bytes]) -> None:
    for each in messages:
        await channel.send(each)
        accepted.append(each)


async def test_recv() -> None:
    async def feed(channel: Channel) -> None:
        await send_all(channel, [], MESSAGES)
        await channel.send_eof()

    met = 0
    async with pair(feed, config=CONFIG) as peers:
        for tick in range(TICKS):
            received: list[bytes] = []
            async with peers.client.open("feed") as channel:
                met += await cancelled_at(tick, receive_all(channel, received))
                await receive_all(channel, received)
            assert received == MESSAGES
        assert peers.client.channels == []
    assert met > 3


async def test_recv_of_two_who_wait() -> None:
    """The one that is cancelled passes its wake-up on."""

    async def feed(channel: Channel) -> None:
        for each in MESSAGES:
            await channel.send(each)
            await turns(2)
        await channel.send_eof()

    async with pair(feed, config=CONFIG) as peers:
        for tick in range(TICKS):
            received: list[bytes] = []
            async with peers.client.open("feed") as channel:
                other = asyncio.create_task(receive_all(channel, received))
                await cancelled_at(tick, receive_all(channel, received))
                await other
            assert sorted(received) == MESSAGES


@pytest.mark.parametrize("hurry", [0, 3], ids=["fast reader", "slow reader"])
async def test_send(hurry: int) -> None:
    arrived: asyncio.Queue[list[bytes]] = asyncio.Queue()

    async def read(channel: Channel) -> None:
        messages = []
        async for each in channel:
            messages.append(each)
            await turns(hurry)
        arrived.put_nowait(messages)

    met = 0
    async with pair(read, config=CONFIG) as peers:
        for tick in range(TICKS):
            accepted: list[bytes] = []
            async with peers.client.open("read") as channel:
                met += await cancelled_at(tick, send_all(channel, accepted, MESSAGES))
                await channel.send(b"last")
                await channel.send_eof()
                whole = await arrived.get()
            assert whole.pop() == b"last"
            assert whole == accepted
    assert met > 3


# A message that waits only for room is left with the engine, which begins it when it is its turn.
PARTS = Config(send_buffer=65_536, high_water=16_384, low_water=4_096)
LARGE = [bytes([number]) * 60_000 for number in range(6)]


@contextlib.asynccontextmanager
async def parted() -> AsyncIterator[tuple[Channel, asyncio.Queue[list[bytes]]]]:
    """A channel whose queue is full after a message; and where all that the peer has read is put at the end."""
    arrived: asyncio.Queue[list[bytes]] = asyncio.Queue()

    async def read(channel: Channel) -> None:
        arrived.put_nowait([each async for each in channel])

    async with pair(read, config=PARTS, socket_buffer=4_096) as peers:
        async with peers.client.open("read") as channel:
            yield channel, arrived


@pytest.mark.parametrize("senders", [1, 2])
async def test_send_of_a_message_that_may_have_begun(senders: int) -> None:
    """Either it is sent and accepted, or it was not sent and may be tried again."""
    met = 0
    for tick in range(TICKS):
        async with parted() as (channel, arrived):
            accepted: list[list[bytes]] = [[] for _ in range(senders)]
            attempts = (cancelled_at(tick, send_all(channel, each, LARGE)) for each in accepted)
            met += sum(await asyncio.gather(*attempts))
            for each in accepted:
                await send_all(channel, each, LARGE[len(each) :])
            await channel.send_eof()
            assert sorted(await arrived.get()) == sorted(LARGE * senders)
            assert accepted == [LARGE] * senders
    assert met > 3


async def test_a_task_that_sends_for_ever_is_ended_by_one_cancellation() -> None:
    """Also when it comes too late for the message that it meets."""

    async def flood(channel: Channel) -> None:
        while True:
            await channel.send(LARGE[0])

    for tick in range(TICKS):
        async with parted() as (channel, _):
            assert await cancelled_at(tick, flood(channel))


async def send_in_time(channel: Channel, accepted: list[bytes], messages: list[bytes], limit: asyncio.Timeout) -> str:
    """Send all within the limit, and go on; what became of the limit."""
    try:
        async with limit:
            await send_all(channel, accepted, messages)
    except TimeoutError:
        return "met"
    await turns(3)
    return "late" if limit.expired() else "never"


async def test_a_timeout_too_late_for_the_last_message_of_its_block_does_not_reach_what_follows() -> None:
    ends: set[str] = set()
    for tick in range(1, TICKS):
        accepted: list[bytes] = []
        async with parted() as (channel, _):
            limit = asyncio.timeout(None)
            task = asyncio.create_task(send_in_time(channel, accepted, LARGE[:4], limit))
            await turns(tick)
            if len(accepted) < 4:
                limit.reschedule(0)
            ends.add(await task)
    assert ends == {"met", "late", "never"}


async def test_open() -> None:
    async def serve(channel: Channel) -> None:
        await channel.send(await channel.recv())

    async def opened(peers: Any) -> None:
        async with peers.client.open("second") as channel:
            await channel.send(b"hello")
            assert await channel.recv() == b"hello"

    met = 0
    async with pair(serve, config=CONFIG) as peers:
        for tick in range(TICKS):
            async with peers.client.open("first") as first:  # takes the only slot
                victim = asyncio.create_task(cancelled_at(tick, opened(peers)))
                await first.send(b"done")
                assert await first.recv() == b"done"
            met += await victim
            await opened(peers)
    assert met > 3


async def test_request() -> None:
    async def echo(channel: Channel) -> None:
        async for each in channel:
            await turns(2)
            await channel.send(each)

    async def ask(peers: Any) -> None:
        assert await peers.client.request("echo", MESSAGES[1]) == MESSAGES[1]

    met = 0
    async with pair(echo, config=CONFIG) as peers:
        for tick in range(TICKS):
            met += await cancelled_at(tick, ask(peers))
            await ask(peers)
    assert met > 3
