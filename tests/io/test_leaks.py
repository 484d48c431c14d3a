"""What is left when channels and sessions have ended: nothing, also with the garbage collector off."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from support.leftovers import allocated, descriptors, objects, timers

from muxtcp import Channel, Session, connect, serve

WARM_UP = 2_000  # channels after which tables, free lists and caches have their size
ROUNDS = 20_000  # channels that are then opened and closed
DEBUG_ROUNDS = 5_000  # in asyncio's debug mode, which is ten times slower: a traceback for each handle and task
STRAY_OBJECTS = 200  # that loops and caches may waver by (2 to 40 were seen): 0.01 for each channel
STRAY_BYTES = 50_000  # the same of malloc() (0 were seen); a leak of 64 bytes at each channel is many times that
TURNS = 20  # of the loop, in which closed transports end


async def echo(channel: Channel) -> None:
    async for message in channel:
        await channel.send(message)


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
