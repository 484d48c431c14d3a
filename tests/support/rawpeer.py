"""A peer that shares no code with the library: a socket and the bytes of `frames`; and what it needs to face one."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from support import frames
from support.frames import PREFACE, Frame, Kind, NeedMore, Record
from support.tls import client_context, server_context

import muxtcp

PATIENCE = 10.0  # seconds: only a test that hangs gets there
TURNS = 20  # of the loop: after them, what was going to be sent at once has been sent


class RawPeer:
    """One end of a TCP connection; `client` says which role it plays itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, client: bool) -> None:
        self.reader, self.writer, self.client = reader, writer, client
        self.buffer = bytearray()
        self.heard: list[Frame] = []
        self.greeted = False

    async def send(self, *pieces: bytes) -> None:
        self.writer.write(b"".join(pieces))
        await self.writer.drain()

    async def more(self) -> None:
        """Wait for bytes; EOFError at the end of the stream."""
        async with asyncio.timeout(PATIENCE):
            data = await self.reader.read(65_536)
        if not data:
            raise EOFError
        self.buffer += data

    async def frame(self) -> Frame:
        """The next frame; the first one must have the preface before it."""
        while len(self.buffer) < len(PREFACE) and not self.greeted:
            await self.more()
        if not self.greeted:
            assert self.buffer.startswith(PREFACE), bytes(self.buffer[:80])
            del self.buffer[: len(PREFACE)]
            self.greeted = True
        while True:
            try:
                found, end = frames.take_frame(self.buffer)
            except NeedMore:
                await self.more()
            else:
                del self.buffer[:end]
                found.check()
                self.heard.append(found)
                return found

    async def until(self, what: Kind | Record, channel: int | None = None) -> Frame:
        """Read up to the next frame of that kind, or of that record."""
        while True:
            found = await self.frame()
            if isinstance(what, Record):
                if found.record is what:
                    return found
            elif found.channel != 0 and found.kind is what and channel in (None, found.channel):
                return found

    async def rest(self) -> list[Frame]:
        """Everything that it was ever sent, when the stream has ended; then it closes its own end, as peers do."""
        try:
            while True:
                await self.frame()
        except EOFError:
            assert not self.buffer, f"the stream ended inside a frame: {bytes(self.buffer[:80])}"
            self.end()
            return self.heard

    async def greet(self, **parameters: Any) -> Frame:
        """Play this side of a good handshake; the other side's record."""
        if self.client:
            await self.send(PREFACE, frames.hello(**parameters))
            return await self.until(Record.WELCOME)
        hello = await self.until(Record.HELLO)
        await self.send(PREFACE, frames.welcome(**parameters))
        return hello

    async def probe(self) -> list[Frame]:
        """Wait until the other side has read all that we sent, and we all that it said to it. What came in meanwhile.

        Twice, for a PONG overtakes what was written at the same time.
        """
        seen = len(self.heard)
        for n in (1, 2):
            await self.send(frames.ping(n))
            while (await self.until(Record.PONG)).fields["n"] != n:
                pass
        return [item for item in self.heard[seen:] if item.record is not Record.PONG]

    async def nothing(self) -> None:
        """Nothing more is sent to us, for as long as it would take to."""
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert not self.buffer
        assert not self.reader._buffer  # type: ignore[attr-defined]

    def on_channel(self, channel: int, *kinds: Kind) -> list[Frame]:
        return [item for item in self.heard if item.channel == channel and item.kind in (kinds or set(Kind))]

    def end(self) -> None:
        self.writer.close()


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
