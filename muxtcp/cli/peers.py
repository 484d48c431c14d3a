"""Where the other side is, and how the two know each other: addresses, tokens and certificates."""

import argparse
import ipaddress
import os
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import muxtcp

from .usage import USAGE, Failure, parsed_by

TOKEN_VARIABLE = "MUXTCP_TOKEN"
LEAST_TOKEN = 16  # characters: 64 bits even where they are hexadecimal


# On the command line


def add_dialling(parser: argparse.ArgumentParser, place: str) -> None:
    """The words of a command that dials."""
    add = parser.add_argument
    add(place, type=parsed_by(address), help="host:port, tls://host:port or unix:///path")
    add("--tls-ca", type=Path, metavar="FILE", help="who issued the other side's certificate; default: the system's")
    add("--tls-cert", type=Path, metavar="FILE", help="this side's certificate, for a server that wants one")
    add("--tls-key", type=Path, metavar="FILE", help="its key, unless the certificate's file has it")
    add("--tls-name", metavar="NAME", help="the name in the other side's certificate; default: its host")
    _add_common(parser)


def add_serving(parser: argparse.ArgumentParser) -> None:
    """The words of a command that serves."""
    add = parser.add_argument
    add("listen", type=parsed_by(address), help="host:port, tls://host:port or unix:///path")
    add("--tls-cert", type=Path, metavar="FILE", help="this side's certificate, which tls:// needs")
    add("--tls-key", type=Path, metavar="FILE", help="its key, unless the certificate's file has it")
    add("--tls-client-ca", type=Path, metavar="FILE", help="clients need a certificate that this authority has issued")
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--token-file", type=Path, metavar="FILE", help=f"default: the variable {TOKEN_VARIABLE}")
    add("--insecure", action="store_true", help="do without TLS or authentication where others could reach or read it")
    add("-v", "--verbose", action="store_true", help="tell more")


def dialled(options: argparse.Namespace, url: str) -> Callable[..., muxtcp.Connector]:
    """`muxtcp.connect` with what the command line says of the other side and of this one.

    Raises:
        Failure: a file cannot be used, or the token could be read on its way.
    """
    secret = token(options.token_file)
    tls = client_context(url, options.tls_ca, options.tls_cert, options.tls_key)
    if secret and tls is None and not (options.insecure or within_the_machine(url)):
        raise Failure(f"the token could be read on its way to {url}: use tls://, or --insecure", USAGE)
    return partial(muxtcp.connect, url, ssl=tls, server_hostname=options.tls_name, auth=secret)


def address(text: str) -> str:
    """Where a peer is, as a URL; host:port means tcp://host:port.

    Raises:
        ValueError: it is neither.
    """
    url = text if "://" in text else f"tcp://{text}"
    muxtcp.connect(url, ssl=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.startswith("tls:") else None)
    return url


def within_the_machine(url: str) -> bool:
    """Whether what is said to an address cannot be read on a network."""
    host = urlsplit(url).hostname
    if url.startswith("unix:") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class Door:
    """Where a command serves, and whom: by the tokens of a file or of the environment, and by certificate.

    Raises:
        Failure: a file cannot be used, or anybody could come in.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._tls = server_context(options)
        self._tokens = tokens(options.token_file)
        known = self._tls is not None and (self._tokens or options.tls_client_ca)
        if not (known or options.insecure or within_the_machine(options.listen)):
            raise Failure(
                f"others can reach {options.listen}: use tls:// with --token-file or --tls-client-ca, or --insecure",
                USAGE,
            )

    @property
    def serve(self) -> Callable[..., muxtcp.Server]:
        """`muxtcp.serve` with the place and what belongs to it."""
        authenticate = self.authenticate if self._tokens else None
        return partial(muxtcp.serve, host=self._options.listen, ssl=self._tls, authenticate=authenticate)

    def reload(self) -> None:
        """Read tokens and certificate again."""
        self._tokens = tokens(self._options.token_file)
        if self._tls is not None:
            load_certificate(self._tls, self._options.tls_cert, self._options.tls_key)

    async def authenticate(self, credentials: muxtcp.Credentials) -> str | None:
        """The name that belongs to what a client shows."""
        names = [name for known, name in self._tokens.items() if muxtcp.same_secret(known, credentials.token)]
        return names[0] if names else None


# Secrets and TLS


def token(path: Path | None) -> str:
    """The token of a file, else of the environment; "" for none. Never of the command line, which everyone can read."""
    if path is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip()
    found = _read(path).strip()
    if not found:
        raise Failure(f"--token-file {path} is empty", USAGE)
    return found


def tokens(path: Path | None) -> dict[str, str]:
    """Who may come in, by token: from a file with `token` or `name token` on each line, else from the environment."""
    if path is None:
        lines = [os.environ.get(TOKEN_VARIABLE, "")]
    else:
        lines = [line.partition("#")[0] for line in _read(path).splitlines()]
    found = {}
    for words in filter(None, map(str.split, lines)):
        if len(words) > 2:
            raise Failure(f"--token-file {path}: a line is `token` or `name token`, not {len(words)} words", USAGE)
        if len(words[-1]) < LEAST_TOKEN:
            raise Failure(f"a token of {len(words[-1])} characters can be guessed: use {LEAST_TOKEN} or more", USAGE)
        found[words[-1]] = words[0] if len(words) == 2 else "token"
    if path is not None and not found:
        raise Failure(f"--token-file {path} is empty", USAGE)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read {path}: {getattr(error, 'strerror', None) or error}", USAGE) from error


def load_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Have a context show a certificate; anew for one that was replaced."""
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise Failure(
            f"cannot use the certificate {certificate} with {key or 'its own key'}: {error}", USAGE
        ) from error


def load_authority(context: ssl.SSLContext, authority: Path) -> None:
    """Have a context trust what an authority issues."""
    try:
        context.load_verify_locations(authority)
    except (OSError, ssl.SSLError) as error:
        raise Failure(f"cannot use the authority {authority}: {error}", USAGE) from error


def client_context(
    url: str, authority: Path | None, certificate: Path | None, key: Path | None
) -> ssl.SSLContext | None:
    """The TLS of a client; None where the address has none."""
    if not url.startswith("tls:"):
        if authority or certificate or key:
            raise Failure(f"--tls-... goes with a tls:// address, not with {url}", USAGE)
        return None
    context = ssl.create_default_context()
    if authority:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        load_authority(context, authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate:
        load_certificate(context, certificate, key)
    return context


def server_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    """The TLS of a server; None where the address has none."""
    if not options.listen.startswith("tls:"):
        if options.tls_cert or options.tls_key or options.tls_client_ca:
            raise Failure(f"--tls-... goes with a tls:// address, not with {options.listen}", USAGE)
        return None
    if not options.tls_cert:
        raise Failure(f"{options.listen} needs --tls-cert", USAGE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_certificate(context, options.tls_cert, options.tls_key)
    if options.tls_client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        load_authority(context, options.tls_client_ca)
    return context
