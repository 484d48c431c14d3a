"""What a process does as the memory for its sessions is used up: one step after the other, and back."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support import frames
from support.basics import until
from support.rawpeer import RawPeer

from muxtcp import Channel, Code, Config, HandshakeError, MemoryBudget, Server, connect, serve
from muxtcp._engine import Engine

LIMIT = 100 << 20
MESSAGE = bytes(60_000)


class Ballast:
    """Uses a budget up to wherever it is told."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self.weights: list[Engine] = []

    def up_to(self, share: float) -> None:
        size = int(share * LIMIT) - self.budget.used - 114_688  # an engine takes that beside its window
        weight = Engine(client=True, max_message=size - 64, session_window=1_024, memory_limit=size, budget=self.budget)
        self.weights.append(weight)
        assert self.budget.used == int(share * LIMIT)

    def drop(self) -> None:
        self.weights.clear()


async def handler(channel: Channel) -> None:
    if channel.name == "endless":
        while True:
            await channel.send(bytes(1_000))
    if channel.name == "torrent":
        message = await channel.recv()
        for _ in range(200):
            await channel.send(message)
    async for message in channel:
        await channel.send(message)


async def guest(server: Server, **parameters: int) -> RawPeer:
    """A client whose session the server keeps when its connection breaks."""
    host, port = server.sockets[0].getsockname()
    peer = RawPeer(*await asyncio.open_connection(host, port), client=True)
    await peer.greet(resume=100_000, ticket=bytes(16), **parameters)
    await peer.probe()
    return peer


@asynccontextmanager
async def crowd(guests: int, config: Config | None = None) -> AsyncIterator[tuple[Server, Ballast, list[RawPeer]]]:
    budget = MemoryBudget(LIMIT)
    async with serve(handler, "127.0.0.1", 0, budget=budget, config=config) as server:
        ballast, peers = Ballast(budget), [await guest(server) for _ in range(guests)]
        yield server, ballast, peers
        ballast.drop()
        for peer in peers:
            peer.writer.transport.abort()
    gc.collect()
    assert (budget.used, budget.replay_used) == (0, 0)


async def test_at_85_percent_no_session_is_kept_for_its_client() -> None:
    async with crowd(2) as (server, ballast, guests):
        ballast.up_to(0.845)
        guests[0].writer.transport.abort()
        await until(lambda: server.counters["parked"] == 1)
        ballast.up_to(0.855)
        guests[1].writer.transport.abort()
        await until(lambda: server.counters["not_parked_over_budget"] == 1)
        assert len(server.parking) == server.counters["parked"] == len(server.sessions) == 1


async def test_at_95_percent_clients_are_asked_to_come_back_later() -> None:
    async with crowd(0) as (server, ballast, _):
        ballast.up_to(0.945)
        async with connect(server.addresses[0]) as first:
            ballast.up_to(0.96)
            with pytest.raises(HandshakeError) as refused:
                await connect(server.addresses[0])
            assert refused.value.code is Code.LIMITS
            assert refused.value.retry_after == 1.0
            assert server.counters["refused_over_budget"] == server.counters["LIMITS"] == 1
            assert await first.request("echo", b"those that are there go on") == b"those that are there go on"
        ballast.drop()
        async with connect(server.addresses[0]) as session:
            assert await session.ping() >= 0


async def test_a_session_whose_first_message_has_no_room_is_refused() -> None:
    budget = MemoryBudget(1 << 20)
    async with serve(handler, "127.0.0.1", 0, budget=budget) as server:
        with pytest.raises(HandshakeError, match="memory"):
            await connect(server.addresses[0])
        assert server.counters["refused_over_budget"] == 1


async def test_at_98_percent_those_that_wait_go_the_oldest_first() -> None:
    async with crowd(3) as (server, ballast, guests):
        for number, peer in enumerate(guests[:2]):
            peer.writer.transport.abort()
            await until(lambda number=number: server.counters["parked"] == number + 1)
        oldest = next(iter(server.parking._parked))
        ballast.up_to(0.979)
        await guests[2].probe()
        assert len(server.parking) == 2
        ballast.up_to(0.981)
        await guests[2].probe()
        await until(lambda: server.counters["evicted_over_budget"] > 0)
        assert server.counters["evicted_over_budget"] == len(server.parking) == 1
        assert oldest not in server.parking._parked
        await guests[2].probe()


async def test_who_fails_when_told_that_memory_is_short_takes_no_session_down(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise RuntimeError("a defect")

    async with crowd(0) as (server, ballast, _), connect(server.addresses[0]) as session:
        ballast.budget.call_when_over(0.5, fails)
        ballast.up_to(0.6)
        for _ in range(3):
            assert await session.request("echo", b"going on") == b"going on"
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "who was to be told that the memory budget is used up failed"
    ]


@pytest.mark.parametrize("message", [MESSAGE, b""], ids=["large", "empty"])
async def test_when_all_is_used_a_sender_has_one_message_on_its_way(message: bytes) -> None:
    async with crowd(0) as (server, ballast, _), connect(server.addresses[0], config=Config()) as session:
        channel = await session.open("torrent")
        await channel.send(message)
        [peer] = server.sessions
        await channel.recv()
        ballast.up_to(1.0)
        for number in range(1, 200):
            assert await channel.recv() == message, number
            assert peer.engine.held_bytes <= 2 * (len(message) + 64)
        del peer


def stuck(server: Server, channels: int) -> bool:
    """Whether one session has so many channels, and all of their senders wait."""
    [session] = server.sessions
    return len(session.channels) == channels and all(channel.stall for channel in session.channels)


async def test_a_reader_that_never_reads_costs_what_config_says_on_many_channels_and_when_it_is_gone(
    loop_name: str,
) -> None:
    """Nothing is read or acknowledged: the queue and the replay log are full, and every handler waits."""
    config = Config(replay_limit=512 << 10, send_buffer=256 << 10)  # less than a kernel takes for a socket
    most = config.worst_case()
    count = 100 if loop_name == "asyncio-debug" else 1_000  # a traceback for each handle and task takes its time
    async with crowd(0, config) as (server, ballast, peers):
        peers.append(await guest(server, session_limit=1 << 50, channel_limit=1 << 50))
        await peers[0].send(*[frames.open(channel, "endless") for channel in range(1, 2 * count, 2)])
        await until(lambda: stuck(server, count))
        [session] = server.sessions
        assert config.replay_limit * 0.8 < session.engine.held_bytes <= most.sent
        assert ballast.budget.used <= most.total
        peers[0].writer.transport.abort()
        await until(lambda: server.counters["parked"] == 1)
        assert session.engine.held_bytes <= most.sent
        assert server.parking.cost <= ballast.budget.used <= most.total
        session.abort()
        await session.wait_closed()
        assert server.parking.cost == 0
        del session
