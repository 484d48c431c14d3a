"""Whatever is thrown at a port, at a channel or at a call: a named answer, and everything else goes on."""

import asyncio
import logging
import socket
import subprocess
import sys

import pytest
from support import frames
from support.frames import PREFACE, Record

import muxtcp
from muxtcp import Channel, ChannelRefused, ChannelReset, Code, Config, MessageTooLarge, SessionClosed, connect, serve
from muxtcp.testing import pair

TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(189))
PATIENT, HASTY = (Config(handshake_timeout=timeout, close_timeout=0.1) for timeout in (10, 0.1))


async def echo(channel: Channel) -> None:
    match channel.name:
        case "echo":
            async for message in channel:
                await channel.send(message)
        case "broken":
            raise ZeroDivisionError("as planned")
        case _:
            await channel.refuse(Code.NOT_FOUND, f"no service {channel.name!r}")


async def thrown(server: muxtcp.Server, data: bytes) -> bytes:
    """What comes back from a connection that sent `data` and nothing else, and did not close it."""
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        writer.write(data)
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("data", "counter", "answer"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "BAD_PREFACE", b"HTTP/1.1 400 Bad Request\r\n", id="http"),
        pytest.param(b"hello?\r\n", "BAD_PREFACE", b"This port speaks muxtcp version 1", id="text"),
        pytest.param(TLS_HELLO, "BAD_PREFACE", PREFACE, id="tls"),
        pytest.param(bytes(range(255, 155, -1)), "BAD_PREFACE", PREFACE, id="random bytes"),
        pytest.param(b"", "HANDSHAKE_TIMEOUT", PREFACE, id="nothing"),
        pytest.param(b"\x8dMUX", "HANDSHAKE_TIMEOUT", PREFACE, id="half a preface"),
    ],
)
async def test_a_stranger_at_the_port(data: bytes, counter: str, answer: bytes) -> None:
    config = HASTY if counter == "HANDSHAKE_TIMEOUT" else PATIENT
    async with serve(echo, "127.0.0.1", 0, config=config) as server:
        said = await thrown(server, data)
        assert said.startswith(answer)
        if answer == PREFACE:
            refused, _ = frames.take_frame(bytearray(said[len(PREFACE) :]))
            assert (refused.record, Code(refused.fields["code"]).name) == (Record.REFUSED, counter)
        else:
            assert said.endswith(b"This port speaks muxtcp version 1, a binary protocol.\r\n")
        assert server.counters[counter] == 1
        async with connect(server.addresses[0]) as session:
            assert await session.request("echo", b"and others?") == b"and others?"


@pytest.mark.parametrize("chunk", [None, 1])
async def test_a_message_over_the_limit_is_not_sent_and_the_channel_goes_on(chunk: int | None) -> None:
    async with pair(echo, config=Config(max_message=2_048), chunk=chunk) as p, p.client.open("echo") as channel:
        before = p.client.stats()["bytes_sent"]
        for send in (channel.send, channel.send_nowait, lambda message: channel.send_many([message])):
            with pytest.raises(MessageTooLarge, match=r"2,049 bytes .* 2,048") as caught:
                if (pending := send(bytes(2_049))) is not False:
                    await pending
            assert (caught.value.size, caught.value.limit) == (2_049, 2_048)
        assert p.client.stats()["bytes_sent"] == before
        await channel.send(bytes(2_048))
        assert await channel.recv() == bytes(2_048)


async def test_an_unknown_name_is_refused() -> None:
    async with pair(echo) as p:
        with pytest.raises(ChannelRefused, match="no service 'nobody'") as caught:
            await p.client.request("nobody", b"hello")
        assert caught.value.code is Code.NOT_FOUND
        with pytest.raises(ChannelRefused, match="no service 'here'") as caught:
            await p.server.request("here", b"the client has no handler at all")
        assert caught.value.code is Code.NOT_FOUND
        assert await p.client.request("echo", b"on") == b"on"


async def test_a_handler_that_fails_resets_its_channel_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with pair(echo) as p:
        with caplog.at_level(logging.ERROR, "muxtcp"), pytest.raises(ChannelReset) as caught:
            await p.client.request("broken", b"hello")
        assert (caught.value.code, caught.value.remote) == (Code.INTERNAL, True)
        assert "as planned" not in str(caught.value)  # what went wrong inside is not the peer's business
        assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]
        assert await p.client.request("echo", b"on") == b"on"


def test_a_bad_configuration_lists_every_finding() -> None:
    with pytest.raises(ValueError, match="bad configuration") as caught:
        Config(max_frame=1, max_channels=0, keepalive=-1.0)
    assert all(name in str(caught.value) for name in ("max_frame is 1", "max_channels is 0", "keepalive is -1.0"))


@pytest.mark.parametrize(
    ("options", "finding"),
    [
        ({"name": "x" * 256}, "256"),
        ({"meta": {"k": "v" * 4_096}}, "4,096"),
        ({"mode": "rx"}, "mode is .* not 'rx'"),
        ({"priority": 4}, "priority is from 0 .* not 4"),
        ({"codec": "yaml"}, "unknown codec 'yaml'"),
    ],
)
async def test_bad_arguments_of_open_are_named_and_nothing_is_opened(options: dict[str, object], finding: str) -> None:
    async with pair(echo) as p:
        with pytest.raises(ValueError, match=finding):
            await p.client.open(**{"name": "echo"} | options)  # type: ignore[arg-type]
        assert not p.client.channels
        assert await p.client.request("echo", b"on") == b"on"


async def test_a_message_that_is_not_bytes() -> None:
    async with pair(echo) as p, p.client.open("echo") as channel:
        with pytest.raises(TypeError, match="not str; or give the channel a codec"):
            await channel.send("text")
        await channel.send(bytearray(b"on"))
        assert await channel.recv() == b"on"


async def test_a_port_in_use_a_host_unknown_and_a_server_absent_are_named() -> None:
    async with serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
            await serve(echo, "127.0.0.1", port)
    with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
        await connect("127.0.0.1", port)
    with pytest.raises(OSError, match="no-such-host.invalid"):
        await connect("no-such-host.invalid", 7777)


def test_the_command_says_it_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = subprocess.run(
            [sys.executable, "-m", "muxtcp.demo", "server", "--port", str(port)],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1
    assert f"127.0.0.1:{port}" in run.stderr


@pytest.mark.parametrize("code", [-1, 1 << 62])
async def test_a_code_that_no_frame_holds(code: int) -> None:
    async with pair(echo) as peers:
        channel = await peers.client.open("echo")
        with pytest.raises(ValueError, match=str(code)):
            await channel.reset(code)
        await channel.send(b"on")
        assert await channel.recv() == b"on"
        with pytest.raises(ValueError, match=str(code)):
            await peers.client.close(code)
        await peers.client.close()


@pytest.mark.parametrize("timeout", [1e16, float("inf")])
async def test_a_deadline_that_never_comes(timeout: float) -> None:
    async with pair(echo) as peers, peers.client.open("echo", deadline=timeout) as channel:
        await channel.send(b"on")
        assert await channel.recv() == b"on"


async def test_a_request_may_wait_for_ever() -> None:
    async with pair(echo) as peers:
        assert await peers.client.request("echo", b"in time", timeout=float("inf")) == b"in time"


async def test_a_code_of_the_application_s_is_an_end_in_good_order() -> None:
    async with pair(echo) as peers:
        await peers.client.close(0x1234, "bye")
        await peers.server.wait_closed()
        for session in (peers.client, peers.server):
            assert isinstance(session.exception, SessionClosed)
            assert session.exception.code == 0x1234
            assert session.stats()
