"""The records of the resumption handshake: what is written is read back, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import frames
from support.strategies import numbers

from muxtcp._engine import Position
from muxtcp.resumption import Failed, Fields, Malformed, Question, Ticket, Why, check_key

positions = st.builds(Position, numbers, numbers, numbers)
sixteen = st.binary(min_size=16, max_size=16)
keys = st.none() | st.binary(min_size=16, max_size=64)


def tickets() -> tuple[Ticket, Ticket]:
    nonce = bytes(16)
    server, wire = Ticket.issue(nonce, b"process1", None)
    client = Ticket.of_welcome(wire, nonce, None)
    for ticket in (client, server):
        ticket.seal(b"parameters")
    return client, server


@given(nonce=sixteen, psk=keys)
def test_a_ticket_arrives(nonce: bytes, psk: bytes | None) -> None:
    server, wire = Ticket.issue(nonce, b"process1", psk)
    client = Ticket.of_welcome(wire, nonce, psk)
    assert (client.id, client.incarnation, client.secret) == (server.id, b"process1", server.secret)
    assert (server.secret in wire) is (psk is None)


@given(asked=positions, answered=positions, generation=st.integers(0, 2**62))
def test_an_exchange_arrives(asked: Position, answered: Position, generation: int) -> None:
    client, server = tickets()
    client.generation = generation
    question = Question.read(client.ask(asked))
    assert (question.generation, question.position) == (generation + 1, asked)
    server.judge(question)
    server.take(question)
    assert client.check(server.answer(question, answered)) == answered
    server.check_proof(client.proof())


@given(data=st.data())
def test_a_changed_byte_is_found(data: st.DataObject) -> None:
    client, server = tickets()
    good = client.ask(Position(1, 2, 3))
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    with pytest.raises((Malformed, Failed)):
        server.judge(Question.read(bad))
    assert server.generation == 0


@given(st.builds(Failed, st.sampled_from(Why), known=st.none() | st.tuples(numbers, numbers)))
def test_a_refusal_arrives(failed: Failed) -> None:
    read = Failed.read(failed.record())
    assert (read.why, read.known, read.retry_after) == (failed.why, failed.known, 0.0)


@given(st.lists(numbers))
def test_numbers_are_read_back(values: list[int]) -> None:
    fields = Fields(b"".join(map(frames.varint, values)))
    assert [fields.number() for _ in values] == values
    fields.end()


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_malformed(record: bytes) -> None:
    client, _ = tickets()
    for read in (Question.read, Failed.read, client.check):
        with pytest.raises((Malformed, Failed)):
            raise Malformed(f"it was read: {read(record)}")


@pytest.mark.parametrize(
    ("record", "finding"),
    [
        (b"", "a record of 0 bytes ends inside a field"),
        (b"\x80", "ends inside a field"),
        (b"\x80\x00", "not in its shortest form"),
        (b"\x80" * 9 + b"\x01", "more than 9 bytes"),
    ],
)
def test_a_malformed_number(record: bytes, finding: str) -> None:
    with pytest.raises(Malformed, match=finding):
        Fields(record).number()


def test_bytes_too_many() -> None:
    with pytest.raises(Malformed, match="2 bytes too many"):
        Fields(b"ab").end()


def test_a_key_that_is_too_short() -> None:
    with pytest.raises(ValueError, match="psk has 15 bytes; a key needs at least 16"):
        check_key(bytes(15))
    check_key(bytes(16))
    check_key(None)
