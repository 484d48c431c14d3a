"""Section 11 of docs/PROTOCOL.md in plain Python: what both sides of a resumption compute."""

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from support import frames
from support.frames import Frame, Why
from support.raw import RawPeer

Position = tuple[int, int, int]  # frames, bytes, oldest


def sha256(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf(psk: bytes, client_nonce: bytes, server_nonce: bytes, session_id: bytes, incarnation: bytes) -> bytes:
    """RFC 5869 with SHA-256 and one block of output."""
    extracted = sha256(client_nonce + server_nonce, psk)
    return sha256(extracted, b"muxtcp resume" + session_id + incarnation + b"\x01")


def check(secret: bytes) -> bytes:
    return sha256(secret, b"muxtcp check")[:16]


def limits(hello: bytes, welcome: bytes) -> bytes:
    """Of the parameters as they were sent."""
    return hashlib.sha256(hello + welcome).digest()[:16]


@dataclass
class Ticket:
    """What one side keeps, and the records that it writes; every field may be made wrong before it is used."""

    id: bytes
    incarnation: bytes
    secret: bytes
    limits: bytes = bytes(16)
    generation: int = 0
    question: bytes = field(default=b"", init=False)  # all fields of the RESUME that was written or read last
    answer: bytes = field(default=b"", init=False)  # all fields of its RESUME_OK

    @classmethod
    def of_welcome(cls, ticket: bytes, client_nonce: bytes, psk: bytes | None = None) -> "Ticket":
        """What a client makes of the ticket in WELCOME; the check must be right."""
        name, incarnation, nonce, kind = ticket[:16], ticket[16:24], ticket[24:40], ticket[40]
        assert (kind, len(ticket)) == ((0, 89) if psk is None else (1, 57))
        secret = ticket[41:73] if psk is None else hkdf(psk, client_nonce, nonce, name, incarnation)
        assert ticket[-16:] == check(secret)
        return cls(name, incarnation, secret)

    def welcome(self, server_nonce: bytes = bytes(16), *, derived: bool = False) -> bytes:
        """Its form in WELCOME."""
        sent = b"" if derived else self.secret
        return self.id + self.incarnation + server_nonce + bytes([derived]) + sent + check(self.secret)

    # The client

    def resume(self, position: Position, *, nonce: bytes = bytes(16), version: int = 1) -> bytes:
        """A RESUME for the next generation."""
        self.generation += 1
        said = frames.resume_said(
            self.id, self.incarnation, self.generation, nonce, position, self.limits, version=version
        )
        mac = sha256(self.secret, b"RESUME" + said)
        self.question = said + mac
        return frames.resume(said, mac)

    def read_ok(self, fields: bytes) -> Position:
        """The position in a RESUME_OK, which must be right."""
        said, mac = fields[:-32], fields[-32:]
        assert mac == sha256(self.secret, b"RESUME_OK" + self.question + said)
        values = frames.read_record(bytes([frames.Record.RESUME_OK]) + fields)
        assert values["generation"] == self.generation
        self.answer = fields
        return values["frames"], values["bytes"], values["oldest"]

    def confirm(self) -> bytes:
        return frames.resume_confirm(self.confirm_mac())

    def confirm_mac(self) -> bytes:
        return sha256(self.secret, b"RESUME_CONFIRM" + self.question + self.answer)

    # The server

    def read_resume(self, fields: bytes) -> Position:
        """The position in a RESUME, which must be right."""
        said, mac = fields[:-32], fields[-32:]
        assert mac == sha256(self.secret, b"RESUME" + said)
        values = frames.read_record(bytes([frames.Record.RESUME]) + fields)
        named = (self.id, self.incarnation, self.limits)
        assert (values["version"], values["id"], values["incarnation"], values["limits"]) == (1, *named)
        assert values["generation"] > self.generation
        self.generation, self.question = values["generation"], fields
        return values["frames"], values["bytes"], values["oldest"]

    def resume_ok(self, position: Position, *, nonce: bytes = bytes(16)) -> bytes:
        said = frames.resume_ok_said(self.generation, nonce, position)
        mac = sha256(self.secret, b"RESUME_OK" + self.question + said)
        self.answer = said + mac
        return frames.resume_ok(said, mac)


# --- what was counted -------------------------------------------------------------------------------------------------


def size(items: Iterable[Frame]) -> int:
    """The bytes of frames on the wire."""
    return sum(len(frames.frame(*item)) for item in items)


def sequenced(peer: RawPeer) -> list[bytes]:
    """What counts of all that it heard over its connection."""
    return [frames.frame(*item) for item in peer.heard if item.channel]


class Account:
    """What a raw peer counts of one session, over all its connections."""

    def __init__(self) -> None:
        self.received: list[Frame] = []
        self.sent: list[bytes] = []

    def takes(self, peer: RawPeer) -> None:
        """Count what has come over a connection, which is of no more use then."""
        self.received += [item for item in peer.heard if item.channel]
        peer.heard.clear()

    @property
    def position(self) -> Position:
        """What RESUME or RESUME_OK tells: we keep all that we ever sent."""
        return len(self.received), size(self.received), 1

    def before(self, count: int) -> Position:
        """The same, as if only the first `count` frames had come."""
        return count, size(self.received[:count]), 1

    async def send(self, peer: RawPeer, *sequenced: bytes) -> None:
        self.sent += sequenced
        await peer.send(*sequenced)


# Forgeries


class Resuming(Protocol):
    """Who may ask to resume."""

    ticket: Ticket
    account: Account


Asking = Callable[[Resuming], bytes]


def changed(**values: Any) -> Asking:
    """A RESUME of which some fields are wrong."""
    return lambda it: replace(it.ticket, **values).resume(it.account.position)


FORGED: dict[str, tuple[Asking, Why]] = {
    "unknown id": (changed(id=bytes(16)), Why.UNKNOWN),
    "of another process": (changed(incarnation=bytes(8)), Why.WRONG_INCARNATION),
    "incarnation is looked at first": (changed(id=bytes(16), incarnation=bytes(8)), Why.WRONG_INCARNATION),
    "with another secret": (changed(secret=bytes(32)), Why.DENIED),
    "mac is looked at before generation": (changed(secret=bytes(32), generation=-1), Why.DENIED),
    "generation 0": (changed(generation=-1), Why.STALE_GENERATION),
    "generation is looked at before limits": (changed(generation=-1, limits=bytes(16)), Why.STALE_GENERATION),
    "other limits": (changed(limits=bytes(16)), Why.DIVERGED),
}
