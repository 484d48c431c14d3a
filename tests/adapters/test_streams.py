"""The same conversations over a TCP socket and over a channel, with asyncio's own streams at both ends."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from adapters.stage import Recorder, stage
from support.basics import until
from support.tls import client_context, server_context

import muxtcp

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
TOO_MANY = bytes(16 << 20)  # more than any window, and than what the kernels take


@contextlib.asynccontextmanager
async def streams(kind: str, handler: Handler, limit: int = 65_536) -> AsyncIterator[Streams]:
    """A stream to the handler, as `asyncio.open_connection()` makes them or as a session does; closed at the end."""
    async with contextlib.AsyncExitStack() as stack:
        if kind == "socket":
            server = await stack.enter_async_context(await asyncio.start_server(handler, "127.0.0.1", 0))
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=limit)
        else:
            served = await stack.enter_async_context(muxtcp.serve(None, "127.0.0.1", 0, stream_handler=handler))
            session = await stack.enter_async_context(muxtcp.connect(served.addresses[0]))
            reader, writer = await session.open_stream("case", limit=limit)
        yield reader, writer
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


both = pytest.mark.parametrize("kind", ["socket", "channel"])


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(10_000):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


@both
async def test_all_ways_to_read(kind: str) -> None:
    async with streams(kind, echo) as (reader, writer):
        writer.write(b"one line\nanother line\n")
        writer.writelines([b"until;", b"12345", b"and the rest"])
        writer.write_eof()
        assert await reader.readline() == b"one line\n"
        assert [line async for line in taken(reader, 1)] == [b"another line\n"]
        assert await reader.readuntil(b";") == b"until;"
        assert await reader.readexactly(5) == b"12345"
        assert not reader.at_eof()
        assert await reader.read() == b"and the rest"
        assert await reader.read(1) == b""
        assert reader.at_eof()


async def taken(lines: asyncio.StreamReader, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield await anext(lines)


@both
async def test_what_is_not_there_is_said_as_ever(kind: str) -> None:
    async with streams(kind, echo, limit=100) as (reader, writer):
        writer.write(b"x" * 300 + b"\n")
        with pytest.raises(asyncio.LimitOverrunError):
            await reader.readuntil(b"\n")
        assert await reader.readexactly(301) == b"x" * 300 + b"\n"
        writer.write(b"short")
        writer.write_eof()
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await reader.readexactly(10)
        assert (caught.value.partial, caught.value.expected) == (b"short", 10)


@both
async def test_the_writer_says_what_it_can(kind: str) -> None:
    async with streams(kind, echo) as (_, writer):
        assert writer.can_write_eof()
        assert not writer.is_closing()
        assert writer.get_extra_info("peername")[0] == "127.0.0.1"
        assert writer.get_extra_info("sockname")[0] == "127.0.0.1"
        assert writer.get_extra_info("sslcontext") is None
        assert writer.get_extra_info("nonsense", 7) == 7
        assert writer.transport.get_write_buffer_size() == 0
        writer.close()
        assert writer.is_closing()
        await writer.wait_closed()


@both
async def test_drain_waits_for_who_reads(kind: str) -> None:
    begin = asyncio.Event()
    received = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await begin.wait()
        while data := await reader.read(1 << 20):
            received += len(data)
        writer.close()

    async with streams(kind, slow) as (reader, writer):
        writer.write(TOO_MANY)
        draining = asyncio.ensure_future(writer.drain())
        for _ in range(100):
            await asyncio.sleep(0)
        assert not draining.done()
        begin.set()
        await draining
        writer.write_eof()
        assert await reader.read() == b""
        assert received == len(TOO_MANY)


@both
async def test_a_cancelled_read_loses_nothing(kind: str) -> None:
    async with streams(kind, echo) as (reader, writer):
        waiting = asyncio.ensure_future(reader.readexactly(4))
        await asyncio.sleep(0)
        writer.write(b"12")
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        writer.write(b"34")
        assert await reader.readexactly(4) == b"1234"


@both
async def test_a_reset_is_raised_at_whoever_reads_writes_or_waits(kind: str) -> None:
    async def tear_down(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        connection = writer.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with streams(kind, tear_down) as (reader, writer):
        writer.write(b"?")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        with pytest.raises(ConnectionResetError):
            await writer.drain()
        writer.close()
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()


@both
async def test_start_tls(kind: str, loop_name: str) -> None:
    if (kind, loop_name) == ("channel", "uvloop"):
        pytest.skip("uvloop's start_tls() takes no transports but its own: see the next test")

    async def secured(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go on\n")
        await writer.start_tls(server_context())
        await echo(reader, writer)

    async with streams(kind, secured) as (reader, writer):
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go on\n"
        await writer.start_tls(client_context(), server_hostname="localhost")
        assert isinstance(writer.get_extra_info("ssl_object"), ssl.SSLObject)
        writer.write(b"x" * 1_000_000)
        assert await reader.readexactly(1_000_000) == b"x" * 1_000_000


async def test_tls_in_a_channel_on_any_loop() -> None:
    """By asyncio's own function, which also runs on uvloop, whose own refuses."""
    loop = asyncio.get_running_loop()

    async def secured(side: Recorder, context: ssl.SSLContext, **options: Any) -> Any:
        return await asyncio.BaseEventLoop.start_tls(loop, side.transport, side, context, **options)

    async with stage("channel") as played:
        await played.join(Recorder(), Recorder())
        if not isinstance(loop, asyncio.BaseEventLoop):
            with pytest.raises(TypeError):
                await loop.start_tls(played.client.transport, played.client, client_context())
        transport, _ = await asyncio.gather(
            secured(played.client, client_context(), server_hostname="localhost"),
            secured(played.server, server_context(), server_side=True),
        )
        transport.write(b"x" * 1_000_000)
        await until(lambda: played.server.received == 1_000_000)
        transport.close()
        await until(lambda: played.client.lost and played.server.lost)
        assert played.server.names() == ["made", "data", "eof", "lost"]
