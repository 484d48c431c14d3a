"""Two sessions in one process, joined by memory: no socket, no port, no sleeping, and faults on request.

    async with muxtcp.testing.pair(handler, latency=0.05, chunk="random", seed=7) as pair:
        channel = await pair.client.open("echo")
        await channel.send(b"hello")
        pair.link.cut()                               # both sides see the connection lost

- `pair` gives two established sessions and the link between them.
- `Link` is that link alone, for any two asyncio protocols.
- `VirtualClockLoop` is an event loop whose clock jumps to the next timer: a keepalive of 30 s takes no time.

All of it runs on the running loop, asyncio or uvloop. The only source of chance is the seed, and time matters only
where `latency` or `bandwidth` ask for it.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from muxtcp.codecs import Codec, resolve
from muxtcp.config import Config
from muxtcp.session import Handler, Session

from ._memory import Traffic
from .clock import VirtualClockLoop
from .link import Direction, Link

__all__ = ["Direction", "Link", "Pair", "Traffic", "VirtualClockLoop", "pair"]


@dataclass(frozen=True)
class Pair:
    """Two established sessions and the link that joins them; made by `pair`."""

    client: Session
    server: Session
    link: Link


@contextlib.asynccontextmanager
async def pair(
    handler: Handler | None = None,
    client_handler: Handler | None = None,
    *,
    config: Config | None = None,
    client_config: Config | None = None,
    codec: str | Codec | None = None,
    latency: float = 0.0,
    bandwidth: float | None = None,
    chunk: int | Literal["random"] | None = None,
    socket_buffer: int = 262_144,
    seed: int = 0,
) -> AsyncIterator[Pair]:
    """Two sessions over an in-memory link, both past the handshake.

    The block ends by aborting both sessions, so that it never waits for a handler or for a stalled link; a test of a
    graceful end calls `await pair.client.close()` itself.

    Args:
        handler: Serves the channels that the client opens.
        client_handler: Serves the channels that the server opens.
        config: For both sides.
        client_config: Replaces `config` on the client's side.
        codec: For both sides; None: bytes.
        latency: As for `Link`, and so are the options after it.
        bandwidth: See `Link`.
        chunk: See `Link`.
        socket_buffer: See `Link`.
        seed: See `Link`.

    Raises:
        ValueError: The link's options are out of range.
        MuxError: The handshake failed.

    Example:
        async with muxtcp.testing.pair(handler) as pair:
            assert await pair.client.request("echo", b"hello") == b"hello"
    """
    server_config = config or Config()
    client = Session(client=True, config=client_config or server_config, handler=client_handler, codec=resolve(codec))
    server = Session(client=False, config=server_config, handler=handler, codec=resolve(codec))
    link = Link(
        client.protocol(),
        server.protocol(),
        latency=latency,
        bandwidth=bandwidth,
        chunk=chunk,
        socket_buffer=socket_buffer,
        seed=seed,
    )
    try:
        await client.established()
        await server.established()
        yield Pair(client, server, link)
    finally:
        for session in (client, server):
            session.abort("the pair's block has ended")
        for session in (client, server):
            await session.wait_closed()
