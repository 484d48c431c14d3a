"""What a receiver is told at the end, when more than one thing has happened."""

import asyncio

import pytest

from muxtcp import Channel, ChannelClosed, ChannelReset, CodecError, EndOfStream, codecs
from muxtcp.testing import pair


async def test_an_end_stays_an_end_when_a_reset_follows() -> None:
    async def handler(channel: Channel) -> None:
        await channel.send(b"all")
        # It returns with unread input: our end, then a reset that says that nobody reads.

    async with pair(handler) as link:
        channel = await link.client.open("short")
        await channel.send(bytes(100))
        assert await channel.recv() == b"all"
        with pytest.raises(EndOfStream):
            await channel.recv()
        while not channel.closed:  # the reset is on its way
            await link.client.ping()
        with pytest.raises(ChannelReset):
            await channel.send(b"more")
        with pytest.raises(EndOfStream):
            await channel.recv()


async def test_a_channel_that_this_side_closed_says_so() -> None:
    async with pair() as link:
        channel = await link.client.open("short")
        await channel.close()
        with pytest.raises(ChannelClosed):
            await channel.send(b"more")
        with pytest.raises(ChannelClosed):
            await channel.recv()


async def test_a_batch_ends_before_the_message_that_its_codec_refuses() -> None:
    async def handler(channel: Channel) -> None:
        await channel.send_many([b"1", b"2", b"not json", b"3"])
        await channel.send_eof()
        await channel.recv()

    async with pair(handler) as link:
        channel = await link.client.open("numbers", codec=codecs.json(int))
        await link.client.ping()  # all four are here
        batches = channel.batches()
        assert await anext(batches) == [1, 2]
        with pytest.raises(CodecError, match="malformed"):
            await anext(batches)
        assert await anext(batches) == [3]
        with pytest.raises(StopAsyncIteration):
            await anext(batches)


async def test_what_leaves_a_codec_inside_a_batch_takes_no_message_along() -> None:
    class Interrupted:
        times = 0

        def encode(self, message: bytes) -> bytes:
            return message

        def decode(self, data: bytes) -> bytes:
            if data == b"2" and not self.times:
                self.times += 1
                raise asyncio.CancelledError  # as KeyboardInterrupt, which would end the test
            return data

    async def handler(channel: Channel) -> None:
        await channel.send_many([b"1", b"2", b"3"])
        await channel.recv()

    async with pair(handler) as link:
        channel = await link.client.open("", codec=Interrupted())
        await link.client.ping()  # all three are here
        with pytest.raises(asyncio.CancelledError):
            await anext(channel.batches())
        assert await anext(channel.batches()) == [b"1", b"2", b"3"]


async def test_a_codec_may_give_its_channel_up_inside_a_batch() -> None:
    class GivesUp:
        channel: Channel

        def encode(self, message: bytes) -> bytes:
            return message

        def decode(self, data: bytes) -> bytes:
            if data == b"2":
                with pytest.raises(StopIteration):
                    self.channel.reset().send(None)
            return data

    async def handler(channel: Channel) -> None:
        await channel.send_many([b"1", b"2", b"3"])
        await channel.recv()

    async with pair(handler) as link:
        codec = GivesUp()
        codec.channel = await link.client.open("", codec=codec)
        await link.client.ping()  # all three are here
        batches = codec.channel.batches()
        assert await anext(batches) == [b"1", b"2"]
        with pytest.raises(ChannelReset):
            await anext(batches)


async def test_what_a_channel_makes_is_not_made_by_hand() -> None:
    async with pair(None) as link:
        channel = await link.client.open("")
        for made in (channel.recv(), channel.batches(), channel):
            with pytest.raises(TypeError, match="made by|come from"):
                type(made)()
