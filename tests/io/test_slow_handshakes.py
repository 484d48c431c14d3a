"""Connections that begin and go no further hold a server up for as long as a handshake may take, at whatever stage."""

import asyncio
import ssl
from typing import Any

import pytest
from support import frames
from support.basics import echo, until
from support.tls import client_context, server_context

from muxtcp import Code, Config, HandshakeError, Server, Session, connect, serve
from muxtcp._engine import Engine

PATIENT = 600.0  # seconds: what waits for this in place of the handshake's time is found by the deadline of all tests
HELLO = frames.PREFACE + frames.hello(meta={"key": "value"})
CLIENT_HELLO = bytes.fromhex("1603010200010001fc0303")  # how one begins


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that hears a client out."""
    await reader.read()
    writer.close()


async def undecided(session: Session) -> None:
    """An admission that takes for ever."""
    await session.wait_closed()


async def begin(server: Server, said: bytes, context: ssl.SSLContext | None) -> asyncio.StreamWriter:
    """Connect, say something, and keep the connection whatever comes."""
    host, port = server.sockets[0].getsockname()
    name = "localhost" if context else None
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    writer.write(said)
    return writer


@pytest.mark.parametrize(
    ("said", "over_tls", "tls_done"),
    [
        (b"", False, False),
        (frames.PREFACE[:5], False, False),
        (HELLO[:-1], False, False),
        (HELLO, False, False),
        (b"", True, False),
        (CLIENT_HELLO, True, False),
        (b"", True, True),
        (HELLO[:-1], True, True),
        (HELLO, True, True),
    ],
    ids=[
        "nothing",
        "half a preface",
        "half a HELLO",
        "a HELLO that is being judged",
        "nothing to TLS",
        "half of TLS",
        "TLS and nothing",
        "TLS and half a HELLO",
        "TLS and a HELLO that is being judged",
    ],
)
async def test_no_stage_takes_longer_than_a_handshake(said: bytes, over_tls: bool, tls_done: bool) -> None:
    config = Config(handshake_timeout=0.1, close_timeout=PATIENT)
    context = server_context() if over_tls else None
    async with serve(echo, "127.0.0.1", 0, config=config, ssl=context, on_session=undecided) as server:
        writer = await begin(server, said, client_context() if tls_done else None)
        await until(lambda: server.counters["accepted"] == 1)
        await until(lambda: not server._handshakes)
        assert server.counters["HANDSHAKE_TIMEOUT"] == 1
        writer.transport.abort()


async def test_bytes_that_dribble_in_buy_no_time() -> None:
    config = Config(handshake_timeout=0.1, close_timeout=PATIENT)
    async with serve(echo, "127.0.0.1", 0, config=config) as server:
        writer = await begin(server, frames.PREFACE, None)
        for byte in frames.hello(meta={"key": "x" * 16_000}):
            writer.write(bytes([byte]))
            await asyncio.sleep(0.001)
            if server.counters["HANDSHAKE_TIMEOUT"]:
                break
        await until(lambda: not server._handshakes)
        assert server.counters["HANDSHAKE_TIMEOUT"] == 1
        writer.transport.abort()


async def test_who_was_refused_and_stays_is_gone_with_the_time_of_a_handshake() -> None:
    config = Config(handshake_timeout=0.1, close_timeout=PATIENT)
    async with serve(echo, "127.0.0.1", 0, config=config) as server:
        writer = await begin(server, b"nonsense", None)
        await until(lambda: server.counters["BAD_PREFACE"] == 1)
        await until(lambda: not server._handshakes)
        writer.transport.abort()


async def test_who_was_refused_counts_among_the_handshakes_until_it_is_gone() -> None:
    async with serve(echo, "127.0.0.1", 0) as server:
        writer = await begin(server, b"nonsense", None)
        await until(lambda: server.counters["BAD_PREFACE"] == 1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert server._handshakes
        writer.transport.abort()
        await until(lambda: not server._handshakes)


async def test_a_dial_costs_a_client_nothing_of_its_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    def made_when_the_dial_began(*, client: bool, now: float = 0.0, **options: Any) -> Engine:
        return Engine(client=client, now=now - Config().handshake_timeout if client else now, **options)

    async def slowly(session: Session) -> None:
        """So that a client that is out of time notices it."""
        for _ in range(20):
            await asyncio.sleep(0)

    monkeypatch.setattr("muxtcp.session.Engine", made_when_the_dial_began)
    async with serve(echo, "127.0.0.1", 0, on_session=slowly) as server:
        async with connect(server.addresses[0]) as session:
            assert await session.request("", b"hello") == b"hello"


async def test_a_server_that_says_nothing_costs_a_client_no_more_than_a_handshake() -> None:
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        with pytest.raises(HandshakeError) as failed:
            await connect(host, port, config=Config(handshake_timeout=0.1, close_timeout=PATIENT))
    assert failed.value.code is Code.HANDSHAKE_TIMEOUT
