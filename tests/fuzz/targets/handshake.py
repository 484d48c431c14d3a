"""The handshake of resumption: its parsers on any bytes, and an attempt whose records somebody changes on the way.

The first byte chooses. A parser takes what the plain reader takes, and means the same; or it raises what it documents.
An attempt is a list of edits, of 4 bytes each; it succeeds for a side only if all that this side relies on arrived
unchanged.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fuzz import mutate, vectors
from fuzz.targets.stream import written
from support import frames
from support.frames import Record, Violation

from muxtcp._engine import Engine, EventKind
from muxtcp.errors import HandshakeError
from muxtcp.resumption import Failed, Guest, Host, Malformed, Question, Ticket, Why

KEY = b"a key of thirty-one bytes, nice"
INCARNATION = b"process1"
NONCE = bytes(range(16))
SECRET = bytes(range(32))


def one(data: bytes) -> None:
    if data:
        CHOICES[data[0] % len(CHOICES)](data[1:])


# Parsers


def expected(kind: Record, record: bytes) -> dict[str, Any] | None:
    try:
        return frames.read_resumption(kind, record)
    except Violation:
        return None


def question(record: bytes) -> None:
    want = expected(Record.RESUME, record)
    try:
        read = Question.read(record)
    except Malformed:
        assert want is None
        return
    assert want is not None
    names = ("id", "incarnation", "generation", "limits", "mac")
    assert [getattr(read, name) for name in names] == [want[name] for name in names]
    assert read.position == (want["frames"], want["bytes"], want["oldest"])
    assert read.said + read.mac == record


def refusal(record: bytes) -> None:
    want = expected(Record.RESUME_FAILED, record)
    try:
        read = Failed.read(record)
    except Malformed:
        assert want is None
        return
    assert want is not None
    assert (read.why, read.known) == (want["why"], want["known"])
    assert read.retry_after == want["retry_after"] / 1_000


def answer(record: bytes) -> None:
    want = expected(Record.RESUME_OK, record)
    with pytest.raises(Malformed if want is None else Failed):  # nobody who has no key can have written a good one
        Ticket(bytes(16), INCARNATION, SECRET).check(record)


def proof(record: bytes) -> None:
    with pytest.raises(Failed):
        Ticket(bytes(16), INCARNATION, SECRET).check_proof(record)


def welcome(psk: bytes | None) -> Callable[[bytes], None]:
    def read(wire: bytes) -> None:
        try:
            ticket = Ticket.of_welcome(wire, NONCE, psk)
        except (Malformed, HandshakeError):
            return
        assert ticket.id + ticket.incarnation == wire[:24]
        assert len(wire) == (89 if psk is None else 57)
        if psk is None:
            assert ticket.secret == wire[41:73]

    return read


# An attempt


class Side:
    """What lasts of a session at one side."""

    ticket: Ticket
    certificate_identity = None

    def __init__(self, **options: Any) -> None:
        self.engine = Engine(**options)

    def fence(self) -> None:
        if not self.engine.parted:
            self.engine.part()


def established() -> tuple[Side, Side]:
    """A client and a server whose connection has broken."""
    client, server = Side(client=True, resume_ms=30_000, ticket=NONCE), Side(client=False)
    hand_over(client.engine, server.engine)
    server.engine.next_event()
    server.ticket, ticket = Ticket.issue(NONCE, INCARNATION, None)
    server.engine.accept(None, 30_000, ticket)
    hand_over(server.engine, client.engine)
    client.engine.next_event()
    client.ticket = Ticket.of_welcome(ticket, NONCE, None)
    for side in (client, server):
        side.ticket.seal(side.engine.limits)
        side.engine.open("echo")
        written(side.engine)  # and it is lost
        side.fence()
    return client, server


def hand_over(sender: Engine, receiver: Engine) -> None:
    receiver.receive_data(written(sender), 0.0)


def attempt(edits: bytes) -> None:
    client, server = established()
    guest = Guest(client)
    here, there = Engine(client=True, resumption=guest.question), Engine(client=False)

    def find(incarnation: bytes, name: bytes) -> Side:
        if (incarnation, name) != (INCARNATION, server.ticket.id):
            raise Failed(Why.UNKNOWN)
        return server

    host = Host(there, find)
    genuine = untouched = True  # so far: nothing before the end of a record is changed; nor is anything put behind it
    for index in range(3):
        sender, receiver = (here, there) if index != 1 else (there, here)
        said = written(sender)
        heard = edited(said, index, edits)
        behind = index > 0 and heard.startswith(said)  # is allowed, except while the server has not answered
        genuine = genuine and said != b"" and (heard == said or behind)
        untouched = untouched and heard == said
        receiver.receive_data(heard, 0.0)
        event = receiver.next_event()
        if event is None or event.kind is not EventKind.RESUMPTION:
            assert not genuine, f"step {index}: {event}"
            break
        try:
            if index == 0:
                host.asked(event.data)
            elif index == 1:
                here_frames = guest.answered(receiver, event.number, event.data)
                assert genuine, "a changed answer was taken"
            else:
                rejoin(server, there, host.proven(event.data))
                assert genuine, "a changed attempt was taken"
                rejoin(client, here, here_frames)
        except (Failed, Malformed) as failure:
            if genuine:
                raise
            refuse(receiver, failure, index)
            break
    if not untouched:
        return
    for sender, receiver in ((client, server), (server, client)):
        hand_over(sender.engine, receiver.engine)
        events = list(iter(receiver.engine.next_event, None))
        assert (EventKind.OPENED, 1 if sender is client else 2, b"", 0, "", 0) in events, events


def rejoin(side: Side, engine: Engine, count: int) -> None:
    rest = engine.take_rest()
    assert side.engine.rejoin(count, 0.0) == 1
    side.engine.receive_data(rest, 0.0)


def refuse(engine: Engine, failure: Failed | Malformed, index: int) -> None:
    """A server says why."""
    if index == 0 and isinstance(failure, Failed):
        engine.answer_resume(Record.RESUME_FAILED, failure.record())
    written(engine)


def edited(said: bytes, index: int, edits: bytes) -> bytes:
    """The same with those edits that are for this record: change a byte, put one in, take one out, or cut there."""
    changed = bytearray(said)
    for at in range(0, len(edits) - 3, 4):
        which, place, value = edits[at], int.from_bytes(edits[at + 1 : at + 3], "little"), edits[at + 3]
        place %= len(changed) + 1
        if which % 3 != index:
            continue
        match which >> 2 & 3:
            case 0 if place < len(changed):
                changed[place] ^= value
            case 1:
                changed.insert(place, value)
            case 2:
                del changed[place : place + 1]
            case _:
                del changed[place:]
    return bytes(changed)


CHOICES = [question, refusal, answer, proof, welcome(None), welcome(KEY), attempt, attempt]


def seeds() -> Iterator[bytes]:
    parsers = {"RESUME": 0, "RESUME_FAILED": 1, "RESUME_OK": 2, "RESUME_CONFIRM": 3}
    for vector in vectors.load("resumption", "records"):
        if vector["record"] in parsers:
            yield bytes([parsers[vector["record"]]]) + frames.take_frame(vectors.raw(vector["hex"]))[0].payload[1:]
    for vector in vectors.load("resumption", "tickets"):
        yield bytes([4 + (vector["psk"] is not None)]) + vectors.raw(vector["hex"])
    yield bytes([6])
    for which in range(12):
        for place in (0, 1, 8, 9, 10, 30, 60, 120):
            yield bytes([6, which, place, 0, 1])


change = mutate.simple(1)
