"""What is left when channels and sessions have ended: nothing, also with the garbage collector off."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from support.basics import echo
from support.leftovers import allocated, descriptors, objects, timers

from muxtcp import Channel, Code, HandshakeError, Session, connect, constant, serve

WARM_UP = 2_000  # channels after which tables, free lists and caches have their size
ROUNDS = 20_000  # channels that are then opened and closed
DEBUG_ROUNDS = 5_000  # in asyncio's debug mode, which is ten times slower: a traceback for each handle and task
STRAY_OBJECTS = 200  # that loops and caches may waver by (2 to 40 were seen): 0.01 for each channel
STRAY_BYTES = 50_000  # the same of malloc() (0 were seen); a leak of 64 bytes at each channel is many times that
TOMBSTONE = 6  # objects that a server keeps of a resumable session that has ended, for ten minutes
SESSIONS = 100  # opened and closed, twice
TURNS = 20  # of the loop, in which closed transports end


@contextmanager
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def settled() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def open_and_close(session: Session, times: int) -> None:
    for _ in range(times):
        async with session.open("echo") as channel:
            await channel.send(b"x")
            assert await channel.recv() == b"x"


async def test_channels_leave_nothing_behind(loop_name: str) -> None:
    async with serve(echo, "127.0.0.1", 0) as server, connect(server.addresses[0]) as session:
        with collector_off():
            await open_and_close(session, WARM_UP)
            files, tasks, waiting = descriptors(), len(asyncio.all_tasks()), len(timers())
            blocks, size = objects(), allocated()
            await open_and_close(session, DEBUG_ROUNDS if loop_name == "asyncio-debug" else ROUNDS)
            assert objects() - blocks < STRAY_OBJECTS
            assert allocated() - size < STRAY_BYTES
            assert len(timers()) == waiting
        assert descriptors() == files
        await settled()
        assert len(asyncio.all_tasks()) <= tasks
        assert session.channels == []


async def test_sessions_go_without_the_collector() -> None:
    gone: list[weakref.ref[Session]] = []

    async def remember(session: Session) -> None:
        gone.append(weakref.ref(session))

    async with serve(echo, "127.0.0.1", 0, on_session=remember) as server:
        waiting = timers()
        with collector_off():
            for _ in range(3):
                async with connect(server.addresses[0]) as session:
                    gone.append(weakref.ref(session))
                    await open_and_close(session, 1)
                del session
                await settled()
            while server.sessions:
                await asyncio.sleep(0)
            await settled()
            left = [ref() for ref in gone if ref() is not None]
            assert not left, [gc.get_referrers(session) for session in left]
            assert timers() == waiting


async def refused(address: str) -> None:
    with pytest.raises(HandshakeError):
        await connect(address, meta={"refuse": "me"})


async def cancelled(address: str) -> None:
    """A session with sends and a receive that wait and are given up, and a channel that is reset."""
    async with connect(address) as session:
        channel = await session.open("stuck")
        waiting = [asyncio.create_task(channel.send(bytes(60_000))) for _ in range(20)]
        waiting.append(asyncio.create_task(channel.recv()))
        await session.ping()
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await channel.reset()


async def resumed(address: str) -> None:
    async with connect(address, resume=10.0, backoff=constant(0.0)) as session, session.open("echo") as channel:
        session.transport.abort()
        await channel.send(b"x")
        assert await channel.recv() == b"x"
        assert session.stats()["resumptions"] == 1


async def opened(address: str) -> None:
    async with connect(address) as session:
        await open_and_close(session, 1)


@pytest.mark.parametrize("life", [opened, refused, cancelled, resumed])
async def test_sessions_leave_nothing_behind(life: Callable[[str], Awaitable[None]]) -> None:
    async def handler(channel: Channel) -> None:
        if channel.name == "stuck":
            await channel.session.wait_closed()
        await echo(channel)

    async def admit(session: Session) -> None:
        if session.peer_meta:
            raise HandshakeError(code=Code.FORBIDDEN)

    async def live(times: int) -> None:
        for _ in range(times):
            await life(server.addresses[0])
        while server.sessions:
            await asyncio.sleep(0)
        await settled()

    async with serve(handler, "127.0.0.1", 0, on_session=admit, resume=10.0) as server:
        await live(SESSIONS)
        gc.collect()  # connecting leaves cycles: asyncio's own, and those of exceptions with their tracebacks
        files, waiting, blocks, size = descriptors(), timers(), objects(), allocated()
        await live(SESSIONS)
        gc.collect()
        grown = objects() - blocks, allocated() - size
        remembered = TOMBSTONE * SESSIONS if life is resumed else 0
        assert grown[0] < STRAY_OBJECTS + remembered, grown  # a session is hundreds
        assert grown[1] < STRAY_BYTES, grown
        assert len(timers()) == len(waiting)
        assert descriptors() == files
