"""The resumption handshake: who may carry a session on, and from where (docs/PROTOCOL.md, section 11).

Only bytes and keys: no I/O and no clock. A `Ticket` is what both sides keep of a session that may outlive its
connection; `Guest` and `Host` are the two sides of one attempt to carry it on:

    client                                      server
                                                Ticket.issue(nonce) -> WELCOME
    Ticket.of_welcome(...)
                        ... the connection breaks ...
    Guest(session).question -> RESUME
                                                Host(engine, find).asked(...) -> RESUME_OK
    guest.answered(engine, ...) -> RESUME_CONFIRM
                                                host.proven(...)

Every check that fails raises `Failed` with its reason, and then nothing has happened to the session.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

from muxtcp._engine import Engine, Position
from muxtcp.authentication import Secret
from muxtcp.errors import Code, HandshakeError

VERSION = 1
NONCE, ID, INCARNATION, KEY, CHECK, MAC = 16, 16, 8, 32, 16, 32  # sizes in bytes

RESUME, RESUME_OK, RESUME_CONFIRM, RESUME_FAILED = range(4, 8)  # types of records


class Why(IntEnum):
    """Why a resumption failed. All but BUSY are final."""

    UNKNOWN = 1  # there is no such session, or there never was
    EXPIRED = 2  # it was kept for as long as was granted, or given up for want of memory
    WRONG_INCARNATION = 3  # it was another process's
    STALE_GENERATION = 4  # this attempt or a later one was confirmed
    POSITION_LOST = 5  # what one side lacks is kept no more, or one claims what was never sent
    DIVERGED = 6  # the two do not talk about the same session
    DENIED = 7  # the mac is wrong
    BUSY = 8  # try again
    OTHER_IDENTITY = 9  # the certificate of the new connection names another peer than that of the first


class Failed(Exception):
    """A resumption failed.

    Attributes:
        why: the reason.
        retry_after: seconds to stay away, with BUSY.
        known: frames that the server had received and their bytes, where it remembers; else None.
    """

    def __init__(self, why: Why, *, retry_after: float = 0.0, known: tuple[int, int] | None = None) -> None:
        super().__init__(f"the session cannot be resumed: {why.name.lower().replace('_', ' ')}")
        self.why = why
        self.retry_after = retry_after
        self.known = known

    def record(self) -> bytes:
        """The fields of RESUME_FAILED."""
        known = numbers(1, *self.known) if self.known is not None else numbers(0)
        return numbers(self.why, int(self.retry_after * 1000)) + known

    @classmethod
    def read(cls, record: bytes) -> Self:
        """Raises `Malformed`."""
        fields = Fields(record)
        why, retry_after, known = fields.number(), fields.number(), fields.number()
        position = (fields.number(), fields.number()) if known == 1 else None
        fields.end()
        if why not in set(Why) or known > 1:
            raise Malformed(f"RESUME_FAILED for reason {why}, known {known}")
        return cls(Why(why), retry_after=retry_after / 1000, known=position)


class Malformed(Exception):
    """A record has other fields than the protocol says."""


class Question(NamedTuple):
    """What RESUME asks."""

    id: bytes
    incarnation: bytes
    generation: int
    position: Position
    limits: bytes
    said: bytes  # all fields before the mac
    mac: bytes

    @classmethod
    def read(cls, record: bytes) -> Self:
        """Raises `Malformed`."""
        fields = Fields(record)
        version = fields.number()
        if version != VERSION:
            raise Malformed(f"RESUME of version {version}; this side knows {VERSION}")
        name, incarnation, generation = fields.bytes(ID), fields.bytes(INCARNATION), fields.number()
        fields.bytes(NONCE)
        position = Position(fields.number(), fields.number(), fields.number())
        limits = fields.bytes(NONCE)
        said, mac = record[: fields.at], fields.bytes(MAC)
        fields.end()
        return cls(name, incarnation, generation, position, limits, said, mac)


@dataclass(slots=True, eq=False)
class Ticket:
    """What one side keeps in order to know the other again.

    Attributes:
        id: 16 random bytes, the session's name.
        incarnation: 8 random bytes, the name of the server's process.
        secret: the key of both.
        generation: the highest attempt that was made (client) or seen (server).
        proven: the highest that was confirmed (server).
        limits: the digest of the handshake's parameters; see `seal`.
        process: whose ticket it is: a fork's copy of it is none.
    """

    id: bytes
    incarnation: bytes
    secret: bytes
    generation: int = 0
    proven: int = 0
    limits: bytes = b""
    process: int = field(default_factory=os.getpid)
    _question: bytes = field(default=b"", repr=False)
    _answer: bytes = field(default=b"", repr=False)

    # Agreeing

    @classmethod
    def issue(cls, nonce: bytes, incarnation: bytes, psk: bytes | None) -> tuple[Self, bytes]:
        """Server: a new ticket for a client that showed its nonce, and its form in WELCOME."""
        name, own_nonce = secrets.token_bytes(ID), secrets.token_bytes(NONCE)
        if psk is None:
            secret = sent = secrets.token_bytes(KEY)
        else:
            secret, sent = _derive(psk, nonce + own_nonce, name + incarnation), b""
        kind = bytes([psk is not None])
        return cls(name, incarnation, Secret(secret)), name + incarnation + own_nonce + kind + sent + _check(secret)

    @classmethod
    def of_welcome(cls, wire: bytes, nonce: bytes, psk: bytes | None) -> Self:
        """Client: the ticket in a WELCOME.

        Raises:
            HandshakeError: the two do not have the same pre-shared key.
            Malformed: it has other fields.
        """
        fields = Fields(wire)
        name, incarnation, peer_nonce = fields.bytes(ID), fields.bytes(INCARNATION), fields.bytes(NONCE)
        derived = fields.number()
        if derived > 1:
            raise Malformed(f"a secret of kind {derived}")
        sent = fields.bytes(0 if derived else KEY)
        check = fields.bytes(CHECK)
        fields.end()
        if derived and psk is None:
            raise HandshakeError(
                code=Code.UNAUTHENTICATED, reason="the server has a pre-shared key (psk=) and this side none"
            )
        if not derived and psk is not None:
            raise HandshakeError(
                code=Code.UNAUTHENTICATED, reason="this side has a pre-shared key (psk=) and the server none"
            )
        secret = sent if psk is None else _derive(psk, nonce + peer_nonce, name + incarnation)
        if not hmac.compare_digest(check, _check(secret)):
            wrong = "has another pre-shared key (psk=)" if derived else "sent a secret that its own check contradicts"
            raise HandshakeError(code=Code.UNAUTHENTICATED, reason=f"the server {wrong}")
        return cls(name, incarnation, Secret(secret))

    def seal(self, parameters: bytes) -> None:
        """Remember what the handshake agreed on: the parameters of HELLO and then of WELCOME."""
        self.limits = hashlib.sha256(parameters).digest()[:NONCE]

    # The client's part

    def ask(self, position: Position) -> bytes:
        """The fields of RESUME, for a new attempt.

        Raises:
            Failed: this process is a fork of the one that has the session, and would take it away from that.
        """
        if os.getpid() != self.process:
            raise Failed(Why.DENIED)
        self.generation += 1
        said = b"".join(
            [
                numbers(VERSION),
                self.id,
                self.incarnation,
                numbers(self.generation),
                secrets.token_bytes(NONCE),
                numbers(*position),
                self.limits,
            ]
        )
        self._question = said + self._mac(b"RESUME", said)
        return self._question

    def check(self, record: bytes) -> Position:
        """The server's position, out of its RESUME_OK.

        Raises:
            Failed: it does not answer the last question, or does not know the key.
            Malformed: it has other fields.
        """
        fields = Fields(record)
        generation = fields.number()
        fields.bytes(NONCE)
        position = Position(fields.number(), fields.number(), fields.number())
        said, mac = record[: fields.at], fields.bytes(MAC)
        fields.end()
        if not hmac.compare_digest(mac, self._mac(b"RESUME_OK", self._question + said)):
            raise Failed(Why.DENIED)
        if generation != self.generation:
            raise Failed(Why.STALE_GENERATION)
        self._answer = record
        return position

    def proof(self) -> bytes:
        """The fields of RESUME_CONFIRM, after `check`."""
        return self._mac(b"RESUME_CONFIRM", self._question + self._answer)

    # The server's part

    def judge(self, question: Question) -> None:
        """Whether the one who asks holds the ticket. Raises `Failed`, and then nothing has changed."""
        if not hmac.compare_digest(question.mac, self._mac(b"RESUME", question.said)):
            raise Failed(Why.DENIED)
        if question.generation <= self.proven:
            raise Failed(Why.STALE_GENERATION)
        if question.generation <= self.generation:  # maybe a copy of it came first, from someone who cannot prove it
            raise Failed(Why.BUSY)
        if question.limits != self.limits:
            raise Failed(Why.DIVERGED)

    def take(self, question: Question) -> None:
        """From here on earlier attempts are stale."""
        self.generation = question.generation

    def answer(self, question: Question, position: Position) -> bytes:
        """The fields of RESUME_OK."""
        said = numbers(self.generation) + secrets.token_bytes(NONCE) + numbers(*position)
        self._question = question.said + question.mac
        self._answer = said + self._mac(b"RESUME_OK", self._question + said)
        return self._answer

    def check_proof(self, record: bytes) -> None:
        """Whether RESUME_CONFIRM answers the newest RESUME_OK. Raises `Failed`."""
        if not hmac.compare_digest(record, self.proof()):
            raise Failed(Why.DENIED)
        self.proven = self.generation

    def _mac(self, name: bytes, said: bytes) -> bytes:
        return hmac.digest(self.secret, name + said, "sha256")


class Session(Protocol):
    """What the two sides of an attempt need of the session."""

    @property
    def ticket(self) -> Ticket:
        """Shared with the other side."""

    @property
    def engine(self) -> Engine:
        """The one that lasts."""

    @property
    def certificate_identity(self) -> str | None:
        """Whom the peer's certificate names."""

    def fence(self) -> None:
        """Drop the present connection, if there is one, and ignore whatever it still delivers."""


S = TypeVar("S", bound=Session)


class Guest(Generic[S]):
    """The client's side of one attempt.

    Attributes:
        session: the one to be carried on.
        question: the fields of the RESUME that begins it.
    """

    def __init__(self, session: S) -> None:
        self.session = session
        self.question = session.ticket.ask(session.engine.position)

    def answered(self, engine: Engine, record: int, fields: bytes) -> int:
        """The server has answered; `engine` is the one of the new connection, and confirms.

        Returns:
            How many frames the server has: what `Engine.rejoin` wants to know.

        Raises:
            Failed: the server refused, or cannot be whom we look for, or the positions do not fit.
            Malformed: a record has other fields than the protocol says.
        """
        if record == RESUME_FAILED:
            raise Failed.read(fields)
        position = self.session.ticket.check(fields)
        _judge(self.session, position)
        engine.confirm_resume(self.session.ticket.proof())
        return position.frames


class Host(Generic[S]):
    """The server's side of one attempt.

    Args:
        engine: the one of the new connection.
        find: gives the session of an incarnation and id, or raises `Failed`.
        identity: whom the certificate of the new connection names.

    Attributes:
        fenced: whether the session was taken from its connection: a failure after that is the end of it.
    """

    def __init__(self, engine: Engine, find: Callable[[bytes, bytes], S], identity: str | None = None) -> None:
        self._engine = engine
        self._find = find
        self._identity = identity
        self._question: Question
        self.session: S
        self.fenced = False

    def asked(self, fields: bytes) -> None:
        """RESUME has come: judge, fence, and only then look where the session is; answer RESUME_OK.

        Raises:
            Failed: answer RESUME_FAILED with it.
            Malformed: a record has other fields than the protocol says.
        """
        self._question = Question.read(fields)
        self.session = self._find(self._question.incarnation, self._question.id)
        self.session.ticket.judge(self._question)
        if self._identity != self.session.certificate_identity:
            raise Failed(Why.OTHER_IDENTITY)
        self.session.ticket.take(self._question)
        self.session.fence()
        self.fenced = True
        _judge(self.session, self._question.position)
        self._engine.answer_resume(RESUME_OK, self.session.ticket.answer(self._question, self.session.engine.position))

    @property
    def pending(self) -> bool:
        """Whether this attempt took the session from its connection, and no newer one has begun."""
        return self.fenced and self._question.generation == self.session.ticket.generation

    def proven(self, fields: bytes) -> int:
        """RESUME_CONFIRM has come.

        Returns:
            How many frames the client has: what `Engine.rejoin` wants to know.

        Raises:
            Failed: somebody else asked, or a newer attempt has begun.
        """
        if not self.pending:
            raise Failed(Why.STALE_GENERATION)
        self.session.ticket.check_proof(fields)
        return self._question.position.frames


def _judge(session: Session, position: Position) -> None:
    why = session.engine.judge(*position)
    if why:
        raise Failed(Why(why))


def check_key(psk: bytes | None) -> None:
    """Raises `ValueError` for a pre-shared key that is too short."""
    if psk is not None and len(psk) < 16:
        raise ValueError(f"psk has {len(psk)} bytes; a key needs at least 16")


def new_nonce() -> bytes:
    """What a client puts into HELLO as its ticket."""
    return secrets.token_bytes(NONCE)


def new_incarnation() -> bytes:
    """The name of this process, for its lifetime."""
    return secrets.token_bytes(INCARNATION)


def _derive(psk: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869) with one block of output, which 32 bytes are."""
    extracted = hmac.digest(salt, psk, "sha256")
    return hmac.digest(extracted, b"muxtcp resume" + info + b"\x01", "sha256")


def _check(secret: bytes) -> bytes:
    return hmac.digest(secret, b"muxtcp check", "sha256")[:CHECK]


class Fields:
    """Reads the fields of a record one after the other; whatever does not fit raises `Malformed`."""

    def __init__(self, record: bytes) -> None:
        self.record = record
        self.at = 0

    def bytes(self, size: int) -> bytes:
        """The next `size` bytes."""
        taken = self.record[self.at : self.at + size]
        if len(taken) < size:
            raise Malformed(f"a record of {len(self.record)} bytes ends inside a field")
        self.at += size
        return taken

    def number(self) -> int:
        """The next varint: at most 9 bytes, in its shortest form."""
        value = 0
        for index in range(9):
            byte = self.bytes(1)[0]
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                if index and not byte:
                    raise Malformed("a number is not in its shortest form")
                return value
        raise Malformed("a number has more than 9 bytes")

    def end(self) -> None:
        """That was all."""
        if self.at != len(self.record):
            raise Malformed(f"{len(self.record) - self.at} bytes too many")


def numbers(*values: int) -> bytes:
    """Varints."""
    encoded = bytearray()
    for value in values:
        while value >= 0x80:
            encoded.append(value & 0x7F | 0x80)
            value >>= 7
        encoded.append(value)
    return bytes(encoded)
