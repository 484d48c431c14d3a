"""Connections that break under load, through the proxy: nothing is lost, doubled or reordered.

`python tests/adversity/breaks.py --breaks 1000` is the same by hand, with the time that the breaks took.
"""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from adversity.breaks import WAYS, run
from support.basics import echo
from support.proxy import ProxyProcess

import muxtcp
from muxtcp import Config, SessionLost, State, StateInfo, connect, serve

SEED = 7


async def test_breaks_of_all_kinds_at_random() -> None:
    load, breaker = await run(25, seed=SEED)
    assert len(breaker.gaps) == 25
    assert load.total > 0


@pytest.mark.parametrize("way", WAYS)
async def test_each_way_to_break_a_connection(way: str) -> None:
    _, breaker = await run(2, seed=SEED, channels=1, ways=[way])
    assert breaker.done[way] == 2


class Told:
    """What a connector told, and a way to wait for it."""

    def __init__(self) -> None:
        self._states: asyncio.Queue[State] = asyncio.Queue()

    def __call__(self, state: State, info: StateInfo) -> None:
        self._states.put_nowait(state)

    async def until(self, wanted: State) -> None:
        while await self._states.get() is not wanted:
            pass


async def test_the_granted_time_is_used_to_its_end() -> None:
    """The backoff would rather wait for longer than the session is kept."""
    failed = asyncio.Event()

    def delays() -> Iterator[float]:
        failed.set()
        yield from itertools.repeat(1_000.0)

    async with serve(echo, "127.0.0.1", 0) as server:
        with ProxyProcess(server.sockets[0].getsockname()[1]) as proxy:
            async with (
                connect("127.0.0.1", proxy.port, resume=2.0, backoff=delays) as session,
                session.open("echo") as channel,
            ):
                proxy.refuse()
                proxy.cut()
                await failed.wait()  # the delay after an attempt is asked for
                proxy.accept()
                await channel.send(b"kept")
                assert await channel.recv() == b"kept"
                assert session.resumptions == 1


async def test_who_waits_for_a_connection_hears_that_none_will_come() -> None:
    told = Told()
    async with serve(echo, "127.0.0.1", 0) as server:
        with ProxyProcess(server.sockets[0].getsockname()[1]) as proxy:
            connector = connect("127.0.0.1", proxy.port, resume=0.2, on_state=told)
            async with connector as session, session.open("echo") as channel:
                proxy.refuse()
                proxy.cut()
                await told.until(State.RECONNECTING)
                with pytest.raises(SessionLost):
                    await channel.send(b"nobody hears it")
                with pytest.raises(SessionLost):  # and does not take it for the queue
                    await channel.send(b"nor this")
                with pytest.raises(SessionLost):
                    await session.open("another")


class Line(asyncio.Transport):
    """A transport that only counts."""

    written = 0

    def write(self, data: Any) -> None:
        self.written += len(data)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def abort(self) -> None:
        pass


async def test_nothing_is_written_while_a_transport_says_that_it_takes_more() -> None:
    """A write that fails inside `resume_writing` makes asyncio end its transport twice."""
    session = muxtcp.Session(client=True, config=Config(keepalive=None))
    protocol, line = session.protocol(), Line()
    protocol.connection_made(line)
    protocol.pause_writing()
    session.engine.ping(0.0)
    written = line.written
    protocol.resume_writing()
    assert line.written == written
