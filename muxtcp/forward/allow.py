"""The allow list of a gateway: where clients may go, and where they may have it listen. Empty, it allows nothing."""

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

from muxtcp.sockets import lookup

from .endpoints import EVERYWHERE, Endpoint

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IP = ipaddress.IPv4Address | ipaddress.IPv6Address

ALL_PORTS = range(1, 65_536)


class Forbidden(Exception):
    """The allow list has nothing for it; the text says for what."""


class Rule(NamedTuple):
    """One line of an allow list.

    host:port, with a name, `*.domain`, an address, a network such as 10.0.0.0/8, or `*` for any host; the port a
    number, a range such as 8000-8099, or `*`. Or the /path of a Unix socket.
    """

    text: str
    ports: range = range(0)
    name: str = ""  # in lower case; "*.domain" for all below a domain
    network: Network | None = None
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """A rule from its text.

        Raises:
            ValueError: it is none, and says what is wrong.
        """
        if text.startswith("/"):
            return cls(text, path=text)
        host, colon, port = text.rpartition(":")
        if not colon or not host or (":" in host) != (host[0] == "[" and "]" in host):
            raise ValueError(f"{text!r} is not a rule: write host:port, [IPv6 or network]:port or /path")
        host = host.replace("[", "").replace("]", "").lower()
        try:
            return cls(text, _ports(port, text), network=ipaddress.ip_network(host))
        except ValueError as error:
            if "/" in host or ":" in host:
                raise ValueError(f"{text!r}: {error}") from None
        return cls(text, _ports(port, text), name=host.rstrip("."))

    def names(self, host: str) -> bool:
        """Whether the rule is for this very name, whatever it resolves to."""
        host = host.lower().rstrip(".")
        if self.name.startswith("*."):
            return host.endswith(self.name[1:])
        return self.name in (EVERYWHERE, host)

    def holds(self, address: IP) -> bool:
        """Whether the address is in the rule's network."""
        return self.network is not None and address in self.network


def _ports(text: str, rule: str) -> range:
    if text == EVERYWHERE:
        return ALL_PORTS
    first, dash, last = text.partition("-")
    if not all(part.isascii() and part.isdecimal() for part in (first, last or first)) or (dash and not last):
        raise ValueError(f"{rule!r}: {text!r} is not a port, a range such as 8000-8099, or *")
    ports = range(int(first), int(last or first) + 1)
    if not ports or ports[0] < 1 or ports[-1] > 65_535:
        raise ValueError(f"{rule!r}: {text!r} is not within 1-65535, the lower one first")
    return ports


class AllowList:
    """What a gateway's clients may have: `targets` to connect to, `binds` to listen on.

    A rule with a name is for that name as the client says it, whatever it resolves to. A rule with an address or a
    network is for the addresses that the host resolves to: others are left out, and what was checked is what is
    dialled, so that a name which resolves differently a moment later gains nothing.

    Example:
        allow = AllowList.of(["db.internal:5432", "10.0.0.0/8:8000-8099"])
        await allow.target(Endpoint.parse("db.internal:5432"))
    """

    def __init__(self, targets: Iterable[Rule] = (), binds: Iterable[Rule] = ()) -> None:
        self.targets = list(targets)
        self.binds = list(binds)

    @classmethod
    def of(cls, targets: Iterable[str] = (), binds: Iterable[str] = ()) -> Self:
        """A list from the text of its rules.

        Raises:
            ValueError: one of them is none.
        """
        return cls(map(Rule.parse, targets), map(Rule.parse, binds))

    @classmethod
    def read(cls, path: Path) -> Self:
        """A list from a file: `allow RULE` and `listen RULE`, one a line; from a # on a line is a comment.

        Raises:
            OSError: it cannot be read.
            ValueError: a line is neither; the text names its number.
        """
        found = cls()
        kinds = {"allow": found.targets, "listen": found.binds}
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            if len(words) != 2 or words[0] not in kinds:
                raise ValueError(f"{path}, line {number}: {line.strip()!r} is neither allow RULE nor listen RULE")
            try:
                kinds[words[0]].append(Rule.parse(words[1]))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
        return found

    def __add__(self, other: "AllowList") -> "AllowList":
        return AllowList(self.targets + other.targets, self.binds + other.binds)

    async def target(self, endpoint: Endpoint) -> list[Endpoint]:
        """The places behind an endpoint that may be dialled, in the order of preference.

        Raises:
            Forbidden: none may.
            OSError: its name cannot be resolved, and that was needed to know.
        """
        return await _allowed(endpoint, self.targets, "is not on the gateway's allow list")

    async def bind(self, endpoint: Endpoint) -> list[Endpoint]:
        """The same for a place to listen on; port 0 asks for any, and needs a rule for all of them."""
        return await _allowed(endpoint, self.binds, "is no place that the gateway may listen on")


async def _allowed(endpoint: Endpoint, rules: list[Rule], otherwise: str) -> list[Endpoint]:
    if endpoint.path:
        if any(rule.path == endpoint.path for rule in rules):
            return [endpoint]
        raise Forbidden(f"{endpoint} {otherwise}")
    rules = [r for r in rules if endpoint.port in r.ports or (endpoint.port == 0 and r.ports == ALL_PORTS)]
    if any(rule.names(endpoint.host) for rule in rules):
        return [endpoint]
    networks = [rule for rule in rules if rule.network is not None]
    if networks and endpoint.host != EVERYWHERE:  # else nobody has to be asked for the name
        addresses = dict.fromkeys(str(place[0]) for _, place in await lookup(endpoint.host, endpoint.port))
        if allowed := [address for address in addresses if any(rule.holds(_plain(address)) for rule in networks)]:
            return [Endpoint(address, endpoint.port) for address in allowed]
    raise Forbidden(f"{endpoint} {otherwise}")


def _plain(address: str) -> IP:
    """The address itself: an IPv4 one that is written as IPv6 (::ffff:127.0.0.1) goes to the IPv4 one."""
    ip = ipaddress.ip_address(address)
    return getattr(ip, "ipv4_mapped", None) or ip
