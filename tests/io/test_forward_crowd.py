"""Many connections through one forwarder at once, half of which are killed: the rest finish, and nothing is left."""

import asyncio
import contextlib
import gc
from collections.abc import Iterator

import pytest
from support.basics import until
from support.leftovers import objects, sockets, timers
from support.tunnel import Plug, Tunnel, plug, target, tunnel

from muxtcp import Channel, Config, MemoryBudget
from muxtcp.forward.local import LocalEnd

PIECE = bytes(range(256)) * 16
STRAY_OBJECTS = 300  # that loops and caches may waver by
TURNS = 20
DEADLINE = 60.0  # seconds
BUDGET = 64 << 20  # bytes, for both ends of the link together


async def echo(end: Plug) -> None:
    while data := await end.hear():
        await end.say(data)
    end.finish()


async def crowd(link: Tunnel, size: int) -> None:
    """So many connections at once; the odd ones are reset when all are open, the others end in good order."""
    all_open = asyncio.Barrier(size)

    async def one(number: int) -> None:
        async with plug(link.port()) as end:
            await end.say(PIECE)
            assert await heard(end, len(PIECE)) == PIECE
            await all_open.wait()
            if number % 2:
                end.reset()
                return
            await end.say(PIECE)
            end.finish()
            assert await end.hear_all() == PIECE

    async with asyncio.TaskGroup() as group:
        for number in range(size):
            group.create_task(one(number))
    await until(lambda: not link.forwarder.carrier.open and not link.gateway.carrier.open)
    [session] = link.gateway.sessions
    await until(lambda: not session.channels)


async def rest(tasks: int) -> None:
    """Until no more tasks than these are left, and the loop has let go of what they have cancelled.

    asyncio keeps up to 100 cancelled timers, in debug mode with their tracebacks: more of them make it clean up.
    """
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    loop = asyncio.get_running_loop()
    for timer in [loop.call_later(DEADLINE, print) for _ in range(200)]:
        timer.cancel()
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def heard(end: Plug, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await end.hear()
    return data


@pytest.mark.parametrize("size", [100, pytest.param(2_000, marks=pytest.mark.slow)])
async def test_a_crowd_half_of_which_is_killed_leaves_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muxtcp.forward.forwarder.PATIENCE", DEADLINE)  # a machine may be slow
    budget = MemoryBudget(BUDGET)
    config = Config(channel_window=16 << 10, memory_limit=16 << 10 << 10, max_channels=2_064, glitch_burst=100_000)
    async with target(echo) as place:
        async with tunnel(f"127.0.0.1:0:{place}", allow=[place], config=config, budget=budget) as link:
            tasks = len(asyncio.all_tasks())
            await crowd(link, size)  # after which tables, free lists and caches have their size
            await rest(tasks)
            gc.collect()
            files, blocks, waiting = sockets(), objects(), len(timers())
            with collector_off():
                await crowd(link, size)
                await until(lambda: not alive())
            await rest(tasks)
            gc.collect()
            assert sockets() == files
            assert objects() - blocks < max(STRAY_OBJECTS, size // 2)  # less than one for each that was killed
            assert len(timers()) == waiting
            assert 0 < budget.used < BUDGET
            row = link.forwarder.traffic[0]
            assert row.failed * 2 == row.opened


def alive() -> list[object]:
    """What was made for single connections, and should be gone with them."""
    return [item for item in gc.get_objects() if type(item) in (LocalEnd, Channel)]


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
