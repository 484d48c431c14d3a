"""Places that connections come from and go to, and how the command line writes them."""

import re
from typing import NamedTuple, Self

FIELD = re.compile(r"\[([^\[\]]*)\]|([^:\[\]]*)")
DEFAULT_BIND = "localhost"
EVERYWHERE = "*"


class Endpoint(NamedTuple):
    """A host and port, or the path of a Unix socket. `str()` writes it so that `parse()` reads it."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """An endpoint from "db:5432", "[::1]:5432" or "/run/db.sock".

        Raises:
            ValueError: it is none of these.
        """
        fields = _fields(text)
        if len(fields) == 1 and text.startswith("/"):
            return cls(path=text)
        if len(fields) != 2 or not _is_host(fields[0]):
            raise ValueError(f"{text!r} is not a place: write host:port, [IPv6]:port or /path")
        return cls(fields[0], _port(fields[1], text, lowest=1))

    @classmethod
    def listening(cls, text: str) -> Self:
        """Where to listen, from "8080", "bind:8080", "*:8080" (on all interfaces), port 0 for any, or "/path".

        Raises:
            ValueError: it is none of these.
        """
        return cls._listening(_fields(text), text)

    @classmethod
    def _listening(cls, fields: list[str], text: str) -> Self:
        if len(fields) == 1 and fields[0].startswith("/"):
            return cls(path=fields[0])
        if len(fields) == 1:
            return cls(DEFAULT_BIND, _port(fields[0], text))
        if len(fields) == 2 and _is_host(fields[0]):
            return cls(fields[0], _port(fields[1], text))
        raise ValueError(f"{text!r} does not say where to listen: write port, bind:port, *:port or /path")


class Forwarding(NamedTuple):
    """What comes in at one place goes out at another; without a target, to wherever a SOCKS client says."""

    listen: Endpoint
    target: Endpoint | None

    def __str__(self) -> str:
        return f"{self.listen} -> {self.target or 'SOCKS'}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """A forwarding as `-L` and `-R` take it: [bind:]port:host:port, with a /path in place of either half.

        Raises:
            ValueError: it is none, and says what is wrong.

        Example:
            >>> print(Forwarding.parse("8080:db:5432"), Forwarding.parse("/run/x.sock:[::1]:80"), sep=", ")
            localhost:8080 -> db:5432, /run/x.sock -> [::1]:80
        """
        fields = _fields(text)
        to_path = len(fields) > 1 and fields[-1].startswith("/")
        listen, target = (fields[:-1], fields[-1:]) if to_path else (fields[:-2], fields[-2:])
        if not listen or len(listen) > 2:
            raise ValueError(f"{text!r} is not [bind:]port:host:port; either half may be a /path, IPv6 is in brackets")
        if to_path:
            return cls(Endpoint._listening(listen, text), Endpoint(path=target[0]))
        if not _is_host(target[0]):
            raise ValueError(f"{text!r} names no host to go to")
        return cls(Endpoint._listening(listen, text), Endpoint(target[0], _port(target[1], text, lowest=1)))


def _fields(text: str) -> list[str]:
    """What stands between the colons that are not in brackets.

    Raises:
        ValueError: a bracket without its other half, or with something beside it.
    """
    fields, at = [], 0
    while True:
        match = FIELD.match(text, at)
        assert match is not None  # it matches nothing, too
        fields.append(match[1] if match[1] is not None else match[2])
        at = match.end()
        if at == len(text):
            return fields
        if text[at] != ":":
            raise ValueError(f"{text!r} has a bracket out of place: IPv6 is written [::1]")
        at += 1


def _is_host(field: str) -> bool:
    return field != "" and "/" not in field


def _port(field: str, text: str, lowest: int = 0) -> int:
    if not (field.isascii() and field.isdecimal()) or not lowest <= int(field) <= 65_535:
        raise ValueError(f"{text!r}: {field!r} is not a port from {lowest} to 65535")
    return int(field)
