"""What a session itself does for its user: opening, requests, errors."""

import asyncio
import traceback

import pytest

from muxtcp import Channel, SessionClosed
from muxtcp.testing import pair


async def test_a_request_may_name_another_deadline_than_its_own() -> None:
    arrived: asyncio.Queue[Channel] = asyncio.Queue()
    async with pair(arrived.put_nowait) as p:
        asking = asyncio.create_task(p.client.request("slow", b"?", timeout=1_000.0, deadline=10.0))
        theirs = await arrived.get()
        assert theirs.deadline is not None
        assert theirs.deadline - asyncio.get_running_loop().time() < 11.0
        await theirs.send(b"!")
        assert await asking == b"!"


async def test_opening_may_be_a_task() -> None:
    arrived: asyncio.Queue[Channel] = asyncio.Queue()
    async with pair(arrived.put_nowait) as p:
        opening = asyncio.create_task(p.client.open("it"))
        assert (await opening).name == (await arrived.get()).name == "it"
        with pytest.raises(TypeError, match="meta maps str to str"):
            await asyncio.create_task(p.client.open("it", meta={"a": 1}))  # type: ignore[dict-item]
        p.client.open("never awaited").close()


async def test_who_has_to_wait_for_a_turn_opens_nothing_on_a_session_that_ended_meanwhile() -> None:
    async def use() -> None:
        channel = await p.client.open("it")
        await channel.recv()

    async with pair(lambda _: None) as p:
        crowd = [asyncio.create_task(use()) for _ in range(500)]  # more than one turn has a share for
        # Behind the first step of all, and before the second of those who wait.
        asyncio.get_running_loop().call_soon(p.client.abort)
        done, stuck = await asyncio.wait(crowd, timeout=10.0)
        assert not stuck
        assert {type(task.exception()) for task in done} == {SessionClosed}


async def test_an_error_that_is_raised_again_has_only_its_own_traceback() -> None:
    def depth(error: BaseException) -> int:
        return sum(1 for _ in traceback.walk_tb(error.__traceback__))

    async with pair() as p:
        await p.client.close()
        for attempt in (lambda: p.client.open("late"), p.client.ping):
            depths = set()
            for _ in range(3):
                with pytest.raises(SessionClosed) as caught:
                    await attempt()
                depths.add(depth(caught.value))
            assert len(depths) == 1
