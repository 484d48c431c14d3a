"""Carried connections outlive the connection that carries them, if they are to; else they are reset, not ended."""

import asyncio
import random
from urllib.parse import urlsplit

import pytest
from support.basics import until
from support.proxy import ProxyProcess
from support.tunnel import HERE, Plug, plug, port_of, target, tunnel

BULK = random.Random(3).randbytes(2_000_000)
CUTS = 3


async def echo(end: Plug) -> None:
    while data := await end.hear():
        await end.say(data)
    end.finish()


class Proxied:
    """A proxy in front of whatever gateway there is."""

    def __init__(self) -> None:
        self.proxy: ProxyProcess

    def via(self, url: str) -> str:
        port = urlsplit(url).port
        assert port is not None
        self.proxy = ProxyProcess(port).__enter__()
        return f"tcp://{HERE}:{self.proxy.port}"

    def __enter__(self) -> "Proxied":
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.__exit__(None, None, None)


@pytest.mark.parametrize("how", ["rst", "fin"])
async def test_with_resume_a_broken_link_is_not_noticed(how: str) -> None:
    with Proxied() as proxied:
        async with target(echo) as place:
            async with tunnel(f"127.0.0.1:0:{place}", allow=[place], via=proxied.via, resume=30.0) as link:
                async with plug(link.port()) as busy, plug(link.port()) as idle:
                    await idle.say(b"before")
                    assert await idle.hear() == b"before"

                    async def say() -> None:
                        for at in range(0, len(BULK), 10_000):
                            await busy.say(BULK[at : at + 10_000])
                        busy.finish()

                    saying = asyncio.create_task(say())
                    heard = b""
                    for cut in range(CUTS):
                        heard += await busy.hear()
                        proxied.proxy.cut(how=how)
                        await until(lambda cut=cut: link.forwarder.link.resumptions > cut)
                    assert heard + await busy.hear_all() == BULK
                    await saying
                    await idle.say(b"after")
                    assert await idle.hear() == b"after"
                assert (link.forwarder.link.sessions, link.forwarder.link.state) == (1, "connected")


async def test_without_resume_a_broken_link_resets_and_the_next_connection_goes_through() -> None:
    with Proxied() as proxied:
        async with target(echo) as place:
            async with tunnel(f"127.0.0.1:0:{place}", allow=[place], via=proxied.via) as link:
                async with plug(link.port()) as end:
                    await end.say(b"1")
                    assert await end.hear() == b"1"
                    proxied.proxy.cut(how="fin")
                    with pytest.raises(ConnectionResetError):
                        await end.hear()
                async with plug(link.port()) as end:
                    await end.say(b"2")
                    assert await end.hear() == b"2"
                assert link.forwarder.link.sessions == 2
                await until(lambda: link.gateway.carrier.open == 1)


async def test_the_gateway_is_asked_to_listen_again_after_a_loss() -> None:
    with Proxied() as proxied:
        async with target(echo) as place:
            options = {"allow": [], "listen": ["127.0.0.1:*"], "remote": [f"127.0.0.1:0:{place}"]}
            async with tunnel(**options, via=proxied.via) as link:  # type: ignore[arg-type]
                await until(lambda: link.forwarder.remote_listening)
                proxied.proxy.cut(how="fin")
                await until(lambda: link.forwarder.link.sessions == 2 and link.forwarder.remote_listening)
                async with plug(port_of(link.forwarder.remote_listening[0])) as end:
                    await end.say(b"again")
                    assert await end.hear() == b"again"
