"""A server and a client whose session survives its connections, over loopback; and how to break them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from support.basics import echo, until

import muxtcp
from muxtcp import Session, State, StateInfo


class Link:
    """Two sessions that are one; `states` is what the connector told."""

    def __init__(self, server: muxtcp.Server) -> None:
        self.server = server
        self.states: list[tuple[State, StateInfo]] = []
        self.connector: muxtcp.Connector
        self.client: Session

    def on_state(self, state: State, info: StateInfo) -> None:
        self.states.append((state, info))

    @property
    def path(self) -> str:
        return " ".join(state.name for state, _ in self.states)

    @property
    def peer(self) -> Session:
        """The server's session."""
        [session] = self.server.sessions
        return session

    def cut(self, side: str = "client") -> None:
        """The connection is gone; `side` knows it at once."""
        transport = (self.client if side == "client" else self.peer).transport
        if transport is not None:
            transport.abort()

    async def parted(self) -> None:
        """Cut, and keep the client from coming back: until `back()`."""
        self.listening = self.server.sockets
        for sock in self.listening:
            asyncio.get_running_loop().remove_reader(sock)
        self.cut()
        await until(lambda: not self.client.connected and not self.peer.connected)

    async def back(self) -> None:
        for sock in self.listening:
            asyncio.get_running_loop().add_reader(sock, self.server._accept, sock)
        await until(lambda: self.client.connected and self.peer.connected)

    async def resumed(self, times: int) -> None:
        await until(lambda: self.client.resumptions == self.peer.resumptions == times)


@asynccontextmanager
async def linked(
    handler: Any = echo, *, where: dict[str, Any] | None = None, server: Any = None, **options: Any
) -> AsyncIterator[Link]:
    """`where` and `server` are for `serve()`, the rest is for `connect()`."""
    place = {"host": "127.0.0.1", "port": 0} if where is None else where
    async with muxtcp.serve(handler, **place, **(server or {})) as serving:
        link = Link(serving)
        defaults = {"resume": 30.0, "backoff": muxtcp.constant(0.0, jitter=0.0), "on_state": link.on_state}
        link.connector = muxtcp.connect(serving.addresses[0], **defaults | options)
        async with link.connector as link.client:
            yield link
