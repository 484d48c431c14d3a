"""Two sessions over the in-memory link, and the guide's examples."""

import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from support.basics import echo

import muxtcp
from muxtcp.testing import Link, pair


@pytest.mark.parametrize("chunk", [None, 1, "random"])
async def test_pair_joins_two_sessions(chunk: Any) -> None:
    async with pair(echo, client_handler=echo, chunk=chunk, seed=3) as p:
        assert (p.client.is_client, p.server.is_client) == (True, False)
        assert await p.client.request("from the client", b"x" * 3_000) == b"x" * 3_000
        assert await p.server.request("from the server", b"hello") == b"hello"
        traffic = p.link.traffic("to_server")
        assert traffic.written == traffic.delivered + traffic.waiting > 3_000


async def test_pair_has_a_config_and_a_codec_for_each_side() -> None:
    pytest.importorskip("msgspec", reason="the json codec needs msgspec")
    small = muxtcp.Config(max_message=2_048)
    async with pair(echo, config=small, client_config=muxtcp.Config(), codec="json") as p:
        assert await p.client.request("echo", {"a": [1, 2]}) == {"a": [1, 2]}
        with pytest.raises(muxtcp.MessageTooLarge) as refused:
            await p.client.request("echo", "x" * 4_096)
        assert refused.value.limit == 2_048


async def test_pair_ends_without_waiting_for_handlers_or_a_silent_network() -> None:
    async def never(channel: muxtcp.Channel) -> None:
        await asyncio.Event().wait()

    async with pair(never) as p:
        await p.client.open("waits")
        p.link.stall()
    assert p.client.closed
    assert p.server.closed


async def test_a_cut_loses_both_sessions() -> None:
    async with pair(echo) as p:
        channel = await p.client.open("echo")
        p.link.cut()
        with pytest.raises(muxtcp.SessionLost):
            await channel.recv()
        await p.client.wait_closed()
        await p.server.wait_closed()
        assert isinstance(p.client.exception, muxtcp.SessionLost)
        assert isinstance(p.server.exception, muxtcp.SessionLost)


async def test_a_cut_at_any_byte_is_a_loss_and_never_an_end() -> None:
    for size in range(1, 40):
        async with pair(echo) as p:
            p.link.cut_after(size, "to_client")
            with pytest.raises(muxtcp.SessionLost):
                await p.client.request("echo", b"x" * 100)
            assert p.link.traffic("to_client").delivered > size  # the handshake came before


async def test_with_resume_a_cut_is_survived_over_a_new_link() -> None:
    links: list[Link] = []
    async with pair(echo, resume=30.0, on_link=links.append) as p:
        client, server = p.client, p.server
        channel = await p.client.open("echo")
        for number in range(3):
            await channel.send(b"%d" % number)
            p.link.cut()
            assert await channel.recv() == b"%d" % number
        assert (p.client, p.server) == (client, server)
        assert client.resumptions == server.resumptions == 3
        assert len(links) == 4
        assert p.link is links[-1]


async def test_a_pair_may_end_while_it_has_no_link() -> None:
    def silent(link: Link) -> None:
        links.append(link)
        if len(links) > 1:
            link.stall()

    links: list[Link] = []
    async with pair(echo, resume=30.0, on_link=silent) as p:
        channel = await p.client.open("echo")
        await channel.send(b"hello")
        p.link.cut()
        while len(links) == 1:
            await asyncio.sleep(0)
    assert p.client.closed
    assert p.server.closed


async def test_a_pair_resumes_for_at_most_as_long_as_a_server_grants() -> None:
    with pytest.raises(ValueError, match="resume is 121 s, not from 0 to 120"):
        async with pair(echo, resume=121.0):
            pass


def test_the_examples_of_the_guide_run() -> None:
    guide = (Path(__file__).parents[2] / "docs/testing.md").read_text()
    names: dict[str, Any] = {}
    exec("\n".join(re.findall(r"^```python\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)), names)
    examples = {name: example for name, example in names.items() if name.startswith("test_")}
    assert len(examples) == 6
    for example in examples.values():
        if inspect.iscoroutinefunction(example):
            asyncio.run(example())
        else:
            example()
