"""The end of a session with many channels: true at once, told by portions, over when wait_closed() returns."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from support.basics import until
from support.turns import Clock

from muxtcp import Channel, ChannelListener, SessionClosed, SessionLost
from muxtcp.testing import Pair, pair

MANY = 200  # channels
PORTION = 64  # that are told, or whose handlers are cancelled, in a turn


async def open_many(link: Pair) -> list[Channel]:
    channels = [await link.client.open("one of many") for _ in range(MANY)]
    await link.client.ping()
    await link.client.ping()  # the server takes few channels in a turn
    return channels


async def waits_for_a_message(channel: Channel) -> None:
    await channel.recv()


async def waits_for_nothing(channel: Channel) -> None:
    await asyncio.get_running_loop().create_future()


async def outlives_its_channel(channel: Channel) -> None:
    await channel.close()
    await channel.session.wait_closed()


async def is_about_to_send(channel: Channel) -> None:
    while True:
        await asyncio.sleep(0)
        await channel.send(b"")


@pytest.mark.parametrize("serve", [waits_for_a_message, waits_for_nothing, outlives_its_channel, is_about_to_send])
@pytest.mark.parametrize("how", ["abort", "close", "loss"])
async def test_handlers_are_cancelled_by_portions(how: str, serve: Callable[[Channel], Awaitable[None]]) -> None:
    began = 0
    ended: Counter[int] = Counter()  # by turn

    async def handler(channel: Channel) -> None:
        nonlocal began
        began += 1
        try:
            await serve(channel)
        finally:
            ended[clock.turns] += 1

    with Clock() as clock:
        async with pair(handler) as link:
            await open_many(link)
            await until(lambda: began == MANY)
            match how:
                case "abort":
                    link.client.abort()
                case "close":
                    await link.client.close(timeout=0)
                case "loss":
                    link.link.cut()
            await link.server.wait_closed()
            assert ended.total() == MANY
            if serve is not is_about_to_send:  # else the channels say it to each as soon as it sends
                assert max(ended.values()) <= PORTION


async def test_those_who_wait_for_channels_are_told_by_portions() -> None:
    told: Counter[int] = Counter()

    async def receive(channel: Channel) -> None:
        with pytest.raises(SessionLost):
            await channel.recv()
        told[clock.turns] += 1

    with Clock() as clock:
        async with pair(waits_for_nothing) as link:
            channels = await open_many(link)
            async with asyncio.TaskGroup() as group:
                for channel in channels:
                    group.create_task(receive(channel))
                await link.client.ping()
                link.link.cut()
                await until(lambda: link.client.closed)
                assert all(channel.closed for channel in channels)
                with pytest.raises(SessionLost):
                    await channels[-1].send(b"to nobody")
            assert told.total() == MANY
            assert max(told.values()) <= PORTION


class Told(ChannelListener):
    """Counts its calls by turn."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.calls: list[int] = []

    def on_closed(self, channel: Channel, exc: Exception | None) -> None:
        assert isinstance(exc, SessionClosed)
        self.calls.append(self.clock.turns)


async def test_each_listener_is_told_once_and_before_the_session_is_gone() -> None:
    with Clock() as clock:
        async with pair(waits_for_nothing) as link:
            channels = await open_many(link)
            listeners = [Told(clock) for _ in channels]
            for channel, listener in zip(channels, listeners, strict=True):
                channel.listen(listener)
            link.server.abort()
            await until(lambda: link.client.closed)
            assert not all(listener.calls for listener in listeners)
            late = Told(clock)
            channels[-1].listen(late)  # it is told now, and the one whose place it takes never
            assert late.calls
            await channels[-2].close()
            await link.client.wait_closed()
            assert [len(listener.calls) for listener in listeners] == [1] * (MANY - 1) + [0]
            assert len(late.calls) == 1
            assert max(Counter(turn for listener in listeners for turn in listener.calls).values()) <= PORTION


async def test_who_ends_the_session_is_not_cancelled_with_the_others() -> None:
    ended: list[str] = []
    began = 0

    async def handler(channel: Channel) -> None:
        nonlocal began
        began += 1
        if channel.name == "last":
            channel.session.abort()
            await channel.session.wait_closed()
            ended.append("last")
        else:
            try:
                await waits_for_nothing(channel)
            finally:
                ended.append("other")

    async with pair(handler) as link:
        await open_many(link)
        await until(lambda: began == MANY)
        await link.client.open("last")
        await link.server.wait_closed()
        assert ended == ["other"] * MANY + ["last"]
