"""Closing with unread data: what was sent before still arrives, all of it, and every close ends in its time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from support.tls import client_context, server_context

from muxtcp import Channel, ChannelReset, Config, Session, SessionClosed, connect
from muxtcp import serve as serve_at

PIECES = 30
PIECE = 10_000  # bytes; together 300,000, more than a channel's first window and than any socket's buffer of ours
UNREAD = 200_000  # bytes that the closing side was sent and never reads


@asynccontextmanager
async def linked(handler, *, tls: bool = False, config: Config | None = None) -> AsyncIterator[Session]:
    """A client's session over a real socket, plain or TLS, to a server with this handler."""
    serving, dialling = (server_context(), client_context()) if tls else (None, None)
    async with serve_at(handler, "127.0.0.1", 0, ssl=serving, config=config) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect("localhost", port, ssl=dialling, config=config) as session:
            yield session


async def received(channel: Channel) -> int:
    """Bytes that come until the peer's end, whatever end that is."""
    size = 0
    with suppress(ChannelReset, SessionClosed):
        async for message in channel:
            size += len(message)
    return size


async def send_all(channel: Channel) -> None:
    for _ in range(PIECES):
        await channel.send(bytes(PIECE))


async def fill(channel: Channel) -> None:
    """Send what the other side will not read."""
    await channel.send(bytes(UNREAD))


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("way", ["channel", "session"])
class TestUnread:
    async def test_of_the_client(self, way: str, tls: bool) -> None:
        """The client closes; the server, which has filled it, still gets everything."""
        counted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        filled = asyncio.Event()

        async def handler(channel: Channel) -> None:
            await fill(channel)
            filled.set()
            counted.set_result(await received(channel))

        async with linked(handler, tls=tls) as session:
            channel = await session.open("upload")
            await filled.wait()
            await send_all(channel)
            await (channel.close() if way == "channel" else session.close())
            assert await counted == PIECES * PIECE

    async def test_of_the_server(self, way: str, tls: bool) -> None:
        async def handler(channel: Channel) -> None:
            await channel.recv()  # the client has filled us
            await send_all(channel)
            if way == "session":
                closing.append(asyncio.create_task(channel.session.close()))
            await channel.close()

        closing: list[asyncio.Task[None]] = []
        async with linked(handler, tls=tls) as session:
            channel = await session.open("download")
            await channel.send(b"go")
            await fill(channel)
            assert await received(channel) == PIECES * PIECE
        await asyncio.gather(*closing)
