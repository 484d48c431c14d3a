"""A gateway and a forwarder in one process, and the programs on either side of them: plain sockets that do as told."""

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import muxtcp
from muxtcp.forward import AllowList, Endpoint, Forwarder, Forwarding, Gateway
from muxtcp.forward.carrier import Carrier

HERE = "127.0.0.1"


class Tunnel(NamedTuple):
    """Both ends of a link that is up, and the task that keeps it so."""

    forwarder: Forwarder
    gateway: Gateway
    running: asyncio.Task[None]

    def port(self, number: int = 0) -> int:
        """Where the forwarder listens for the forwarding of this number."""
        return port_of(self.forwarder.listening[number])


def port_of(listening: str) -> int:
    """The port in what is said of a listener."""
    return int(listening.split(" ")[0].rpartition(":")[2])


@contextlib.asynccontextmanager
async def tunnel(
    *local: str,
    allow: list[str],
    listen: list[str] | None = None,
    remote: list[str] | None = None,
    socks: bool = False,
    via: Callable[[str], Any] = str,
    config: muxtcp.Config | None = None,
    **options: Any,
) -> AsyncIterator[Tunnel]:
    """A link that is up: `via` gives the address that the forwarder dials for that of the gateway."""
    forwardings = [Forwarding.parse(text) for text in local]
    if socks:
        forwardings.append(Forwarding(Endpoint.listening("127.0.0.1:0"), None))
    serve = partial(muxtcp.serve, host=HERE, port=0, config=config)
    carrier = Carrier(dial_timeout=60.0)  # seconds: a machine may be slow
    async with Gateway(serve, AllowList.of(allow, listen or []), carrier=carrier) as gateway:
        connect = partial(
            muxtcp.connect,
            via(gateway.addresses[0]),
            config=config,
            backoff=muxtcp.constant(0.01, jitter=0),
            **options,
        )
        remotes = [Forwarding.parse(text) for text in remote or []]
        async with Forwarder(connect, local=forwardings, remote=remotes) as forwarder:
            running = asyncio.create_task(forwarder.run())
            try:
                yield Tunnel(forwarder, gateway, running)
            finally:
                running.cancel()
                await asyncio.wait([running])


@contextlib.asynccontextmanager
async def target(serve: Callable[["Plug"], Awaitable[object]], path: str | None = None) -> AsyncIterator[str]:
    """A program that serves each connection, and bears that one is reset; its place, as the command line writes it."""
    listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    listener.bind(path or (HERE, 0))
    listener.listen(4_096)
    listener.setblocking(False)
    tasks: set[asyncio.Task[None]] = set()
    failures: list[BaseException] = []

    async def one(sock: socket.socket) -> None:
        with sock, contextlib.suppress(ConnectionError):
            await serve(Plug(sock))

    def served(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            failures.append(error)

    async def accept() -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(listener)
            task = asyncio.create_task(one(sock))
            tasks.add(task)
            task.add_done_callback(served)

    accepting = asyncio.create_task(accept())
    try:
        yield path or f"{HERE}:{listener.getsockname()[1]}"
    finally:
        for task in {accepting, *tasks}:
            task.cancel()
        await asyncio.wait({accepting, *tasks})
        listener.close()
    if failures:
        raise failures[0]


class Plug:
    """One end of a connection, as a program has it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)
        self._loop = asyncio.get_running_loop()

    async def say(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.sock, data)

    async def hear(self, size: int = 65_536) -> bytes:
        """What has come; b"" at the end. ConnectionResetError for a reset."""
        return await self._loop.sock_recv(self.sock, size)

    async def hear_all(self) -> bytes:
        """Everything up to the end."""
        heard = bytearray()
        while data := await self.hear():
            heard += data
        return bytes(heard)

    def finish(self) -> None:
        """Send FIN; the other direction goes on. ConnectionError if the connection was reset."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            raise ConnectionResetError(error.errno, error.strerror) from error

    def reset(self) -> None:
        """Send RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


@contextlib.asynccontextmanager
async def plug(place: int | str) -> AsyncIterator[Plug]:
    """A connection to a port of this machine, or to a Unix socket."""
    with socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET) as sock:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, place if isinstance(place, str) else (HERE, place))
        yield Plug(sock)
