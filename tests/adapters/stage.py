"""Where a case is played: two protocols that are joined by a TCP socket, or by a channel."""

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

from support.basics import until

import muxtcp
from muxtcp import Session
from muxtcp.forward import AllowList, Gateway
from muxtcp.testing import pair

Call = tuple[Any, ...]
Factory = Callable[[], asyncio.BaseProtocol]


class Notes:
    """The calls of a protocol. What it is given under the name of a call runs when that is noted, and may answer."""

    def __init__(self, **actions: Callable[..., Any]) -> None:
        self.raw: list[Call] = []
        self.received = 0  # bytes
        self.actions = actions
        self.transport: Any = None

    def note(self, name: str, *what: Any) -> Any:
        self.raw.append((name, *what))
        action = self.actions.get(name)
        return action(self, *what) if action else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.note("made")

    def eof_received(self) -> bool | None:
        return bool(self.note("eof"))

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.note("lost", type(exc).__name__)

    # What has happened

    @property
    def calls(self) -> list[Call]:
        """The calls so far. How a stream is cut into data is nobody's promise, on either stage: it is joined."""
        calls: list[Call] = []
        for is_data, group in itertools.groupby(self.raw, lambda call: call[0] == "data"):
            same = list(group)
            calls += [("data", b"".join(data for _, data in same))] if is_data else same
        return calls

    @property
    def data(self) -> bytes:
        return b"".join(call[1] for call in self.raw if call[0] == "data")

    @property
    def lost(self) -> bool:
        return any(call[0] == "lost" for call in self.raw)

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]


class Recorder(Notes, asyncio.Protocol):
    """The usual kind of protocol."""

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.received += len(data)
        self.note("data", data)


class BufferedRecorder(Notes, asyncio.BufferedProtocol):
    """The kind that has a buffer of its own, of so many bytes."""

    def __init__(self, size: int, **actions: Callable[..., Any]) -> None:
        super().__init__(**actions)
        self.buffer = bytearray(size)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes
        self.note("data", bytes(self.buffer[:nbytes]))


class Stage:
    """Joins two protocols, and can break what joins them.

    Attributes:
        client: the protocol that connected.
        server: the one that was made for it.
        unseen: of what type the exceptions were that the loop's exception handler was told of.
    """

    client: Notes
    server: Notes

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.unseen: list[str] = []

    async def join(self, client: Notes, server: Notes) -> None:
        """Connect the two; both have had `connection_made()`."""
        self.client, self.server = client, server
        transport = await self._join(lambda: client, lambda: server)
        assert transport is client.transport
        await until(lambda: server.raw)

    async def _join(self, client: Factory, server: Factory) -> Any:
        raise NotImplementedError

    async def refused(self, client: Recorder) -> None:
        """Connect to where nobody is."""
        raise NotImplementedError

    def reset(self) -> None:
        """The client's side is torn down, without its transport's doing."""
        raise NotImplementedError

    async def settle(self) -> None:
        """Until what is under way has come, when there is nothing to be waited for: through the kernel, and back."""
        for _ in range(3):
            left, right = socket.socketpair()
            with left, right:
                left.setblocking(False)
                await self.loop.sock_sendall(left, b"?")
                right.setblocking(False)
                await self.loop.sock_recv(right, 1)
        for _ in range(20):
            await asyncio.sleep(0)

    @contextlib.contextmanager
    def seen(self) -> Any:
        """Note in `unseen` what the loop's exception handler is told."""
        before = self.loop.get_exception_handler()
        self.loop.set_exception_handler(lambda _, context: self._see(context))
        try:
            yield
        finally:
            self.loop.set_exception_handler(before)

    def _see(self, context: dict[str, Any]) -> None:
        self.unseen.append(type(context["exception"]).__name__)


class SocketStage(Stage):
    name = "socket"
    listener: asyncio.Server | None = None

    async def _join(self, client: Factory, server: Factory) -> Any:
        self.listener = await self.loop.create_server(server, "127.0.0.1", 0)
        transport, _ = await self.loop.create_connection(client, *self.listener.sockets[0].getsockname())
        return transport

    async def refused(self, client: Recorder) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            await self.loop.create_connection(lambda: client, *unused.getsockname())

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.client.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.client.transport.abort()

    async def close(self) -> None:
        for side in (getattr(self, "client", None), getattr(self, "server", None)):
            if side is not None and side.transport is not None and not side.lost:
                side.transport.abort()
        if self.listener is not None:
            self.listener.close()
        await self.settle()


class ChannelStage(Stage):
    name = "channel"

    def __init__(self, sessions: Any) -> None:
        super().__init__()
        self.sessions = sessions

    async def _join(self, client: Factory, server: Factory) -> Any:
        here: Session = self.sessions.client
        await self.sessions.server.create_server(server, "case")
        transport, _ = await here.create_connection(client, "case")
        return transport

    async def refused(self, client: Recorder) -> None:
        await self.sessions.client.create_connection(lambda: client, "nobody")

    def reset(self) -> None:
        self.client.transport.get_extra_info("channel")._reset(0x1000, "as planned")


@contextlib.asynccontextmanager
async def stage(name: str) -> AsyncIterator[Stage]:
    """The stage of this name, and everything away at the end."""
    if name == "socket":
        played = SocketStage()
        try:
            yield played
        finally:
            await played.close()
    else:
        async with pair() as sessions:
            yield ChannelStage(sessions)


@contextlib.asynccontextmanager
async def behind_a_gateway(path: Path, *, resume: float | None = None) -> AsyncIterator[Session]:
    """A session with a gateway that may connect to this Unix socket."""
    serve = partial(muxtcp.serve, host="127.0.0.1", port=0)
    async with Gateway(serve, AllowList.of([str(path)])) as gateway:
        async with muxtcp.connect(gateway.addresses[0], resume=resume) as session:
            yield session
