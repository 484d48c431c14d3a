"""The vectors of section 11: by hand, against the readers of `support`, the engine, and `muxtcp.resumption`."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import frames, tickets
from support.frames import PREFACE, Code, Kind, Record, Violation, Why
from support.pair import CHOPS, Alone
from support.parts import EventKind

from muxtcp import resumption
from muxtcp._engine import Position
from muxtcp.errors import HandshakeError

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("resumption.json").read_text())
EXCHANGE: dict[str, Any] = VECTORS["exchange"]
NONCE = bytes(range(0x40, 0x50))  # of the client in all vectors
BY_LIBRARY: dict[str, Any] = {
    "RESUME": resumption.Question.read,
    "RESUME_OK": resumption.Ticket(b"", b"", b"").check,
    "RESUME_FAILED": resumption.Failed.read,
}

chopped = pytest.mark.parametrize("chop", CHOPS)


def named(part: str) -> Any:
    return pytest.mark.parametrize("vector", VECTORS[part], ids=lambda vector: vector["name"])


def raw(vector: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(vector[name])


def fields_of(name: str) -> bytes:
    """What is behind the type of a record of the exchange."""
    return frames.take_frame(raw(EXCHANGE, name))[0].payload[1:]


def mac(data: bytes) -> bytes:
    return hmac.new(raw(EXCHANGE, "secret"), data, hashlib.sha256).digest()


# --- by hand ----------------------------------------------------------------------------------------------------------


@named("secrets")
def test_secret_of_a_key(vector: dict[str, Any]) -> None:
    salt = raw(vector, "client_nonce") + raw(vector, "server_nonce")
    extracted = hmac.new(salt, raw(vector, "psk"), hashlib.sha256).digest()
    info = b"muxtcp resume" + raw(vector, "id") + raw(vector, "incarnation")
    assert hmac.new(extracted, info + b"\x01", hashlib.sha256).digest() == raw(vector, "secret")
    parts = ("psk", "client_nonce", "server_nonce", "id", "incarnation")
    assert tickets.hkdf(*(raw(vector, name) for name in parts)) == raw(vector, "secret")


@named("check")
def test_check(vector: dict[str, Any]) -> None:
    assert hmac.new(raw(vector, "secret"), b"muxtcp check", hashlib.sha256).digest()[:16] == raw(vector, "check")
    assert tickets.check(raw(vector, "secret")) == raw(vector, "check")


@named("limits")
def test_limits(vector: dict[str, Any]) -> None:
    assert hashlib.sha256(raw(vector, "hello") + raw(vector, "welcome")).digest()[:16] == raw(vector, "limits")
    ticket = resumption.Ticket(b"", b"", b"")
    ticket.seal(raw(vector, "hello") + raw(vector, "welcome"))
    assert ticket.limits == raw(vector, "limits")


def test_macs_of_the_exchange() -> None:
    question, answer, proof = map(fields_of, ("RESUME", "RESUME_OK", "RESUME_CONFIRM"))
    assert question[-32:] == mac(b"RESUME" + question[:-32])
    assert answer[-32:] == mac(b"RESUME_OK" + question + answer[:-32])
    assert proof == mac(b"RESUME_CONFIRM" + question + answer)


@named("records")
def test_record_both_ways(vector: dict[str, Any]) -> None:
    known = vector["fields"].get("known")
    expected = vector["fields"] | ({"known": known and tuple(known)} if "known" in vector["fields"] else {})
    assert getattr(frames, vector["record"].lower())(**expected) == raw(vector, "hex")
    frame, _ = frames.take_frame(raw(vector, "hex"))
    assert frame.fields == {"record": vector["record"], **expected}


def test_exchange_both_ways() -> None:
    client = tickets.Ticket(*(raw(EXCHANGE, name) for name in ("id", "incarnation", "secret", "limits")))
    server = tickets.Ticket(client.id, client.incarnation, client.secret, client.limits)
    asked, answered = tuple(EXCHANGE["client_position"]), tuple(EXCHANGE["server_position"])
    assert client.resume(asked, nonce=raw(EXCHANGE, "client_nonce")) == raw(EXCHANGE, "RESUME")
    assert server.read_resume(fields_of("RESUME")) == asked
    assert server.resume_ok(answered, nonce=raw(EXCHANGE, "server_nonce")) == raw(EXCHANGE, "RESUME_OK")
    assert client.read_ok(fields_of("RESUME_OK")) == answered
    assert client.confirm() == raw(EXCHANGE, "RESUME_CONFIRM")


@named("malformed")
def test_malformed(vector: dict[str, Any]) -> None:
    with pytest.raises(Violation, match="BAD_"):
        frames.read_record(bytes([Record[vector["record"]]]) + raw(vector, "hex"))
    with pytest.raises(resumption.Malformed):
        BY_LIBRARY[vector["record"]](raw(vector, "hex"))


# --- against the library ----------------------------------------------------------------------------------------------


@pytest.fixture
def chance(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the library's random source gives next."""

    def gives(*values: bytes) -> None:
        values_left: Iterator[bytes] = iter(values)
        monkeypatch.setattr(resumption.secrets, "token_bytes", lambda size: next(values_left))

    return gives


@named("tickets")
def test_the_library_issues_and_takes_a_ticket(vector: dict[str, Any], chance: Any) -> None:
    psk = None if vector["psk"] is None else raw(vector, "psk")
    wire, secret = raw(vector, "hex"), raw(vector, "secret")
    chance(wire[:16], wire[24:40], secret)
    issued, sent = resumption.Ticket.issue(NONCE, wire[16:24], psk)
    assert (issued.secret, sent) == (secret, wire)
    taken = resumption.Ticket.of_welcome(wire, NONCE, psk)
    assert (taken.id, taken.incarnation, taken.secret) == (wire[:16], wire[16:24], secret)
    assert tickets.Ticket.of_welcome(wire, NONCE, psk).secret == secret


CLEAR, DERIVED = VECTORS["tickets"]


@pytest.mark.parametrize(
    ("wire", "psk", "finding"),
    [
        (raw(DERIVED, "hex"), None, "and this side none"),
        (raw(CLEAR, "hex"), raw(DERIVED, "psk"), "and the server none"),
        (raw(DERIVED, "hex"), b"another key of 22 bytes", "the server has another pre-shared key"),
        (raw(CLEAR, "hex")[:-1] + b"?", None, "a secret that its own check contradicts"),
    ],
    ids=["the server has one", "the client has one", "each has another", "none has one"],
)
def test_the_library_refuses_another_key(wire: bytes, psk: bytes | None, finding: str) -> None:
    with pytest.raises(HandshakeError, match=finding) as caught:
        resumption.Ticket.of_welcome(wire, NONCE, psk)
    assert caught.value.code == Code.UNAUTHENTICATED


def test_the_library_plays_the_exchange(chance: Any) -> None:
    name, incarnation, secret, limits = (raw(EXCHANGE, part) for part in ("id", "incarnation", "secret", "limits"))
    client = resumption.Ticket(name, incarnation, secret, limits=limits)
    server = resumption.Ticket(name, incarnation, secret, limits=limits)
    chance(raw(EXCHANGE, "client_nonce"), raw(EXCHANGE, "server_nonce"))
    asked, answered = Position(*EXCHANGE["client_position"]), Position(*EXCHANGE["server_position"])
    assert client.ask(asked) == fields_of("RESUME")
    question = resumption.Question.read(fields_of("RESUME"))
    assert question.position == asked
    server.judge(question)
    server.take(question)
    assert server.answer(question, answered) == fields_of("RESUME_OK")
    assert client.check(fields_of("RESUME_OK")) == answered
    assert client.proof() == fields_of("RESUME_CONFIRM")
    server.check_proof(fields_of("RESUME_CONFIRM"))


@pytest.mark.parametrize(
    "vector",
    [vector for vector in VECTORS["records"] if vector["record"] == "RESUME_FAILED"],
    ids=lambda vector: vector["name"],
)
def test_the_library_says_why(vector: dict[str, Any]) -> None:
    fields = vector["fields"]
    known = fields["known"] and tuple(fields["known"])
    failed = resumption.Failed(resumption.Why(fields["why"]), retry_after=fields["retry_after"] / 1000, known=known)
    payload = frames.take_frame(raw(vector, "hex"))[0].payload[1:]
    assert failed.record() == payload
    read = resumption.Failed.read(payload)
    assert (read.why, read.retry_after, read.known) == (failed.why, failed.retry_after, known)


def test_both_know_the_same_reasons_and_records() -> None:
    assert {why.name: why.value for why in Why} == {why.name: why.value for why in resumption.Why}
    records = ("RESUME", "RESUME_OK", "RESUME_CONFIRM", "RESUME_FAILED")
    assert [getattr(resumption, name) for name in records] == [Record[name] for name in records]


# --- against the engine -----------------------------------------------------------------------------------------------


def resumable(*, client: bool, replay_limit: int = 2**22, wish: int = 30_000, **options: Any) -> Alone:
    """An engine whose session survives a break, past the handshake."""
    asked = {"resume_ms": wish, "ticket": NONCE} if client else {}
    alone = Alone("engine", client=client, **asked, **options)
    alone.accept = False
    if client:
        alone.feed(PREFACE + frames.welcome(resume=wish, ticket=bytes(89), replay_limit=replay_limit))
    else:
        alone.feed(PREFACE + frames.hello(resume=wish, ticket=NONCE, replay_limit=replay_limit))
        alone.engine.accept(resume_ms=wish, ticket=bytes(57))
    alone.written()
    assert alone.engine.resumable
    return alone


def acks(alone: Alone) -> list[int]:
    return [item.fields["frames"] for item in frames.take_frames(alone.written()) if item.record is Record.ACK]


@chopped
@pytest.mark.parametrize("client", [True, False], ids=["client", "server"])
def test_engine_reads_ack_and_end(client: bool, chop: str) -> None:
    alone = resumable(client=client, chop=chop)
    alone.engine.open("a")
    alone.engine.open("b")
    alone.written()
    alone.feed(frames.ack(1) + frames.ack(2) + frames.ack(0))
    assert [event.number for event in alone.seen(EventKind.ACKED)] == [1, 2, 0]
    assert alone.engine.acknowledged_frames == 2
    alone.feed(frames.goaway(0, Code.SHUTDOWN, "bye") + frames.end())
    alone.engine.receive_eof(0.0)
    alone.take_events()
    assert alone.closed is not None
    assert (alone.closed.code, alone.closed.number) == (Code.SHUTDOWN, 1)


@chopped
@pytest.mark.parametrize(
    ("said", "code"),
    [
        (frames.ack(3), "BAD_ACK"),
        (frames.ack(2**63 - 1), "BAD_ACK"),
        (frames.record(Record.ACK), "BAD_FRAME"),
        (frames.record(Record.ACK, b"\x01\x00"), "BAD_FRAME"),
        (frames.record(Record.ACK, b"\x80\x00"), "BAD_VARINT"),
        (frames.end(), "BAD_RECORD"),
        (frames.goaway(0) + frames.record(Record.END, b"\x00"), "BAD_FRAME"),
    ],
)
def test_engine_finds_violation(said: bytes, code: str, chop: str) -> None:
    alone = resumable(client=False, chop=chop)
    alone.engine.open("a")
    alone.engine.open("b")
    alone.written()
    alone.feed(said)
    assert alone.closed is not None
    assert Code(alone.closed.code).name == code
    sent = frames.take_frames(alone.written())
    assert [item.record for item in sent[-2:]] == [Record.GOAWAY, Record.END]


def test_engine_acknowledges_256_frames_at_once() -> None:
    alone = resumable(client=False)
    alone.feed(frames.open(1) + frames.data(1, b"x") * 254)
    assert alone.engine.next_timeout() == pytest.approx(0.02)
    alone.feed(frames.data(1, b"x"))
    assert acks(alone) == [256]
    assert alone.engine.next_timeout() > 1


@pytest.mark.parametrize(("replay_limit", "size"), [(2**22, 65_536), (40_000, 20_000)])
def test_engine_acknowledges_many_bytes_at_once(replay_limit: int, size: int) -> None:
    alone = resumable(client=False, replay_limit=replay_limit)
    around = len(frames.open(1)) + len(frames.data(1, bytes(size))) - size
    alone.feed(frames.open(1) + frames.data(1, bytes(size - 1 - around)))
    assert alone.engine.position.bytes == size - 1
    assert alone.engine.next_timeout() == pytest.approx(0.02)
    alone.feed(frames.finish(1))
    assert alone.engine.position.bytes >= size
    assert acks(alone) == [3]


def test_engine_acknowledges_one_frame_in_20_ms() -> None:
    alone = resumable(client=False)
    alone.feed(frames.open(1), now=5.0)
    assert alone.engine.next_timeout() == pytest.approx(5.02)
    alone.engine.handle_timeout(5.02)
    assert acks(alone) == [1]


def test_engine_acknowledges_in_front_of_what_it_writes_anyway() -> None:
    alone = resumable(client=False)
    alone.feed(frames.open(1) + frames.ping(7))
    written = frames.take_frames(alone.written())
    assert [item.record for item in written] == [Record.ACK, Record.PONG]


def test_a_frame_that_the_break_cut_off_counts_nothing() -> None:
    alone = resumable(client=False)
    whole = frames.open(1) + frames.data(1, b"whole")
    alone.feed(whole + frames.data(1, b"cut off")[:-1])
    alone.engine.receive_eof(0.0)
    alone.take_events()
    assert alone.seen(EventKind.BROKEN)
    alone.engine.part()
    assert alone.engine.position == Position(2, len(whole), 1)
    assert alone.engine.rejoin(0, 0.0) == 0
    alone.feed(frames.data(1, b"cut off"))
    assert alone.messages(1) == [b"whole", b"cut off"]


def test_what_the_peer_says_again_after_a_break_is_nothing_odd() -> None:
    alone = resumable(client=False, glitch_burst=1, glitch_rate=0.0)
    again = frames.session_credit(262_144) + frames.channel_credit(1_024) + frames.ping(1)
    for _ in range(3):
        alone.engine.receive_eof(0.0)
        alone.take_events()
        alone.engine.part()
        alone.engine.rejoin(0, 0.0)
        alone.feed(again)
    assert alone.closed is None
    assert alone.engine.counters["oddities"] == 0
    alone.feed(again)
    assert alone.closed is not None
    assert alone.closed.code == Code.CALM


def test_what_the_peer_lacks_goes_again_and_channel_0_anew() -> None:
    alone = resumable(client=True)
    engine = alone.engine
    sent = b""
    for name in ("a", "b"):
        engine.open(name)
        sent += alone.written()
    engine.ping(0.0)
    engine.go_away(Code.SHUTDOWN, "soon")
    alone.written()
    engine.receive_eof(0.0)
    alone.take_events()
    engine.part()
    assert alone.written() == b""
    first = len(frames.open(1, "a"))
    assert engine.judge(1, first, 1) == 0
    assert engine.judge(1, first + 1, 1) == Why.DIVERGED
    assert engine.judge(3, first, 1) == Why.POSITION_LOST
    assert engine.judge(1, first, 2) == Why.POSITION_LOST
    assert engine.rejoin(1, 0.0) == 1
    written = frames.take_frames(alone.written() + alone.written())
    assert {item.record for item in written if not item.channel} == {
        Record.SESSION_CREDIT, Record.CHANNEL_CREDIT, Record.PING, Record.GOAWAY,
    }  # fmt: skip
    assert [(item.kind, item.channel) for item in written if item.channel] == [(Kind.OPEN, 3)]
