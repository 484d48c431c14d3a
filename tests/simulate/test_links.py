"""Real sessions over links that break at every byte, which a real connector carries on: `pair(resume=...)`."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import pytest

import muxtcp
from muxtcp.testing import Direction, Link, Pair, VirtualClockLoop, pair

DIRECTIONS: list[Direction] = ["to_server", "to_client"]
HANDSHAKE = 350  # bytes each way: more than RESUME, RESUME_OK and RESUME_CONFIRM have
SMALL = muxtcp.Config(max_frame=16_384, channel_window=16_384)


class Result(NamedTuple):
    """What everyone who took part has seen."""

    answers: list[bytes]
    served: list[bytes]
    pushed: list[bytes]
    reset: list[int]


async def converse(p: Pair, seen: Result) -> None:
    """Opens, messages both ways, ends and a reset; about 1,500 bytes in each direction."""
    talk = await p.client.open("talk")
    for size in (0, 1, 90, 300, 1_000):
        await talk.send(bytes([size % 251]) * size)
        seen.answers.append(await talk.recv())
    given_up = await p.client.open("given up")
    await given_up.send(b"never mind")
    seen.answers.append(await given_up.recv())
    await given_up.reset(0x1234, "enough")
    push = await p.server.open("push", mode="w")
    for number in range(5):
        await push.send(b"%d" % number * 30)
    await push.send_eof()
    await talk.send_eof()
    async for message in talk:
        seen.answers.append(message)
    await push.flush()
    while not (seen.reset and seen.pushed[-1:] == [b"end"]):
        await p.client.ping()
    await p.client.ping()  # so that nothing is under way any more when it ends


def handlers(seen: Result) -> tuple[Callable[[muxtcp.Channel], Any], Callable[[muxtcp.Channel], Any]]:
    async def serve(channel: muxtcp.Channel) -> None:
        try:
            async for message in channel:
                seen.served.append(message)
                await channel.send(message[::-1] + b"!")
        except muxtcp.ChannelReset as reset:
            seen.reset.append(reset.code)
        else:
            await channel.send(b"goodbye")

    async def collect(channel: muxtcp.Channel) -> None:
        async for message in channel:
            seen.pushed.append(message)
        seen.pushed.append(b"end")

    return serve, collect


async def over(prepare: Callable[[Pair], object] = lambda p: None, **options: Any) -> tuple[Result, Pair, list[int]]:
    """The conversation over links with these faults; and how many bytes the last of them has carried of it each way."""
    seen = Result([], [], [], [])
    serve, collect = handlers(seen)
    async with pair(serve, collect, config=SMALL, resume=30.0, **options) as p:
        before = [p.link.traffic(direction).delivered for direction in DIRECTIONS]
        prepare(p)
        await converse(p, seen)
        after = [p.link.traffic(direction).delivered for direction in DIRECTIONS]
        return seen, p, [end - start for start, end in zip(before, after, strict=True)]


def on_a_virtual_clock(
    coroutine: Coroutine[Any, Any, tuple[Result, Pair, list[int]]],
) -> tuple[Result, Pair, list[int]]:
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(coroutine)


EXPECTED, _, SIZES = on_a_virtual_clock(over())


def test_the_conversation_has_everything() -> None:
    assert len(EXPECTED.answers) == 7
    assert len(EXPECTED.served) == 6
    assert len(EXPECTED.pushed) == 6
    assert EXPECTED.reset == [0x1234]
    assert min(SIZES) > 1_400


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_break_at_every_byte(direction: Direction) -> None:
    for size in range(1, SIZES[DIRECTIONS.index(direction)]):
        seen, p, _ = on_a_virtual_clock(over(cut_after(size, direction)))
        assert seen == EXPECTED, size
        assert p.client.resumptions == 1, size


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_a_break_at_some_byte_on_every_loop(direction: Direction) -> None:
    for size in range(1, SIZES[DIRECTIONS.index(direction)], 59):
        seen, p, _ = await over(cut_after(size, direction))
        assert seen == EXPECTED, size
        assert p.client.resumptions == 1


def cut_after(size: int, direction: Direction) -> Callable[[Pair], None]:
    return lambda p: p.link.cut_after(size, direction)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_break_at_every_byte_of_the_new_connection(direction: Direction, times: int) -> None:
    """The handshake, and what goes again behind it: the next connection, or the one after that, carries on."""
    for size in range(1, HANDSHAKE + 1):
        links: list[Link] = []

        def new_link(link: Link, links: list[Link] = links, size: int = size) -> None:
            links.append(link)
            if 2 <= len(links) < 2 + times:
                link.cut_after(size, direction)

        seen, _, _ = on_a_virtual_clock(over(cut_after(100, "to_client"), on_link=new_link))
        assert seen == EXPECTED, size
        assert len(links) == 2 + times


def test_the_client_notices_first_and_late_bytes_come_after_the_fence() -> None:
    async def half_broken() -> tuple[Result, Pair, list[int]]:
        links: list[Link] = []

        def new_link(link: Link) -> None:
            links.append(link)

        def prepare(p: Pair) -> None:
            p.link.stall("to_server")
            p.link.half_close("to_client")
            asyncio.get_running_loop().call_later(0.5, links[0].resume)

        return await over(prepare, on_link=new_link)

    seen, p, _ = on_a_virtual_clock(half_broken())
    assert seen == EXPECTED
    assert p.client.resumptions == 1


def test_a_new_connection_that_stays_silent_is_given_up_and_the_next_one_carries_on() -> None:
    links: list[Link] = []

    def new_link(link: Link) -> None:
        links.append(link)
        if len(links) in (2, 3):
            link.stall()

    seen, p, _ = on_a_virtual_clock(over(cut_after(700, "to_client"), on_link=new_link))
    assert seen == EXPECTED
    assert len(links) == 4
    assert 2 * SMALL.handshake_timeout < p.client.gap < 30.0


def test_a_thousand_resumptions_in_a_row() -> None:
    async def many() -> None:
        async with pair(handlers(Result([], [], [], []))[0], resume=30.0) as p:
            channel = await p.client.open("talk")
            for number in range(1_000):
                p.link.cut()
                await channel.send(b"%d" % number)
                assert await channel.recv() == (b"%d" % number)[::-1] + b"!"
            assert p.client.resumptions == p.server.resumptions == 1_000
            assert p.client.stats()["replay_log_bytes"] < 1_000

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(many())
