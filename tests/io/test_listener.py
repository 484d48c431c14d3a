"""What a listener may count on: on_closed() is the last call, and what it raises stays its own."""

import asyncio
import logging

import pytest

from muxtcp import Channel, ChannelListener, ChannelReset, Code, Config
from muxtcp.testing import Pair, pair


class Notes(ChannelListener):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_message(self, channel: Channel, view: memoryview) -> None:
        self.heard.append(bytes(view).decode())

    def on_eof(self, channel: Channel) -> None:
        self.heard.append("eof")

    def on_closed(self, channel: Channel, exc: Exception | None) -> None:
        self.heard.append("closed")


class Echo(ChannelListener):
    def on_message(self, channel: Channel, view: memoryview) -> None:
        assert channel.send_nowait(bytes(view))


async def three(channel: Channel) -> None:
    await channel.send_many([b"1", b"2", b"3"])
    await channel.send_eof()
    await asyncio.get_running_loop().create_future()


async def unread(peers: Pair, count: int = 3) -> Channel:
    """A channel on which so many messages wait to be received, and whatever came with them."""
    channel = await peers.client.open("")
    while channel.stats().unread < count:
        await asyncio.sleep(0)
    return channel


def at_once(awaitable: object) -> None:
    """Run what never waits, such as close() and reset()."""
    with pytest.raises(StopIteration):
        awaitable.send(None)  # type: ignore[attr-defined]


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_listener_that_ends_the_channel_hears_nothing_after_that(end: str) -> None:
    class Ends(Notes):
        def on_message(self, channel: Channel, view: memoryview) -> None:
            super().on_message(channel, view)
            if view == b"2":
                at_once(getattr(channel, end)())

    notes = Ends()
    async with pair(three) as peers:
        (await unread(peers)).listen(notes)
    assert notes.heard == ["1", "2", "closed"]


@pytest.mark.parametrize(("end", "exc"), [("close", None), ("reset", ChannelReset)])
async def test_a_listener_that_comes_after_the_end_is_told_of_it_at_once(end: str, exc: type | None) -> None:
    """It may have been ended by somebody else between open() and listen(), as by `session.close()`."""
    told: list[object] = []

    class Late(Notes):
        def on_closed(self, channel: Channel, exc: Exception | None) -> None:
            told.append(exc and type(exc))

    notes = Late()
    async with pair(three) as peers:
        channel = await unread(peers)
        await getattr(channel, end)()
        channel.listen(notes)
        assert told == [exc]
    assert (notes.heard, told) == (["eof"], [exc])


async def test_a_listener_may_hand_the_channel_on() -> None:
    class HandsOn(Notes):
        def on_message(self, channel: Channel, view: memoryview) -> None:
            super().on_message(channel, view)
            channel.listen(second)

    first, second = HandsOn(), Notes()
    async with pair(three) as peers:
        (await unread(peers)).listen(first)
        assert first.heard == ["1"]
        assert second.heard == ["2", "3", "eof"]
    assert first.heard == ["1"]
    assert second.heard == ["2", "3", "eof", "closed"]


async def test_what_a_listener_does_not_take_is_received_in_another_way() -> None:
    """It raises at the first message: that one is gone with its credit, the rest is here."""

    class Fails(ChannelListener):
        def on_message(self, channel: Channel, view: memoryview) -> None:
            raise ZeroDivisionError("as planned")

    async def large(channel: Channel) -> None:
        for _ in range(10):
            await channel.send(bytes(1_000))

    async with pair(large, config=Config(max_message=1_024, channel_window=1_088)) as peers:
        channel = await unread(peers, 1)
        with pytest.raises(ZeroDivisionError):
            channel.listen(Fails())
        assert [len(message) async for message in channel] == [1_000] * 9


@pytest.mark.parametrize("times", ["once", "twice"])
async def test_a_listener_that_raises_resets_its_channel_and_nothing_else(
    times: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Fails(ChannelListener):
        def on_message(self, channel: Channel, view: memoryview) -> None:
            raise ZeroDivisionError("as planned")

        def on_closed(self, channel: Channel, exc: Exception | None) -> None:
            if times == "twice":
                raise ZeroDivisionError("as planned")

    def handler(channel: Channel) -> None:
        channel.listen(Fails() if channel.name == "broken" else Echo())

    async with pair(handler) as peers:
        broken, whole = await peers.client.open("broken"), await peers.client.open("whole")
        with caplog.at_level(logging.CRITICAL, "muxtcp"):
            await broken.send(b"?")
            with pytest.raises(ChannelReset) as caught:
                await broken.recv()
        assert caught.value.code is Code.INTERNAL
        await whole.send(b"on")
        assert await whole.recv() == b"on"


async def test_a_view_is_valid_during_the_call_only() -> None:
    class Keeper(Notes):
        def on_message(self, channel: Channel, view: memoryview) -> None:
            self.view = view

    keeper = Keeper()
    async with pair(three) as peers:
        (await unread(peers)).listen(keeper)
    with pytest.raises(ValueError, match="released"):
        bytes(keeper.view)


async def test_a_paused_listener_leaves_messages_and_the_end_in_the_channel() -> None:
    notes = Notes()
    async with pair(three) as peers:
        channel = await peers.client.open("")
        channel.listen(notes, paused=True)
        while channel.stats().unread < 3:
            await asyncio.sleep(0)
        assert channel.stall is not None
        assert channel.stall.reason == "reader_idle"
        assert notes.heard == []
        channel.listen(notes)
        assert notes.heard == ["1", "2", "3", "eof"]


async def test_a_listener_pauses_itself_and_its_peer_waits() -> None:
    """What is left in the channel keeps its credit: the peer sends no more than that."""

    class OneAtATime(Notes):
        def on_message(self, channel: Channel, view: memoryview) -> None:
            super().on_message(channel, view)
            channel.listen(self, paused=True)

    async def flood(channel: Channel) -> None:
        for n in range(10):
            await channel.send(b"%d" % n * 1_000)

    notes = OneAtATime()
    async with pair(flood, config=Config(max_message=1_024, channel_window=2 * 1_064)) as peers:
        channel = await peers.client.open("")
        channel.listen(notes)
        while not notes.heard:
            await asyncio.sleep(0)
        for _ in range(3):
            await peers.client.ping()
        assert len(notes.heard) == 1
        assert channel.stats().unread <= 4  # the window may have grown once
        while len(notes.heard) < 11:
            channel.listen(notes)
            await asyncio.sleep(0)
    assert notes.heard == [str(n) * 1_000 for n in range(10)] + ["eof", "closed"]


async def test_a_paused_listener_is_told_of_a_reset_at_once() -> None:
    notes = Notes()
    async with pair(three) as peers:
        channel = await unread(peers)
        channel.listen(notes, paused=True)
        await peers.server.channels[0].reset()
        while not channel.closed:
            await asyncio.sleep(0)
    assert notes.heard == ["closed"]
