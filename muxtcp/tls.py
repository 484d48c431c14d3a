"""TLS: a client's own context, and a handshake that fails with the same words at both ends.

Neither asyncio nor uvloop sends the alert that OpenSSL makes when a handshake fails: they drop the connection, and the
peer sees nothing but its end. `attach` and `receive` send it, so that each side can say what the other objected to.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakMethod

LAST_WORDS = 1.0  # seconds that a peer has to take an alert and go
READS = 16  # of 64 KiB: what it may still send meanwhile
UNEXPECTED_MESSAGE = bytes([21, 3, 3, 0, 2, 2, 10])  # a fatal alert, as a record without encryption

Factory = Callable[[], asyncio.BaseProtocol]


def client_context() -> ssl.SSLContext:
    """What `ssl=True` and "tls://" mean: the system's authorities, the host's name checked, TLS 1.2 or newer."""
    context = ssl.create_default_context()
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)  # OpenSSL's own settings may differ
    return context


# What went wrong


class Finding(NamedTuple):
    """What was wrong in a TLS handshake, the same on both sides."""

    name: str  # "client_certificate_expired": stable, a server's counter is "tls_" and this
    text: str

    @property
    def passes(self) -> bool:
        """Whether it may be better next time without a change: the connection broke, or something unknown happened."""
        return self.name == "failed"


OTHER = Finding("failed", "TLS failed")
NO_TLS = Finding("plain_peer", "the peer does not speak TLS")
NO_VERSION = Finding("no_common_version", "the two sides have no version of TLS in common")
NO_CIPHER = Finding(
    "no_common_cipher", "the two sides have no cipher in common, or the client lacks a certificate that is asked for"
)

REASONS = {
    "WRONG_VERSION_NUMBER": NO_TLS,
    "HTTP_REQUEST": NO_TLS,
    "HTTPS_PROXY_REQUEST": NO_TLS,
    "UNKNOWN_PROTOCOL": NO_TLS,
    "PACKET_LENGTH_TOO_LONG": NO_TLS,
    "RECORD_LAYER_FAILURE": NO_TLS,
    "UNSUPPORTED_PROTOCOL": NO_VERSION,
    "NO_PROTOCOLS_AVAILABLE": NO_VERSION,
    "WRONG_SSL_VERSION": NO_VERSION,
    "PROTOCOL_VERSION": NO_VERSION,
    "NO_SHARED_CIPHER": NO_CIPHER,
    "NO_SUITABLE_KEY_SHARE": NO_CIPHER,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": NO_CIPHER,
    "HANDSHAKE_FAILURE": NO_CIPHER,
}

# What can be wrong with a certificate: by what this side found out, and by the alert that tells it the other side did.
WRONG = {
    "missing": "is missing",
    "expired": "has expired",
    "untrusted": "was issued by nobody whom the {other} trusts",
    "wrong_host": "is for another host",
    "rejected": "was rejected by the {other}, as one for another host is",
    "invalid": "is not valid",
}
FOUND = {10: "expired", 62: "wrong_host", 64: "wrong_host"} | dict.fromkeys((2, 7, 18, 19, 20, 21), "untrusted")
ALERTED = {
    "CERTIFICATE_REQUIRED": "missing",
    "CERTIFICATE_EXPIRED": "expired",
    "UNKNOWN_CA": "untrusted",
    "DECRYPT_ERROR": "untrusted",  # an authority of the same name has another key
    "BAD_CERTIFICATE": "rejected",
    "CERTIFICATE_UNKNOWN": "rejected",
    "UNSUPPORTED_CERTIFICATE": "rejected",
    "CERTIFICATE_REVOKED": "rejected",
    "ACCESS_DENIED": "rejected",
}


def finding(error: ssl.SSLError, *, client: bool) -> Finding:
    """What an error of a TLS handshake means, on a client or on a server."""
    own, other = ("client", "server") if client else ("server", "client")
    reason = _reason(error)
    _, _, alert = reason.partition("_ALERT_")
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(other, FOUND.get(getattr(error, "verify_code", 0), "invalid"), own)
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return _certificate(other, "missing", own)
    if alert in ALERTED:
        return _certificate(own, ALERTED[alert], other)
    return REASONS.get(alert or reason, OTHER)


def _reason(error: ssl.SSLError) -> str:
    """OpenSSL's name for it; "" when it has none, as an error that was not made by OpenSSL."""
    return getattr(error, "reason", None) or ""


def _certificate(whose: str, what: str, other: str) -> Finding:
    return Finding(f"{whose}_certificate_{what}", f"the {whose}'s certificate {WRONG[what].format(other=other)}")


def refusal(error: BaseException | None) -> str | None:
    """What a server's alert says against the client's certificate; None for any other error.

    In TLS 1.3 it comes when the handshake is over for the client.
    """
    found = finding(error, client=True) if isinstance(error, ssl.SSLError) else OTHER
    return found.text if found.name.startswith("client_certificate_") else None


def explained(error: ssl.SSLError, what: str, *, client: bool) -> ssl.SSLError:
    """The same error, with a text that says what was attempted and what was wrong, beside OpenSSL's own words."""
    again = type(error)(error.errno, f"{what}: {finding(error, client=client).text}: {error.strerror}")
    again.__dict__.update(error.__dict__)
    return again


# Connections


async def attach(
    sock: socket.socket, factory: Factory, context: "StandIn | None", server_hostname: str, limit: asyncio.Timeout
) -> None:
    """Give a connected socket, through TLS if there is a context, to a client's protocol; close it when that fails.

    `limit` is that of the whole; a failure of TLS that is found within it stands, however long the peer takes the news.
    """
    loop = asyncio.get_running_loop()
    create = loop.create_unix_connection if sock.family == socket.AF_UNIX else loop.create_connection
    async with _closing(sock), _telling(sock, context, limit):
        await create(factory, sock=sock, ssl=context, server_hostname=server_hostname if context else None)


async def receive(sock: socket.socket, factory: Factory, context: "StandIn | None", limit: asyncio.Timeout) -> None:
    """The same for an accepted socket and a server's protocol."""
    async with _closing(sock), _telling(sock, context, limit):
        await asyncio.get_running_loop().connect_accepted_socket(factory, sock, ssl=context)


@asynccontextmanager
async def _closing(sock: socket.socket) -> AsyncIterator[None]:
    try:
        yield
    except BaseException as error:
        sock.close()
        if isinstance(error, ConnectionResetError) and not error.args:  # what the loops make of an end
            raise ConnectionResetError(
                errno.ECONNRESET, "the peer closed the connection in the TLS handshake"
            ) from error
        raise


@asynccontextmanager
async def _telling(sock: socket.socket, context: "StandIn | None", limit: asyncio.Timeout) -> AsyncIterator[None]:
    """If the TLS handshake inside fails, the peer is told."""
    if context is None:
        yield
        return
    with sock.dup() as line:  # the loop has closed its own before the failure is known here
        try:
            yield
        except ssl.SSLError as error:
            plain = UNEXPECTED_MESSAGE if REASONS.get(_reason(error)) is NO_TLS else b""
            if alert := getattr(error, "alert", b"") or plain:
                if not limit.expired():
                    limit.reschedule(None)  # the last words have a limit of their own
                await _say(line, alert)
            raise


async def _say(line: socket.socket, alert: bytes) -> None:
    """Send the last that is said, and read until the peer goes: closed with unread input, the socket would send RST."""
    loop = asyncio.get_running_loop()
    with suppress(TimeoutError, OSError):  # the peer has gone without listening
        async with asyncio.timeout(LAST_WORDS):
            await loop.sock_sendall(line, alert)
            line.shutdown(socket.SHUT_WR)
            for _ in range(READS):
                if not await loop.sock_recv(line, 65_536):
                    return


class StandIn(ssl.SSLContext):
    """Does what another context does, and puts the alert of a handshake that fails into the error, as `alert`.

    The loops call `wrap_bio` and then `do_handshake`; when that raises they throw away what it has written. One of
    these serves all connections: making a context takes half a millisecond.
    """

    def __new__(cls, context: ssl.SSLContext) -> "StandIn":  # noqa: D102
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **options: Any) -> ssl.SSLObject:
        """The other context's object, whose handshake is watched."""
        wrapped = self._context.wrap_bio(incoming, outgoing, *args, **options)
        handshake = WeakMethod(wrapped.do_handshake)  # or it would hold itself
        wrapped.do_handshake = partial(_shake_hands, handshake, outgoing)  # type: ignore[method-assign]
        return wrapped


def _shake_hands(method: WeakMethod[Callable[[], None]], outgoing: ssl.MemoryBIO) -> None:
    do_handshake = method()
    assert do_handshake is not None
    try:
        do_handshake()
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        raise
    except ssl.SSLError as error:
        error.alert = outgoing.read()  # type: ignore[attr-defined]
        raise
