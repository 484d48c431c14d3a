"""Addresses, and the sockets behind them: dialling the first that answers, listening on all of them.

The same on every loop: uvloop has no happy eyeballs, and neither loop names the address in each of its errors.
"""

import asyncio
import errno
import logging
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes, urlsplit

try:
    import fcntl
    import termios
except ImportError:  # not a Unix: how much the kernel holds of a connection cannot be asked there
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

STAGGER = 0.25  # seconds between the starts of two attempts in one dial: the figure of RFC 8305
SCHEMES = {"tcp": False, "tls": True, "unix": False}  # and whether TLS is meant

FORGETFUL = (3, 12, 0) <= sys.version_info[:3] < (3, 12, 9) or (3, 13, 0) <= sys.version_info[:3] < (3, 13, 2)
NOT_HERE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}  # a family that a name has and the machine has not
Place = tuple[
    socket.AddressFamily, Any
]  # one of the places behind an address: what a socket of the family binds or connects to


class Address(NamedTuple):
    """Where a peer is: a host and port, the path of a Unix socket, or a socket that is connected (or bound) already."""

    host: str | None = None
    port: int | None = None
    path: str | None = None
    sock: socket.socket | None = None
    tls: bool = False

    @classmethod
    def of(
        cls,
        host: str | None,
        port: int | None,
        path: str | os.PathLike[str] | None,
        sock: socket.socket | None,
    ) -> "Address":
        """The one address that a caller's arguments name; a host may be a URL.

        Raises:
            ValueError: none or more than one is named, or the URL or port is not valid.
            TypeError: the port is not an int.
        """
        given = [name for name, value in (("a host", host), ("path=", path), ("sock=", sock)) if value is not None]
        if len(given) != 1:
            raise ValueError(f"one of a host, path= and sock= is needed, not {' and '.join(given) or 'none'}")
        if host is None and port is not None:
            raise ValueError(f"port {port} goes with a host, not with {given[0]}")
        if sock is not None:
            return cls(sock=sock)
        if path is not None:
            return cls(path=os.fspath(path))
        assert host is not None
        if "://" in host:
            if port is not None:
                raise ValueError(f"the port belongs into the URL {host!r}, not beside it")
            return cls._of_url(host)
        if port is None:
            raise ValueError(f"host {host!r} needs a port")
        if not isinstance(port, int):
            raise TypeError(f"a port is an int, not {port!r}")
        if not 0 <= port <= 65_535:
            raise ValueError(f"port {port} is not between 0 and 65535")
        return cls(host=host, port=port)

    @classmethod
    def _of_url(cls, url: str) -> "Address":
        """An address written as tcp://host:port, tls://host:port or unix:///path.

        IPv6 hosts stand in brackets; in a path, what is special in a URL is written as %xx.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"bad address {url!r}: {error}") from None
        if parts.scheme not in SCHEMES:
            raise ValueError(f"bad address {url!r}: it begins with tcp://, tls:// or unix://")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError(f"bad address {url!r}: it has neither a user nor options")
        if parts.scheme == "unix":
            if parts.netloc or not parts.path:
                raise ValueError(f"bad address {url!r}: a Unix socket is written unix:///path")
            return cls(path=os.fsdecode(unquote_to_bytes(parts.path)))
        if not parts.hostname or port is None or parts.path not in ("", "/"):
            raise ValueError(f"bad address {url!r}: it is written {parts.scheme}://host:port")
        return cls(host=parts.hostname, port=port, tls=SCHEMES[parts.scheme])

    def __str__(self) -> str:
        if self.sock is not None:
            return f"socket {self.sock.fileno()}"
        return self.path if self.path is not None else _host_port(self.host, self.port)


def url(sock: socket.socket, *, tls: bool) -> str:
    """Where a listening socket can be reached, written so that `connect()` takes it."""
    if sock.family == socket.AF_UNIX:
        return f"unix://{quote(os.fsencode(Path(sock.getsockname()).absolute()))}"
    return f"{'tls' if tls else 'tcp'}://{_text(sock.family, sock.getsockname())}"


def _text(family: int, place: Any) -> str:
    """A place as people write it."""
    return str(place) if family == socket.AF_UNIX else _host_port(*place[:2])


def _host_port(host: str | None, port: int | None) -> str:
    """`host:port`, with the brackets that an IPv6 address needs."""
    return f"[{host}]:{port}" if ":" in (host or "") else f"{host or '*'}:{port}"


async def _places(address: Address, *, passive: bool = False) -> list[Place]:
    """Every place behind an address, resolved anew, in the order of preference."""
    if address.path is not None:
        return [(socket.AF_UNIX, address.path)]
    assert address.port is not None
    return await lookup(address.host or None, address.port, socket.AI_PASSIVE if passive else 0)


async def lookup(host: str | None, port: int, flags: int = 0) -> list[Place]:
    """Every place behind a name, in the order of preference.

    One that is an address already is looked up on the spot: there is nobody to ask, a thread would cost more, and
    who dials first would not always be there first.

    Raises:
        OSError: the name cannot be resolved; the text has the name.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags | socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await _asked(host, port, flags)
    return list(dict.fromkeys((family, place) for family, _, _, _, place in found))


async def _asked(host: str | None, port: int, flags: int) -> list[Any]:
    try:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror as error:
        raise socket.gaierror(error.errno, f"cannot resolve {host!r}: {error.strerror}") from error


# Dialling


async def dial(address: Address) -> socket.socket:
    """A connected, non-blocking socket to the first place behind the address that answers.

    A name is resolved anew at each call. With several places behind it, the next is tried when the one before has
    failed or has not answered within `STAGGER` seconds; IPv6 and IPv4 take turns (RFC 8305, "happy eyeballs").

    Raises:
        OSError: no place could be reached; the text names each of them and what it said.
    """
    if address.sock is not None:
        address.sock.setblocking(False)
        return address.sock
    places = deque(_in_turns(await _places(address)))
    attempts: dict[asyncio.Task[socket.socket], Place] = {}
    failures: dict[str, int] = {}
    try:
        while places or attempts:
            if places:
                place = places.popleft()
                attempts[asyncio.create_task(_connected(*place))] = place
            done, _ = await asyncio.wait(
                attempts, timeout=STAGGER if places else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                place = attempts.pop(attempt)
                try:
                    return attempt.result()
                except OSError as error:
                    failures[_text(*place)] = error.errno or errno.ECONNABORTED
    finally:
        for attempt in attempts:
            attempt.cancel()
            attempt.add_done_callback(_discard)
    raise _unreachable(f"cannot connect to {address}", failures)


def _unreachable(what: str, failures: dict[str, int]) -> OSError:
    """One error for all places that failed, of the class that its number stands for."""
    number = next(iter(failures.values()))
    if len(failures) == 1:
        return OSError(number, f"{what}: {os.strerror(number)}")
    return OSError(number, f"{what}: " + "; ".join(f"{place}: {os.strerror(n)}" for place, n in failures.items()))


def _in_turns(places: list[Place]) -> list[Place]:
    """The same places, with the address families taking turns."""
    families: dict[int, list[Place]] = {}
    for place in places:
        families.setdefault(place[0], []).append(place)
    return [place for turn in zip_longest(*families.values()) for place in turn if place is not None]


async def _connected(family: socket.AddressFamily, place: Any) -> socket.socket:
    """A socket connected to one place."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, place)
    except BaseException:
        sock.close()
        raise
    return sock


def _discard(attempt: asyncio.Task[socket.socket]) -> None:
    """Close what an attempt brought that came too late, was cancelled, or nobody waits for any more."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


# Listening


async def listen(address: Address, *, backlog: int, reuse_port: bool = False) -> list[socket.socket]:
    """Listening, non-blocking sockets at every place behind the address; the host None or "" means all interfaces.

    With port 0 the system chooses one, the same for all places. The file of a Unix socket that is there already is
    replaced, as asyncio does it: at the start of a service it is what an earlier run left behind. Closing the socket
    removes its file.

    Raises:
        OSError: a place cannot be bound; the text names it.
    """
    if address.sock is not None:
        address.sock.setblocking(False)
        address.sock.listen(backlog)
        return [address.sock]
    sockets: list[socket.socket] = []
    failures: dict[str, int] = {}
    port = address.port
    try:
        for family, place in await _places(address, passive=True):
            if family != socket.AF_UNIX:
                place = (place[0], port, *place[2:])
            try:
                sockets.append(_bound(family, place, backlog, reuse_port))
            except OSError as error:
                failures[_text(family, place)] = error.errno or errno.ECONNABORTED
                if error.errno not in NOT_HERE:
                    raise _unreachable(f"cannot listen on {address}", failures) from error
            else:
                port = port or sockets[-1].getsockname()[1]
        if not sockets:
            raise _unreachable(f"cannot listen on {address}", failures)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


class UnixListener(socket.socket):
    """A Unix socket that takes its file away when it is closed, unless another has been put in its place."""

    _file: tuple[Path, os.stat_result] | None = None

    def bind(self, place: Any) -> None:
        """Bind to a path, and remember which file that made."""
        super().bind(place)
        path = Path(place).absolute()
        self._file = path, path.stat()

    def close(self) -> None:
        """Remove the file, then close."""
        if self._file is not None:
            (path, ours), self._file = self._file, None
            try:
                if os.path.samestat(path.stat(), ours):
                    path.unlink()
            except OSError as error:
                logger.info("the file of a socket was not removed: %s", error)
        super().close()


def _bound(family: socket.AddressFamily, place: Any, backlog: int, reuse_port: bool) -> socket.socket:
    """A listening socket at one place."""
    sock = (UnixListener if family == socket.AF_UNIX else socket.socket)(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif Path(place).is_socket():
            Path(place).unlink(missing_ok=True)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
        sock.bind(place)
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def writelines(transport: Any) -> Callable[[Sequence[bytes | memoryview]], None]:
    """`transport.writelines`, or what stands in for it where that never says that the transport's buffer is full.

    asyncio's forgot to in 3.12.0 to 3.12.8 and in 3.13.0 and 3.13.1 (CVE-2024-12254); its `write()` always did.
    """
    if not (FORGETFUL and type(transport).__module__ == "asyncio.selector_events"):
        return transport.writelines  # type: ignore[no-any-return]

    def write_many(segments: Sequence[bytes | memoryview]) -> None:
        if len(segments) > 1:
            transport.writelines(segments[:-1])
        transport.write(segments[-1])

    return write_many


def unacknowledged(sock: socket.socket | None) -> int:
    """Bytes written to a TCP socket that the peer's kernel has not acknowledged; 0 where that cannot be known."""
    if sock is None or fcntl is None:
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0])
    except (OSError, ValueError):  # not a socket of a stream, or closed already
        return 0


class Nobody(asyncio.BufferedProtocol):
    """Takes the place of a protocol that has left its connection: what still comes is read and dropped."""

    def __init__(self) -> None:
        self._room = bytearray(65_536)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Somewhere to read to."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """Something was read, for nobody."""
