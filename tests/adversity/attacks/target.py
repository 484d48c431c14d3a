"""The server that is attacked: its services, and what it counts of all its sessions together."""

import asyncio
from collections import Counter
from typing import Any

from adversity.attacks.wire import ADDRESS

from muxtcp import Channel, Config, Server, Session, serve


def attacks(session: Session) -> bool:
    """Whether it is an attacker's: what an honest client does tells of no attack."""
    return bool(session.peername[0] == ADDRESS)


class Target:
    """A server for attacks and for honest clients.

    Attributes:
        seen: what the attackers' sessions have counted together, and the names of what ended them; and the server.
        source: how many messages each "source" sends.
    """

    def __init__(self, config: dict[str, Any], served: dict[str, Any], host: str = "127.0.0.1") -> None:
        self.config = Config(**config)
        self.serving = serve(
            self.handler, host, 0, config=self.config, on_session=self.on_session, backlog=4_096, **served
        )
        self.server: Server
        self.ended: Counter[str] = Counter()
        self.source = 1 << 40

    @property
    def seen(self) -> Counter[str]:
        total = self.ended + self.server.counters
        for session in filter(attacks, self.server.sessions):
            total.update(session.stats())
        return total

    @property
    def place(self) -> tuple[str, int]:
        return self.server.sockets[0].getsockname()[:2]

    async def on_session(self, session: Session) -> None:
        if attacks(session):
            session.on_close.append(self.on_close)

    def on_close(self, session: Session) -> None:
        self.ended.update(session.stats())
        code = getattr(session.exception, "code", None)
        name = getattr(code, "name", None)
        if name is not None and name not in session.stats():
            self.ended[name] += 1

    async def handler(self, channel: Channel) -> None:
        match channel.name:
            case "echo":
                async for message in channel:
                    await channel.send(message)
            case "sink":
                async for _ in channel:
                    pass
            case "source":
                for _ in range(self.source):
                    await channel.send(bytes(64))
            case "sleeper":  # what comes on it stays unread
                await channel.session.wait_closed()
            case "stubborn":  # lives longer than its channel
                await channel.close()
                await channel.session.wait_closed()
            case _:
                await channel.refuse()

    async def __aenter__(self) -> "Target":
        self.server = await self.serving
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in list(self.server.sessions):
            session.abort("enough")
        await asyncio.gather(*(session.wait_closed() for session in list(self.server.sessions)))
        await self.server.close()
