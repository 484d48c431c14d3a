"""Who a peer is: what a client shows, what its certificate says, and secrets that do not tell themselves."""

import hmac
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Self

Certificate = Mapping[str, Any]  # as `ssl.SSLSocket.getpeercert()` gives it

AuthSource = str | bytes | Callable[[], Awaitable[str | bytes]]


class Secret(bytes):
    """Bytes that do not show themselves where objects are printed: in logs, tracebacks and other objects' `repr`."""

    def __repr__(self) -> str:
        return f"<secret of {len(self)} bytes>"

    __str__ = __repr__

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a secret cannot be pickled")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def same_secret(a: str | bytes, b: str | bytes) -> bool:
    """Whether two secrets are the same, in a time that does not tell how much of them is.

    A comparison with `==` ends at the first difference, and so lets a client find a token byte by byte. Text counts as
    its UTF-8. Two empty secrets are *not* the same: a token that was never configured must not admit those who show
    none.

    Example:
        async def authenticate(credentials: muxtcp.Credentials) -> str | None:
            for name, token in TOKENS.items():
                if muxtcp.same_secret(credentials.token, token):
                    return name
            return None
    """
    one, other = _encoded(a), _encoded(b)
    return hmac.compare_digest(one, other) and one != b""


def _encoded(secret: str | bytes) -> bytes:
    return secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a server knows of a client that wants a session, before it decides.

    Attributes:
        token: what the client gave as `auth=`; b"" for nothing. It does not show itself in `repr()`.
        meta: the client's metadata: its own word, not more.
        certificate: of a client that TLS has verified, as `ssl.SSLSocket.getpeercert()` gives it; else None.
        address: of the client's socket, as the system tells it: (host, port, ...) for TCP, text for a Unix socket.
    """

    token: bytes
    meta: Mapping[str, str]
    certificate: Certificate | None
    address: Any

    @property
    def certificate_identity(self) -> str | None:
        """Whom the certificate names: its first URI, else its first DNS name, else, alone, its common name."""
        return certificate_identity(self.certificate)


Authenticate = Callable[[Credentials], Awaitable[str | None]]


def certificate_identity(certificate: Certificate | None) -> str | None:
    """Whom a verified certificate names: its first URI, else its first DNS name; None for none.

    A URI comes first because a certificate of a service mesh (SPIFFE) names its service so. A certificate without any
    alternative name is named by its common name, unless that has a "://" in it: an authority that issues any common
    name must not thereby issue another's URI.
    """
    if not certificate:
        return None
    others = certificate.get("subjectAltName", ())
    for kind in "URI", "DNS":
        for found, name in others:
            if found == kind and name:
                return str(name)
    for relative in () if others else certificate.get("subject", ()):
        for field, name in relative:
            if field == "commonName" and name and "://" not in name:
                return str(name)
    return None


class Token:
    """What a client shows: always the same, or asked for anew before each attempt.

    Raises:
        TypeError: it is neither text nor bytes nor callable.
    """

    def __init__(self, source: AuthSource) -> None:
        self._ask: Callable[[], Awaitable[str | bytes]] | None = None
        self._fixed = Secret()
        if callable(source):
            self._ask = source
        else:
            self._fixed = _secret(source, "auth")

    @property
    def fixed(self) -> bool:
        """Whether it is always the same."""
        return self._ask is None

    async def current(self) -> Secret:
        """What to show now. Raises whatever the callable does, and TypeError for what is no token."""
        if self._ask is None:
            return self._fixed
        asked = self._ask()
        if not inspect.isawaitable(asked):
            raise TypeError("auth() gave nothing to await: it is an async function")
        return _secret(await asked, "auth()")


def _secret(value: object, what: str) -> Secret:
    if isinstance(value, str):
        return Secret(value.encode())
    if isinstance(value, bytes):
        return Secret(value)
    raise TypeError(f"{what} is text or bytes, not of type {type(value).__name__}")
