"""Handlers: what they may do, and what becomes of their channel and session."""

import pytest

from muxtcp import Channel, ChannelReset, Code
from muxtcp.testing import pair


async def test_a_handler_that_ends_by_the_end_of_its_channel_has_sent_its_replies() -> None:
    async def handler(channel: Channel) -> None:
        while True:
            await channel.send(await channel.recv())

    async with pair(handler) as p:
        channel = await p.client.open("echo")
        await channel.send_many([bytes(10_000)] * 10)
        await channel.send_eof()
        assert [message async for message in channel] == [bytes(10_000)] * 10


@pytest.mark.parametrize("upstream_ends", ["reset", "eof"])
async def test_what_fails_upstream_is_not_taken_for_the_end_of_the_handlers_own_channel(
    upstream_ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Both channels are called alike, and are number 1 of their sessions."""

    async def backend(channel: Channel) -> None:
        await channel.recv()
        if upstream_ends == "reset":
            await channel.reset(0x1001, "the backend says no")

    async with pair(backend) as upstream:

        async def proxy(channel: Channel) -> None:
            await channel.send(await upstream.client.request("work", await channel.recv()))

        async with pair(proxy) as p:
            with pytest.raises(ChannelReset) as caught:
                await p.client.request("work", b"1")
            assert caught.value.code is Code.INTERNAL
    assert "the handler of channel 1 ('work') failed" in caplog.text
