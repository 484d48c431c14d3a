"""What a session may do before others have their turn, and slots that outlive their channel."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support import frames
from support.turns import Clock

from muxtcp import Channel, Config, EndOfStream, Session, SessionLost
from muxtcp.testing import pair

MANY = 20_000  # messages: several shares of a turn
HUGE = Config(channel_window=1 << 30, session_window=1 << 30, memory_limit=1 << 30)


@asynccontextmanager
async def piled_up(messages: list[bytes]) -> AsyncIterator[Channel]:
    """A channel of a server behind which these wait unread, and then the end."""
    arrived: asyncio.Queue[Channel] = asyncio.Queue()
    async with pair(arrived.put_nowait, config=HUGE) as p:
        ours = await p.client.open("pile")
        await ours.send_many(messages)
        await ours.send_eof()
        theirs = await arrived.get()
        while theirs.stats().unread < len(messages):
            await asyncio.sleep(0)
        yield theirs


def arrive(session: Session, data: bytes) -> None:
    """Let a session read this from its connection, at once."""
    connection = session.transport.get_protocol()
    while data:
        room = connection.get_buffer(-1)
        read, data = data[: len(room)], data[len(room) :]
        room[: len(read)] = read
        connection.buffer_updated(len(read))


async def test_who_receives_what_has_piled_up_lets_others_run() -> None:
    async with piled_up([b"x"] * MANY) as theirs:
        before = theirs.session.stats()["turns_cut_short"]
        with Clock() as clock:
            for _ in range(MANY):
                await theirs.recv()
        assert clock.turns > MANY // 4_096
        assert theirs.session.stats()["turns_cut_short"] > before


async def test_who_receives_what_has_piled_up_when_the_session_is_over_gives_way_as_often() -> None:
    async with piled_up([b"x"] * MANY) as theirs:
        theirs.session.abort()
        await theirs.session.wait_closed()
        with Clock() as clock:
            for _ in range(MANY):
                await theirs.recv()
        assert MANY // 4_096 <= clock.turns <= MANY // 2_048


async def test_what_was_read_before_the_connection_broke_is_received() -> None:
    channels: list[Channel] = []
    async with pair(channels.append, config=HUGE) as p:
        arrive(p.server, frames.open(1) + frames.data(1, b"x") * MANY)
        assert p.server.stats()["turns_cut_short"] > 0
        p.link.cut()
        await p.server.wait_closed()
        [channel] = channels
        assert channel.stats().unread == MANY
        assert isinstance(channel.exception, SessionLost)
        assert channel.exception.cause == "the connection ended without a goodbye"


async def test_what_takes_many_turns_to_read_is_acknowledged_in_each() -> None:
    channels: list[Channel] = []
    async with pair(channels.append, config=HUGE, resume=30.0) as p:
        p.link.stall("to_client")  # which has never sent what is acknowledged
        arrive(p.server, frames.open(1) + frames.data(1, b"x") * MANY)
        acknowledged = []
        while p.server.engine.counters["messages_received"] < MANY:
            await asyncio.sleep(0)
            acknowledged.append(p.server.engine.heard_fate.acknowledged)
        assert len(set(acknowledged)) >= MANY // 4_096


async def test_who_is_cancelled_while_he_gives_way_has_taken_nothing() -> None:
    async with piled_up([number.to_bytes(4) for number in range(MANY)]) as theirs:
        received: list[int] = []

        async def receive() -> None:
            while True:
                received.append(int.from_bytes(await theirs.recv()))

        for _ in range(MANY):
            task = asyncio.create_task(receive())
            await asyncio.sleep(0)
            task.cancel()
            [ended] = await asyncio.gather(task, return_exceptions=True)
            if isinstance(ended, EndOfStream):
                break
        assert received == list(range(MANY))


async def test_a_batch_is_bounded() -> None:
    async with piled_up([b"x"] * MANY) as theirs:
        sizes = [len(batch) async for batch in theirs.batches()]
        assert sum(sizes) == MANY
        assert max(sizes) == 4_096


async def test_who_opens_without_having_to_wait_lets_others_run() -> None:
    async with pair(lambda channel: None, config=Config(max_channels=MANY, accept_backlog=MANY)) as p:
        with Clock() as clock:
            kept = [await p.client.open("one of many") for _ in range(MANY // 4)]
        assert clock.turns > MANY // 4 // 256
        await p.client.ping()
        assert len(kept) == len(p.client.channels)


@pytest.mark.parametrize("size", [0, 1, 64])
async def test_who_sends_without_having_to_wait_lets_others_run(size: int) -> None:
    async def handler(channel: Channel) -> None:
        async for _ in channel:
            pass

    async with pair(handler, config=HUGE, socket_buffer=1 << 30) as p:
        channel = await p.client.open("sink")
        with Clock() as clock:
            for _ in range(10 * MANY):
                await channel.send(bytes(size))
        assert clock.turns > 10 * MANY // 3_500


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_slot_is_free_when_the_handler_has_returned(how: str) -> None:
    leave = asyncio.Event()
    running = most = 0

    async def handler(channel: Channel) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await (channel.close() if how == "close" else channel.reset())
        await leave.wait()
        running -= 1

    async with pair(handler, config=Config(max_channels=4)) as p:
        for _ in range(4):
            await (await p.client.open("busy")).close()
        waiting = asyncio.create_task(p.client.open("one more").__aenter__())
        await p.client.ping()
        await p.client.ping()
        assert not waiting.done()
        leave.set()
        await waiting
        for _ in range(20):
            await (await p.client.open("busy")).close()
        assert most == 4
