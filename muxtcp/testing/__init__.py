"""Two sessions in one process, joined by memory: no socket, no port, no sleeping, and faults on request.

    async with muxtcp.testing.pair(handler, latency=0.05, chunk="random", seed=7) as pair:
        channel = await pair.client.open("echo")
        await channel.send(b"hello")
        pair.link.cut()                               # both sides see the connection lost

- `pair` gives two established sessions and the link between them; with `resume=`, they survive a cut.
- `Link` is that link alone, for any two asyncio protocols.
- `VirtualClockLoop` is an event loop whose clock jumps to the next timer: a keepalive of 30 s takes no time.

All of it runs on the running loop, asyncio or uvloop. The only source of chance is the seed, and time matters only
where `latency` or `bandwidth` ask for it.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from muxtcp.attempt import worth_retrying
from muxtcp.client import Connector, Policy
from muxtcp.codecs import Codec, resolve
from muxtcp.config import Config
from muxtcp.parking import Parking
from muxtcp.session import Handler, Session

from ._memory import Traffic
from .clock import VirtualClockLoop
from .link import Direction, Link

__all__ = ["Direction", "Link", "Pair", "Traffic", "VirtualClockLoop", "pair"]

_PAUSE = 0.01  # seconds between two attempts to resume


@dataclass
class Pair:
    """Two established sessions and the link that joins them; made by `pair`.

    Attributes:
        client: The client's session.
        server: The server's.
        link: The connection between them; with `resume=`, the newest, which may be one that was only tried.
    """

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
    resume: float = 0.0,
    on_link: Callable[[Link], object] | None = None,
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
        resume: Seconds for which the sessions survive a broken link, at most 120. After `pair.link.cut()` they are
            carried on over a new link, which `pair.link` then is; they stay the same objects.
        on_link: Called with every link when it is made, the first one as well: the moment for faults that are to meet
            the handshake of a resumption.
        latency: As for `Link`, and so are the options after it, for every link.
        bandwidth: See `Link`.
        chunk: See `Link`.
        socket_buffer: See `Link`.
        seed: See `Link`.

    Raises:
        ValueError: The link's options are out of range, or `resume` is.
        MuxError: The handshake failed.

    Example:
        async with muxtcp.testing.pair(handler) as pair:
            assert await pair.client.request("echo", b"hello") == b"hello"
    """
    server_config = config or Config()
    new_client = partial(
        Session,
        client=True,
        config=client_config or server_config,
        handler=client_handler,
        codec=resolve(codec),
        resume=resume,
    )
    new_server = partial(
        Session, client=False, config=server_config, handler=handler, codec=resolve(codec), parking=Parking(resume)
    )
    new_link = partial(Link, latency=latency, bandwidth=bandwidth, chunk=chunk, socket_buffer=socket_buffer, seed=seed)
    network = _Network(new_client, new_server, new_link, on_link)
    connector = Connector(
        network.attempt,
        Policy(
            persistent=False,
            backoff=lambda: itertools.repeat(_PAUSE),
            max_attempts=None,
            max_elapsed=None,
            healthy_after=0.0,
            retry=worth_retrying,
            on_state=None,
        ),
    )
    try:
        await connector
        await network.pair.server.established()
        yield network.pair
    finally:
        for session in network.sessions:
            session.abort("the pair's block has ended")
        for session in network.sessions:
            await session.wait_closed()


class _Network:
    """Where the client of a pair dials: each attempt gets a link, and at its other end a new session of the server.

    Attributes:
        pair: What the first attempt made; its link is the newest.
        sessions: The pair's, and those of attempts that have not ended.
    """

    pair: Pair

    def __init__(
        self,
        new_client: Callable[..., Session],
        new_server: Callable[[], Session],
        new_link: Callable[..., Link],
        on_link: Callable[[Link], object] | None,
    ) -> None:
        self.sessions: list[Session] = []
        self._new_client, self._new_server, self._new_link, self._on_link = new_client, new_server, new_link, on_link

    async def attempt(self, **resumption: Any) -> Session:
        """What a `Connector` asks for: a session of a new connection."""
        client, server = self._new_client(**resumption), self._new_server()
        link = self._new_link(client.protocol(), server.protocol())
        if self._on_link is not None:
            self._on_link(link)
        if resumption:
            self.pair.link = link
        else:
            self.pair = Pair(client, server, link)
        self.sessions[2:] = [session for session in self.sessions[2:] if not session.closed]
        self.sessions += client, server
        try:
            await client.established()
        except asyncio.CancelledError:
            client.abort("the attempt was given up")
            raise
        return client
