"""A server drains: under load nothing is lost in silence, and a process that gets SIGTERM ends in good order."""

import asyncio
import json
import math
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from support.basics import echo

from muxtcp import Channel, ChannelRefused, Code, Config, Session, SessionClosed, connect, serve

CLIENTS = 4
SENDERS = 3  # of each client, each on a channel of its own
HEAD_START = 200  # messages of each of them that were received before the draining begins
MORE = 100  # that each sends after its client was told
NARROW = Config(channel_window=16_384, session_window=32_768, send_buffer=32_768, close_timeout=0.1)


class Books:
    """What `send()` accepted and what the server's handlers received, by channel name."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.ended: set[str] = set()  # where the handler saw the end
        self.under_way = 0  # senders that have had their head start
        self.under_load = asyncio.Event()

    async def handler(self, channel: Channel) -> None:
        async for message in channel:
            assert int.from_bytes(message[:8]) == self.received[channel.name], "lost, doubled or out of order"
            self.received[channel.name] += 1
            if self.received[channel.name] == HEAD_START:
                self.under_way += 1
                if self.under_way == CLIENTS * SENDERS:
                    self.under_load.set()
        self.ended.add(channel.name)
        await channel.send(self.received[channel.name].to_bytes(8))

    async def send(self, channel: Channel) -> None:
        number = self.sent[channel.name]
        await channel.send(number.to_bytes(8) + bytes(number % 7 * 300))
        self.sent[channel.name] += 1

    async def send_until_told(self, session: Session, name: str, told: asyncio.Event) -> None:
        channel = await session.open(name)
        while not told.is_set():
            await self.send(channel)
        for _ in range(MORE):
            await self.send(channel)
        await channel.send_eof()
        assert int.from_bytes(await channel.recv()) == self.sent[name]
        await channel.close()

    async def ask_until_told(self, session: Session, name: str, told: asyncio.Event) -> None:
        """New channels all the time: each is served, or refused and not served at all."""
        number = 0
        with pytest.raises(SessionClosed) as end:
            while True:
                number += 1
                with suppress(ChannelRefused):
                    await session.request(f"{name} {number}", bytes(8))
                    self.sent[f"{name} {number}"] = 1
        assert end.value.remote
        assert end.value.code is Code.SHUTDOWN
        told.set()

    async def send_until_cut(self, session: Session, name: str) -> None:
        channel = await session.open(name)
        with pytest.raises(SessionClosed) as end:
            while True:
                await self.send(channel)
        assert end.value.remote
        assert end.value.code is Code.SHUTDOWN


async def test_draining_under_load_loses_nothing() -> None:
    books = Books()
    server = await serve(books.handler, "127.0.0.1", 0, config=NARROW)
    async with asyncio.TaskGroup() as clients:
        for client in range(CLIENTS):
            session, told = await connect(server.addresses[0], config=NARROW), asyncio.Event()
            clients.create_task(books.ask_until_told(session, f"{client} asks", told))
            for sender in range(SENDERS):
                clients.create_task(books.send_until_told(session, f"{client} sends {sender}", told))
        await books.under_load.wait()
        await server.drain()
        assert server.counters["drains_cut_short"] == 0
        assert books.ended == set(books.sent), "a session was closed before its channels had ended"
    assert books.received == books.sent


@pytest.mark.parametrize("timeout", [-1.0, math.nan])
async def test_a_time_that_is_none_is_refused_and_nothing_has_happened(timeout: float) -> None:
    async with serve(echo, "127.0.0.1", 0) as server, connect(server.addresses[0]) as session:
        for end in (server.drain, session.close):
            with pytest.raises(ValueError, match=f"timeout is {timeout:g} s, not 0 or more"):
                await end(timeout=timeout)
        assert server.sockets
        assert await session.request("echo", b"going on") == b"going on"


async def test_a_drain_that_is_cut_short_tells_every_sender() -> None:
    books = Books()
    server = await serve(books.handler, "127.0.0.1", 0, config=NARROW)
    async with asyncio.TaskGroup() as clients:
        for client in range(CLIENTS):
            session = await connect(server.addresses[0], config=NARROW)
            for sender in range(SENDERS):
                clients.create_task(books.send_until_cut(session, f"{client} sends {sender}"))
        await books.under_load.wait()
        await server.drain(timeout=0)
    assert server.counters["drains_cut_short"] == CLIENTS
    assert not books.ended, "a handler took the cut for an end"
    assert books.received <= books.sent


PROGRAM = """
{first}
import json
import math
import muxtcp


async def echo(channel):
    async for message in channel:
        await channel.send(message)


async def main():
    config = muxtcp.Config(close_timeout=0.1)
    async with muxtcp.serve(
        echo, "127.0.0.1", 0, signals=True, drain_timeout={drain_timeout}, config=config
    ) as server:
        print(server.addresses[0], flush=True)
        await server.wait_closed()
        print(json.dumps(server.counters))


muxtcp.run(main())
"""


@pytest.fixture(params=["import uvloop", "import sys; sys.modules['uvloop'] = None"], ids=["on uvloop", "on asyncio"])
def first(request: pytest.FixtureRequest) -> str:
    """The program's first line, which chooses its loop."""
    if request.param == "import uvloop":
        pytest.importorskip("uvloop")
    return request.param


class Process:
    """A running PROGRAM."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self.process, self.address = process, address

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> dict[str, int]:
        """Wait until it ends by itself, in good order; its counters."""
        output, errors = await self.process.communicate()
        assert (self.process.returncode, errors) == (0, b"")
        return json.loads(output)


@asynccontextmanager
async def program(first: str, drain_timeout: float) -> AsyncIterator[Process]:
    text = PROGRAM.format(first=first, drain_timeout=drain_timeout)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-W", "error", "-c", text, stdout=pipe, stderr=pipe)
    try:
        assert process.stdout is not None
        yield Process(process, (await process.stdout.readline()).decode().strip())
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def served(session: Session) -> Channel:
    """A channel whose handler has answered."""
    channel = await session.open("echo")
    await channel.send(b"before")
    assert await channel.recv() == b"before"
    return channel


async def going_away(session: Session) -> None:
    """Wait until the peer has said that it takes no new channels."""
    with pytest.raises(SessionClosed, match="SHUTDOWN"):
        while True:
            with suppress(ChannelRefused):
                await session.request("echo", b"still there?")


async def test_sigterm_lets_channels_finish_and_ends_the_process(first: str) -> None:
    async with program(first, drain_timeout=60.0) as server, connect(server.address) as session:
        channel = await served(session)
        server.terminate()
        await going_away(session)
        with pytest.raises(ConnectionRefusedError):
            await connect(server.address)
        for number in range(1_000):
            await channel.send(number.to_bytes(8))
            assert await channel.recv() == number.to_bytes(8)
        await channel.close()
        assert "drains_cut_short" not in await server.ended()
        await session.wait_closed()
        assert isinstance(session.exception, SessionClosed)
        assert session.exception.code is Code.SHUTDOWN
        assert session.exception.remote


async def test_sigterm_ends_the_process_also_when_a_client_holds_on(first: str) -> None:
    async with program(first, drain_timeout=0.1) as server, connect(server.address) as session:
        channel = await served(session)
        server.terminate()
        with pytest.raises(SessionClosed, match="SHUTDOWN"):
            await channel.recv()
        assert (await server.ended())["drains_cut_short"] == 1


async def test_sigterm_under_load_loses_nothing(first: str) -> None:
    """The signal comes while four channels are full in both directions."""
    count = 5_000
    async with program(first, drain_timeout=60.0) as server, connect(server.address) as session:

        async def talk() -> list[bytes]:
            async with session.open("echo") as channel, asyncio.TaskGroup() as group:
                await channel.send(b"served")  # what is still on its way when the signal comes is refused, rightly
                assert await channel.recv() == b"served"
                await all_served.wait()
                group.create_task(channel.send_many([number.to_bytes(8) for number in range(count)]))
                return [await channel.recv() for _ in range(count)]

        all_served = asyncio.Barrier(5)
        talks = [asyncio.create_task(talk()) for _ in range(4)]
        await all_served.wait()
        await session.ping()
        server.terminate()
        assert await asyncio.gather(*talks) == [[number.to_bytes(8) for number in range(count)]] * 4
        assert "drains_cut_short" not in await server.ended()


async def test_a_second_sigterm_ends_at_once(first: str) -> None:
    async with program(first, drain_timeout=60.0) as server, connect(server.address) as session:
        channel = await served(session)
        server.terminate()
        await going_away(session)
        server.terminate()
        with pytest.raises(SessionClosed, match="a second signal arrived"):
            await channel.recv()
        await server.ended()
