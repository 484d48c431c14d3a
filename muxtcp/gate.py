"""Gate: how many connections may be in their handshake at once, together and from one origin."""

import ipaddress
from collections import Counter

NETWORK = 64  # bits of an IPv6 address that one host has, as a rule: whoever owns it has all addresses behind them


def origin(host: str) -> str:
    """Where a connection comes from, as caps count it.

    An IPv4 address stands for itself, also when it is written in IPv6; an IPv6 address for its /64, as in Postfix and
    in what is told about nginx: one host can use them all. "" for a local peer, which has no address.

    Example:
        >>> origin("192.0.2.7"), origin("::ffff:192.0.2.7"), origin("2001:db8::dead:beef"), origin("fe80::1%eth0")
        ('192.0.2.7', '192.0.2.7', '2001:db8::/64', 'fe80::/64')
    """
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, NETWORK), strict=False))


class Gate:
    """Counts connections whose handshake has not ended.

    Args:
        most: of them, from wherever.
        most_of_one: of them, from one origin; local peers are not told apart, and have `most`.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._inside = 0
        self._inside_of: Counter[str] = Counter()

    def refusal(self, origin: str) -> str | None:
        """None if one more may enter, else the name of the limit that is reached."""
        if self._inside >= self._most:
            return "over_max_handshakes"
        if origin and self._inside_of[origin] >= self._most_of_one:
            return "over_max_handshakes_per_address"
        return None

    def enter(self, origin: str) -> None:
        """A handshake begins."""
        self._inside += 1
        self._inside_of[origin] += 1

    def leave(self, origin: str) -> None:
        """It has ended, well or not."""
        self._inside -= 1
        self._inside_of[origin] -= 1
        if not self._inside_of[origin]:
            del self._inside_of[origin]
