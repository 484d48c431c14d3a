"""A raw peer and a user of the library, connected."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from support.raw import PATIENCE, RawPeer
from support.tls import client_context, server_context

import muxtcp


class User:
    """Stands behind the library: takes every channel, and does nothing with it before the test says so."""

    def __init__(self) -> None:
        self.channels: dict[int, muxtcp.Channel] = {}
        self.arrived = asyncio.Event()
        self.leaving = asyncio.Event()
        self.sessions: asyncio.Queue[muxtcp.Session] = asyncio.Queue()
        self.tasks: list[asyncio.Task[Any]] = []
        self.server: muxtcp.Server | None = None

    async def handler(self, channel: muxtcp.Channel) -> None:
        self.channels[channel.id] = channel
        self.arrived.set()
        await self.leaving.wait()

    async def on_session(self, session: muxtcp.Session) -> None:
        self.sessions.put_nowait(session)

    async def session(self) -> muxtcp.Session:
        """The session, as soon as there is one."""
        async with asyncio.timeout(PATIENCE):
            found = await self.sessions.get()
        self.sessions.put_nowait(found)
        return found

    async def channel(self, number: int) -> muxtcp.Channel:
        """The channel of that number, as soon as the peer or this side has opened it."""
        async with asyncio.timeout(PATIENCE):
            while number not in self.channels:
                self.arrived.clear()
                await self.arrived.wait()
        return self.channels[number]

    async def open(self, name: str = "", **options: Any) -> muxtcp.Channel:
        session = await self.session()
        channel = await session.open(name, **options)
        self.channels[channel.id] = channel
        return channel

    def later(self, work: Any) -> "asyncio.Task[Any]":
        """Do it beside the test; it is cancelled when the test is over."""
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]

    async def leave(self) -> None:
        self.leaving.set()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        while not self.sessions.empty():
            session = self.sessions.get_nowait()
            session.abort("the test is over")
            await session.wait_closed()


@asynccontextmanager
async def facing_server(
    config: muxtcp.Config | None = None, *, tls: bool = False
) -> AsyncIterator[tuple[RawPeer, User]]:
    """A raw client and the user of a `muxtcp.serve()`, connected."""
    user, (serving, dialling) = User(), contexts(tls)
    async with muxtcp.serve(
        user.handler, "127.0.0.1", 0, ssl=serving, config=config, on_session=user.on_session
    ) as server:
        user.server = server
        host, port = server.sockets[0].getsockname()
        peer = RawPeer(*await asyncio.open_connection(host, port, ssl=dialling), client=True)
        try:
            yield peer, user
        finally:
            peer.end()
            await user.leave()


@asynccontextmanager
async def facing_client(
    config: muxtcp.Config | None = None, *, tls: bool = False
) -> AsyncIterator[tuple[RawPeer, User]]:
    """A raw server and the user of a `muxtcp.connect()`, connected; `user.tasks[0]` is the connecting."""
    user, (serving, dialling) = User(), contexts(tls)
    peers: asyncio.Queue[RawPeer] = asyncio.Queue()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.put_nowait(RawPeer(reader, writer, client=False))

    async def dial(port: int) -> None:
        session = await muxtcp.connect("127.0.0.1", port, ssl=dialling, handler=user.handler, config=config)
        await user.on_session(session)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=serving)
    user.later(dial(listener.sockets[0].getsockname()[1]))
    peer = await peers.get()
    try:
        yield peer, user
    finally:
        peer.end()
        await user.leave()
        listener.close()
        await listener.wait_closed()


def facing(role: str, config: muxtcp.Config | None = None, *, tls: bool = False) -> Any:
    """A raw peer and the user of the library, which plays `role`; over TLS if asked for."""
    return (facing_server if role == "server" else facing_client)(config, tls=tls)


def contexts(tls: bool) -> tuple[ssl.SSLContext, ssl.SSLContext] | tuple[None, None]:
    """For the two sides of a connection: who serves, who dials."""
    return (server_context(), client_context()) if tls else (None, None)
