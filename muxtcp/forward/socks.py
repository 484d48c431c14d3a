"""The part of SOCKS 5 (RFC 1928) that clients of `-D` speak: CONNECT, without authentication."""

import asyncio
import ipaddress
import struct
from collections.abc import Callable
from typing import cast

from muxtcp import ChannelRefused, ChannelReset, Code

from .endpoints import Endpoint
from .faults import Fault

VERSION = 5
NO_AUTHENTICATION, NONE_ACCEPTABLE = 0, 0xFF
CONNECT = 1
IPV4, NAME, IPV6 = 1, 3, 4
SIZES = {IPV4: 4, IPV6: 16}

SUCCEEDED, FAILED, NOT_ALLOWED, HOST_UNREACHABLE, REFUSED = 0, 1, 2, 4, 5
COMMAND_NOT_SUPPORTED, ADDRESS_NOT_SUPPORTED = 7, 8
REPLIES: dict[int, int] = {
    Code.FORBIDDEN: NOT_ALLOWED,
    Fault.REFUSED: REFUSED,
    Fault.UNREACHABLE: HOST_UNREACHABLE,
    Fault.UNKNOWN_HOST: HOST_UNREACHABLE,
    Fault.TIMED_OUT: HOST_UNREACHABLE,
}


class BadRequest(Exception):
    """What the client said is not in the subset. `answer` is what to send it before closing."""

    def __init__(self, what: str, answer: bytes = b"") -> None:
        super().__init__(what)
        self.answer = answer


def reply(code: int) -> bytes:
    """The answer to a request; of the address that it could name no client makes use."""
    return struct.pack("!BBBB4xH", VERSION, code, 0, IPV4, 0)


def reply_to(error: Exception) -> bytes:
    """The answer for a channel that came to nothing."""
    code = error.code if isinstance(error, ChannelRefused | ChannelReset) else 0
    return reply(REPLIES.get(code, FAILED))


class Conversation:
    """What a client says before its connection is carried; knows no socket.

    `feed()` it with what comes, send what that returns, until `target` is there; `rest` is what came behind it.
    """

    def __init__(self) -> None:
        self.target: Endpoint | None = None
        self.rest = b""
        self._greeted = False

    def feed(self, data: bytes) -> bytes:
        """What to answer now.

        Raises:
            BadRequest: the conversation is over.
        """
        self.rest += data
        answer = b""
        if not self._greeted:
            answer = self._greeting()
        if self._greeted and self.target is None:
            self._request()
        return answer

    def _greeting(self) -> bytes:
        said = self.rest
        if said[:1] and said[0] != VERSION:
            raise BadRequest(f"a client that does not speak SOCKS 5: it began with {said[:16]!r}")
        if len(said) < 2 or len(said) < 2 + said[1]:
            return b""
        methods, self.rest = said[2 : 2 + said[1]], said[2 + said[1] :]
        if NO_AUTHENTICATION not in methods:
            raise BadRequest("a SOCKS client that insists on authentication", bytes([VERSION, NONE_ACCEPTABLE]))
        self._greeted = True
        return bytes([VERSION, NO_AUTHENTICATION])

    def _request(self) -> None:
        said = self.rest
        if len(said) < 5:
            return
        version, command, _, kind, first = said[:5]
        if version != VERSION:
            raise BadRequest(f"a SOCKS request of version {version}")
        if command != CONNECT:
            raise BadRequest(f"SOCKS command {command}, where only CONNECT is served", reply(COMMAND_NOT_SUPPORTED))
        if kind not in (IPV4, NAME, IPV6):
            raise BadRequest(f"SOCKS address of type {kind}", reply(ADDRESS_NOT_SUPPORTED))
        begin = 5 if kind == NAME else 4
        end = begin + (first if kind == NAME else SIZES[kind])
        if len(said) < end + 2:
            return
        host, port = said[begin:end], int.from_bytes(said[end : end + 2])
        self.rest = said[end + 2 :]
        try:
            self.target = Endpoint(host.decode("ascii") if kind == NAME else str(ipaddress.ip_address(host)), port)
        except UnicodeDecodeError:
            raise BadRequest(f"a host that is not a name: {host!r}", reply(HOST_UNREACHABLE)) from None
        if not (self.target.host and port):
            raise BadRequest(f"no place to connect to: {self.target}", reply(HOST_UNREACHABLE))


class SocksClient(asyncio.Protocol):
    """A connection of a SOCKS client, up to its request; then whoever waits for `asked` takes its transport over."""

    def __init__(self, arrived: Callable[["SocksClient"], object]) -> None:
        self.transport: asyncio.Transport
        self.asked: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
        self._arrived = arrived
        self._conversation = Conversation()

    @property
    def early(self) -> bytes:
        """What the client said behind its request."""
        return self._conversation.rest

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It has come."""
        self.transport = cast("asyncio.Transport", transport)  # those of uvloop are none by name
        self._arrived(self)

    def data_received(self, data: bytes) -> None:
        """It says something."""
        if self.asked.done():
            return
        try:
            answer = self._conversation.feed(data)
        except BadRequest as error:
            self.transport.write(error.answer)
            self.asked.set_exception(error)
            return
        if answer:
            self.transport.write(answer)
        if self._conversation.target is not None:
            self.transport.pause_reading()
            self.asked.set_result(self._conversation.target)

    def eof_received(self) -> None:
        """It left before it asked for anything; the transport is closed."""

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if not self.asked.done():
            self.asked.set_exception(BadRequest("a client that left before it asked for anything"))
