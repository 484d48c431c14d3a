"""serve_web(): sessions over WebSockets, and the page that opens them."""

import logging
import os
import ssl as tls
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio import server as websockets
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

import muxtcp

from ._transport import WebSocketTransport
from .bridge import Bridge
from .pace import Pace
from .pages import Pages

logger = logging.getLogger(__name__)

Handler = Callable[[muxtcp.Channel], Any]

PROTOCOL = Subprotocol("muxtcp")
WRITE_MARKS = (32_768, 8_192)  # bytes in a WebSocket: what is urgent waits behind them
QUEUE = 4  # messages that are read ahead


def serve_web(
    target: Handler | muxtcp.Server | str,
    host: str | None,
    port: int,
    *,
    path: str = "/mux",
    static: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]] | None = None,
    origins: Sequence[str] | None = None,
    ssl: tls.SSLContext | None = None,
    max_size: int = 1_048_576,
    max_rate: float = 5_000.0,
    max_connections: int = 4_096,
    open_timeout: float = 5.0,
    **options: Any,
) -> "Site":
    """Serve sessions to browsers: each WebSocket carries the byte stream of one, as binary messages.

    Nothing happens before the site is awaited or entered:

        async with serve_web(handler, "0.0.0.0", 8080, static="page") as site:      # handlers, as of muxtcp.serve()
            await site.wait_closed()
        async with muxtcp.serve(handler, "127.0.0.1", 7777) as server:                 # the same server over both
            async with serve_web(server, "0.0.0.0", 8080):
                ...
        async with serve_web("tcp://inner:7777", "0.0.0.0", 8080):                     # a bridge to a server elsewhere
            ...

    Args:
        target: a handler of channels; or a server that is there already, whose sessions, limits and authentication then
            hold for browsers, too; or the address of one elsewhere, which sees this process's address for that of each
            client.
        host: a name or address to listen on; None or "" for all interfaces.
        port: 0 lets the system choose: see `Site.port`.
        path: of the WebSocket.
        static: a folder whose files are served over HTTP, or several, each under its path: {"/": "page", "/muxtcp/":
            muxtcp.web.STATIC}. A folder alone has the JavaScript module beside it, under /muxtcp/.
        origins: pages that may open a WebSocket, such as "https://example.org"; "*" for all. Unless given, those from
            this site's own host. A client without an origin is no browser, and is let in.
        ssl: a context with the server's certificate, for https: and wss:.
        max_size: bytes of one WebSocket message; one that is larger ends its connection.
        max_rate: messages a second of one WebSocket; one that sends more is read more slowly.
        max_connections: WebSockets at the same time.
        open_timeout: seconds for TLS and the request.
        options: of `muxtcp.serve()`, when the target is a handler: authenticate, on_session, config, resume...

    Raises:
        ValueError: an argument is out of range, `path` does not begin with /, or a folder is not there.
        TypeError: options come with a target that is no handler.

    The site, when started, raises:
        OSError: the place cannot be listened on.
    """
    if not path.startswith("/"):
        raise ValueError(f"path is {path!r}, which does not begin with /")
    numbers = {
        "max_size": max_size,
        "max_rate": max_rate,
        "max_connections": max_connections,
        "open_timeout": open_timeout,
    }
    if wrong := [f"{name} is {value:g}, not more than 0" for name, value in numbers.items() if not value > 0]:
        raise ValueError("; ".join(wrong))
    if options and not callable(target):
        raise TypeError(f"{', '.join(options)}: a target that is there already has its own options")
    goal: muxtcp.Server | Bridge
    if callable(target):
        goal = muxtcp.serve(target, listening=False, **options)
    else:
        goal = Bridge(target) if isinstance(target, str) else target
    return Site(
        target=goal,
        own=goal if callable(target) and isinstance(goal, muxtcp.Server) else None,
        place=(host or None, port),
        path=path,
        pages=Pages(_folders(static)),
        origins=origins,
        ssl=ssl,
        max_size=max_size,
        max_rate=max_rate,
        max_connections=max_connections,
        open_timeout=open_timeout,
    )


def _folders(static: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]] | None) -> dict[str, Path]:
    if static is None:
        return {}
    if isinstance(static, Mapping):
        return {path: Path(folder) for path, folder in static.items()}
    return {"/": Path(static), "/muxtcp/": Path(__file__).parent / "static"}


class Site:
    """What `serve_web()` returns: awaitable, and an async context manager that closes it at the end.

    Attributes:
        counters: since the start: `accepted` WebSockets, `pages` served, and what was refused: `bad_origin`,
            `bad_request` (no WebSocket where one is served), `not_found`, `over_max_connections`, `text_message`,
            `empty_message`, `too_large`, `slow_reader`, `unreachable` (the server behind a bridge). Bytes that are not
            muxtcp, and clients that may not come in, are counted by the server.
    """

    def __init__(
        self,
        *,
        target: muxtcp.Server | Bridge,
        own: muxtcp.Server | None,
        place: tuple[str | None, int],
        path: str,
        pages: Pages,
        origins: Sequence[str] | None,
        ssl: tls.SSLContext | None,
        max_size: int,
        max_rate: float,
        max_connections: int,
        open_timeout: float,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._target = target
        self._own = own
        self._host, self._port = place
        self._path = path
        self._pages = pages
        self._origins = origins
        self._ssl = ssl
        self._max_size, self._max_rate, self._max_connections = max_size, max_rate, max_connections
        self._open_timeout = open_timeout
        self._listener: websockets.Server | None = None
        self._inside = 0

    # Life

    def __await__(self) -> Generator[Any, None, "Site"]:
        return self._start().__await__()

    async def __aenter__(self) -> "Site":
        return await self._start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _start(self) -> "Site":
        if self._listener is not None:
            raise RuntimeError("a site can be started only once")
        if self._own is not None:
            await self._own
        self._listener = await websockets.serve(
            self._serve,
            self._host,
            self._port,
            ssl=self._ssl,
            process_request=self._answer,
            select_subprotocol=lambda _, offered: PROTOCOL if PROTOCOL in offered else None,
            compression=None,  # of bytes that others chose, beside secrets, it gives those away
            server_header=None,
            open_timeout=self._open_timeout,
            ping_interval=None,  # sessions look themselves whether their peers live
            max_size=self._max_size,
            max_queue=QUEUE,
            write_limit=WRITE_MARKS,
            logger=logging.getLogger(f"{__name__}.websockets"),
        )
        return self

    async def close(self) -> None:
        """Stop accepting, and close every session that came this way. More than once is harmless."""
        if self._own is not None:
            await self._own.close()
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()

    async def wait_closed(self) -> None:
        """Wait until the site is closed."""
        assert self._listener is not None
        await self._listener.wait_closed()

    # Facts

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._listener is not None
        port: int = next(iter(self._listener.sockets)).getsockname()[1]
        return port

    @property
    def server(self) -> muxtcp.Server | None:
        """Whose sessions these are; None for a bridge."""
        return self._target if isinstance(self._target, muxtcp.Server) else None

    # Requests

    def _answer(self, connection: websockets.ServerConnection, request: Request) -> Response | None:
        """None to go on with a WebSocket, else what is answered over HTTP."""
        path = request.path.partition("?")[0]
        if path != self._path:
            response = self._pages.respond(path)
            self.counters["not_found" if response is None else "pages"] += 1
            return response or connection.respond(HTTPStatus.NOT_FOUND, f"there is no {path}\n")
        if request.headers.get("Upgrade", "").lower() != "websocket":
            self.counters["bad_request"] += 1
            return connection.respond(HTTPStatus.UPGRADE_REQUIRED, "here is a WebSocket of muxtcp, and no page\n")
        if not self._known(request):
            self.counters["bad_origin"] += 1
            logger.info("a page from %r may not open a WebSocket here", request.headers.get("Origin"))
            return connection.respond(HTTPStatus.FORBIDDEN, "this page may not open a WebSocket here: bad_origin\n")
        if self._inside >= self._max_connections:
            self.counters["over_max_connections"] += 1
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections: over_max_connections\n")
        return None

    def _known(self, request: Request) -> bool:
        """Whether the page that asks may do so."""
        origin = request.headers.get("Origin")
        if origin is None:
            return True
        if self._origins is not None:
            return "*" in self._origins or origin in self._origins
        return urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower()

    async def _serve(self, connection: websockets.ServerConnection) -> None:
        """The life of one WebSocket."""
        self.counters["accepted"] += 1
        self._inside += 1
        pace = Pace(self._max_rate)
        try:
            if isinstance(self._target, Bridge):
                await self._target.run(connection, self.counters, pace)
            else:
                transport = WebSocketTransport(connection, self.counters, pace)
                self._target.admit(transport.attach, transport.abort, connection.remote_address[0])
                await transport.run()
        except ConnectionClosed:
            pass  # by the client, in whatever way: it is gone
        finally:
            self._inside -= 1
