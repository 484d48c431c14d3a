"""What send() and recv() return: awaitables that end without an exception being made for it, where that can be seen."""

from typing import Any

import pytest

from muxtcp import Channel
from muxtcp.testing import pair

THINGS = {"a tuple": (1, 2), "an exception": KeyError("kept"), "None": None, "a StopIteration": StopIteration(3)}


class Thing:
    """Decodes every message to the same thing."""

    def __init__(self, thing: object) -> None:
        self.thing = thing

    def encode(self, message: object) -> bytes:
        return b""

    def decode(self, message: bytes) -> object:
        return self.thing


async def echo(channel: Channel) -> None:
    async for message in channel:
        await channel.send(message)


@pytest.mark.parametrize("thing", THINGS.values(), ids=THINGS)
async def test_whatever_a_message_is_comes_out_whole(thing: object) -> None:
    async with pair(echo, codec=Thing(thing)) as p:
        channel = await p.client.open("echo")
        await channel.send("x")
        await channel.send("x")
        assert await channel.recv() is thing
        assert await anext(aiter(channel)) is thing


def stop(awaitable: Any) -> StopIteration:
    """What a done awaitable ends with, for one who steps it by hand."""
    with pytest.raises(StopIteration) as caught:
        next(awaitable)
    return caught.value


async def test_an_end_that_was_caught_and_kept_is_not_used_again() -> None:
    async with pair(echo) as p:
        channel = await p.client.open("echo")
        first, second = stop(channel.send(b"x")), stop(channel.send(b"y"))
        assert first is not second
        assert first.value is second.value is None
        await channel.send(b"z")
        assert [await channel.recv() for _ in range(3)] == [b"x", b"y", b"z"]


async def test_the_end_of_recv_carries_the_message() -> None:
    async with pair(echo) as p:
        channel = await p.client.open("echo")
        await channel.send(b"x")
        await channel.send(b"y")
        assert await channel.recv() == b"x"
        while not channel.stats().unread:
            await p.client.ping()
        assert stop(channel.recv()).value == b"y"
