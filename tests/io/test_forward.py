"""Connections through a forwarder and a gateway: what one side does is what the other sees."""

import asyncio
import random
import socket
from pathlib import Path

import pytest
from support.basics import until
from support.tunnel import HERE, Plug, plug, port_of, target, tunnel

import muxtcp
from muxtcp.forward import AllowList, Endpoint, Forwarder, Forwarding, ListenRefused

TURNS = 300  # of the loop, in which what is on its way within this process arrives
BULK = random.Random(7).randbytes(3_000_000)


async def echo(end: Plug) -> None:
    while data := await end.hear():
        await end.say(data)
    end.finish()


async def answer_at_the_end(end: Plug) -> None:
    heard = await end.hear_all()
    await end.say(b"%d bytes" % len(heard))
    end.finish()


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def closed_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as sock:
        sock.bind((HERE, 0))
        return int(sock.getsockname()[1])


async def test_bytes_arrive_in_both_directions_at_once() -> None:
    async with target(echo) as place, tunnel(f"127.0.0.1:0:{place}", allow=[place]) as link:
        async with plug(link.port()) as end:

            async def say() -> None:
                await end.say(BULK)
                end.finish()

            saying = asyncio.create_task(say())
            assert await end.hear_all() == BULK
            await saying
        await until(lambda: not link.forwarder.carrier.open and not link.gateway.carrier.open)
        [here], [there] = link.forwarder.traffic, link.gateway.traffic
        assert (here.outward, here.inward, here.opened, here.failed) == (len(BULK), len(BULK), 1, 0)
        assert (there.outward, there.inward, there.opened, there.failed) == (len(BULK), len(BULK), 1, 0)


async def test_half_of_a_connection_may_end() -> None:
    async with target(answer_at_the_end) as place, tunnel(f"127.0.0.1:0:{place}", allow=[place]) as link:
        async with plug(link.port()) as end:
            await end.say(b"hello")
            end.finish()
            assert await end.hear_all() == b"5 bytes"


async def test_the_other_half_may_end_first() -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(end: Plug) -> None:
        await end.say(b"that is all")
        end.finish()
        heard.set_result(await end.hear_all())

    async with target(serve) as place, tunnel(f"127.0.0.1:0:{place}", allow=[place]) as link:
        async with plug(link.port()) as end:
            assert await end.hear_all() == b"that is all"
            await end.say(b"go on")
            end.finish()
            assert await heard == b"go on"


@pytest.mark.parametrize("said", [b"", b"early"])
async def test_what_is_said_before_the_link_is_up_arrives(said: bytes) -> None:
    async with target(answer_at_the_end) as place, tunnel(f"127.0.0.1:0:{place}", allow=[place]) as link:
        async with plug(link.port()) as end:
            await end.say(said)
            end.finish()  # the forwarder has had no turn yet to dial
            assert await end.hear_all() == b"%d bytes" % len(said)


@pytest.mark.parametrize("finished", [False, True])
async def test_a_reset_of_the_client_reaches_the_target(finished: bool) -> None:
    seen: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def serve(end: Plug) -> None:
        await end.say(await end.hear())
        if finished:
            end.finish()
        try:
            while True:
                await end.hear()
        except ConnectionResetError as error:
            seen.set_result(error)

    async with target(serve) as place, tunnel(f"127.0.0.1:0:{place}", allow=[place]) as link:
        async with plug(link.port()) as end:
            await end.say(b"x")
            assert await end.hear() == b"x"
            if finished:
                assert await end.hear() == b""
            end.reset()
            assert isinstance(await seen, ConnectionResetError)
        await until(lambda: not link.forwarder.carrier.open and not link.gateway.carrier.open)
        assert (link.forwarder.traffic[0].failed, link.gateway.traffic[0].failed) == (1, 1)


@pytest.mark.parametrize("finished", [False, True])
async def test_a_reset_of_the_target_reaches_the_client(finished: bool) -> None:
    async def serve(end: Plug) -> None:
        if finished:
            assert await end.hear_all() == b"x"
        end.reset()

    async with target(serve) as place, tunnel(f"127.0.0.1:0:{place}", allow=[place]) as link:
        async with plug(link.port()) as end:
            await end.say(b"x")
            if finished:
                end.finish()
            with pytest.raises(ConnectionResetError):
                await end.hear_all()


async def test_a_target_that_takes_nothing_holds_its_client_up_and_nobody_else() -> None:
    let_go = asyncio.Event()

    async def stuck(end: Plug) -> None:
        await let_go.wait()
        await end.say(b"%d" % len(await end.hear_all()))

    async with target(stuck) as slow, target(echo) as fast:
        forwardings = f"127.0.0.1:0:{slow}", f"127.0.0.1:0:{fast}"
        async with tunnel(*forwardings, allow=[slow, fast]) as link:
            async with plug(link.port(0)) as end, plug(link.port(1)) as other:
                said, enough = 0, False

                async def say() -> None:
                    nonlocal said
                    while not enough:
                        await end.say(BULK)
                        said += len(BULK)

                saying = asyncio.create_task(say())
                before = -1
                while before != link.forwarder.traffic[0].outward:  # until nothing moves any more
                    before = link.forwarder.traffic[0].outward
                    for _ in range(20):
                        await other.say(b"through")
                        assert await other.hear() == b"through"
                enough = True
                assert not saying.done()
                let_go.set()
                await saying
                end.finish()
                assert await end.hear_all() == b"%d" % said


async def test_a_target_that_is_not_allowed_is_reset_and_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "muxtcp")
    async with target(echo) as place, target(echo) as forbidden:
        async with tunnel(f"127.0.0.1:0:{place}", f"127.0.0.1:0:{forbidden}", allow=[place]) as link:
            async with plug(link.port(0)) as good, plug(link.port(1)) as bad:
                with pytest.raises(ConnectionResetError):
                    await bad.hear()
                await good.say(b"undisturbed")
                assert await good.hear() == b"undisturbed"
    assert caplog.text.count(f"{forbidden} is not on the gateway's allow list") == 2  # here and there


async def test_a_target_that_nobody_serves_is_reset_and_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "muxtcp")
    nobody = f"127.0.0.1:{closed_port()}"
    async with tunnel(f"127.0.0.1:0:{nobody}", allow=[nobody]) as link, plug(link.port()) as end:
        with pytest.raises(ConnectionResetError):
            await end.hear()
    assert f"cannot connect to {nobody}: Connection refused" in caplog.text


async def test_the_allow_list_may_change_while_connections_are_open() -> None:
    async with target(echo) as place, tunnel(f"127.0.0.1:0:{place}", allow=[place]) as link:
        async with plug(link.port()) as old, plug(link.port()) as new:
            await old.say(b"1")
            assert await old.hear() == b"1"
            await until(lambda: link.gateway.carrier.open == 2)
            link.gateway.allow = AllowList()
            async with plug(link.port()) as late:
                with pytest.raises(ConnectionResetError):
                    await late.hear()
            for end in old, new:
                await end.say(b"2")
                assert await end.hear() == b"2"


async def test_unix_sockets_on_either_end(tmp_path: Path) -> None:
    here, there = str(tmp_path / "here.sock"), str(tmp_path / "there.sock")
    async with target(answer_at_the_end, path=there), tunnel(f"{here}:{there}", allow=[there]):
        async with plug(here) as end:
            await end.say(BULK)
            end.finish()
            assert await end.hear_all() == b"3000000 bytes"
    assert names(tmp_path) == ["there.sock"]


async def test_a_path_that_is_served_already_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "taken.sock")
    async with target(echo, path=path):
        with pytest.raises(OSError, match=r"cannot listen on .*taken\.sock: Address already in use"):
            async with tunnel(f"{path}:web:80", allow=[]):
                pass
        async with plug(path) as end:
            await end.say(b"still here")
            assert await end.hear() == b"still here"


async def test_a_port_in_use_is_named_and_nothing_is_left_open() -> None:
    async with target(echo) as taken:
        with pytest.raises(OSError, match=f"cannot listen on {taken}: Address already in use"):
            async with tunnel("127.0.0.1:0:web:80", f"{taken}:web:80", allow=[]):
                pass


async def socks(end: Plug, place: str) -> int:
    """Ask a SOCKS proxy for a place: its reply's code."""
    host, _, port = place.rpartition(":")
    await end.say(bytes([5, 1, 0]))
    assert await end.hear(2) == bytes([5, 0])
    await end.say(bytes([5, 1, 0, 3, len(host)]) + host.encode() + int(port).to_bytes(2, "big"))
    reply = await end.hear(10)
    assert len(reply) == 10
    return reply[1]


async def test_socks_clients_go_where_they_are_allowed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "muxtcp")
    nobody = f"127.0.0.1:{closed_port()}"
    async with target(answer_at_the_end) as place, tunnel(allow=[place, nobody], socks=True) as link:
        async with plug(link.port()) as end:
            assert await socks(end, place) == 0
            await end.say(BULK)
            end.finish()
            assert await end.hear_all() == b"3000000 bytes"
        async with plug(link.port()) as end:
            assert await socks(end, "127.0.0.1:1") == 2
            assert await end.hear_all() == b""
        async with plug(link.port()) as end:
            assert await socks(end, nobody) == 5
        async with plug(link.port()) as end:
            await end.say(b"GET / HTTP/1.1\r\n")
            assert await end.hear_all() == b""
        async with plug(link.port()) as end:
            end.finish()
            assert await end.hear_all() == b""
    assert "does not speak SOCKS 5" in caplog.text


async def test_the_gateway_listens_for_the_forwarder() -> None:
    port = closed_port()
    rules = {"allow": [], "listen": [f"127.0.0.1:{port}"]}
    async with target(answer_at_the_end) as place:
        async with tunnel(remote=[f"127.0.0.1:{port}:{place}"], **rules) as link:
            await until(lambda: link.gateway.traffic)
            await until(lambda: link.forwarder.remote_listening)
            assert port_of(link.forwarder.remote_listening[0]) == port
            async with plug(port) as end:
                await end.say(BULK)
                end.finish()
                assert await end.hear_all() == b"3000000 bytes"
            await link.forwarder.drain(5.0)
            await link.running
            with pytest.raises(ConnectionRefusedError):
                async with plug(port):
                    pass


@pytest.mark.parametrize("allowed", [False, True])
async def test_listening_that_is_refused_ends_the_forwarder(allowed: bool) -> None:
    async with target(echo) as taken:
        what = "Address already in use" if allowed else "is no place that the gateway may listen on"
        async with tunnel(remote=[f"{taken}:web:80"], allow=["*:*"], listen=[taken] if allowed else []) as link:
            with pytest.raises(ListenRefused, match=f"does not listen on {taken} for web:80: .*{what}"):
                await link.running


async def test_draining_lets_open_connections_finish() -> None:
    async with target(echo) as place, tunnel(f"127.0.0.1:0:{place}", allow=[place]) as link:
        async with plug(link.port()) as end:
            await end.say(b"1")
            assert await end.hear() == b"1"
            draining = asyncio.create_task(link.forwarder.drain(30.0))
            await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):
                async with plug(link.port()):
                    pass
            await end.say(b"2")
            assert await end.hear() == b"2"
            end.finish()
            assert await end.hear() == b""
        await draining
        await link.running


async def test_draining_is_bounded() -> None:
    async with target(echo) as place, tunnel(f"127.0.0.1:0:{place}", allow=[place]) as link:
        async with plug(link.port()) as end:
            await end.say(b"1")
            assert await end.hear() == b"1"
            await link.forwarder.drain(0.0)
            await link.running
            with pytest.raises(ConnectionResetError):
                await end.hear()


async def test_a_gateway_that_drains_lets_open_connections_finish() -> None:
    async with target(echo) as place, tunnel(f"127.0.0.1:0:{place}", allow=[place]) as link:
        async with plug(link.port()) as end:
            await end.say(b"1")
            assert await end.hear() == b"1"
            draining = asyncio.create_task(link.gateway.drain(30.0))
            await end.say(b"2")
            assert await end.hear() == b"2"
            end.finish()
            assert await end.hear() == b""
            await draining


async def test_connections_over_the_limit_are_reset() -> None:
    async with target(echo) as place, tunnel(f"127.0.0.1:0:{place}", allow=[place]) as link:
        link.forwarder.carrier.max_connections = 1
        async with plug(link.port()) as first:
            await first.say(b"1")
            assert await first.hear() == b"1"
            async with plug(link.port()) as second:
                with pytest.raises(ConnectionResetError):
                    await second.hear()
            await first.say(b"2")
            assert await first.hear() == b"2"


async def test_without_a_link_a_connection_waits_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muxtcp.forward.forwarder.PATIENCE", 0.05)

    def connect(**options: object) -> muxtcp.Connector:
        return muxtcp.connect(HERE, closed_port(), **options)  # type: ignore[arg-type]

    local = [Forwarding.parse("127.0.0.1:0:web:80"), Forwarding(Endpoint.listening("127.0.0.1:0"), None)]
    async with Forwarder(connect, local=local) as forwarder:
        async with plug(port_of(forwarder.listening[0])) as end:
            with pytest.raises(ConnectionResetError):
                await end.hear()
        async with plug(port_of(forwarder.listening[1])) as end:
            assert await socks(end, "web:80") == 1


async def test_what_was_said_before_the_forwarder_left_still_arrives() -> None:
    heard: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    let_go = asyncio.Event()

    async def slow(end: Plug) -> None:
        end.finish()
        await let_go.wait()
        heard.set_result(len(await end.hear_all()))

    async with target(slow) as place, tunnel(f"127.0.0.1:0:{place}", allow=[place]) as link:
        async with plug(link.port()) as end:
            assert await end.hear() == b""
            [here], [there] = link.forwarder.traffic, link.gateway.traffic
            said = 0
            while there.inward == said:  # until the last piece waits in the channel, as the socket behind it is full
                await end.say(BULK[:50_000])
                said += 50_000
                await until(lambda said=said: here.outward == said)
                for _ in range(TURNS):
                    if there.inward == said:
                        break
                    await asyncio.sleep(0)
            end.finish()
            await until(lambda: not link.forwarder.carrier.open)
        await link.forwarder.drain(30.0)
        await link.running
        await until(lambda: not link.gateway.sessions)
        assert there.inward < said
        let_go.set()
        assert await heard == said
        await until(lambda: not link.gateway.carrier.open)
