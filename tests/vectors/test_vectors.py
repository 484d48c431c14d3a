"""The vectors against the builders and readers of `support`, and against every implementation in both directions."""

from typing import Any

import pytest
from support import frames
from support.frames import PREFACE, Code, Kind, Record, Violation
from support.pair import CHOPS, IMPLEMENTATIONS, Alone
from support.parts import EventKind
from support.vectors import load, raw

Json = dict[str, Any]


def named(vectors: list[Json]) -> Any:
    return pytest.mark.parametrize("vector", vectors, ids=lambda vector: vector.get("name") or vector["hex"])


on_every_implementation = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
chopped = pytest.mark.parametrize("chop", CHOPS)

VARINTS = load("varints")
FRAMES = load("frames")["frames"]
RECORDS = load("records")["records"]
HANDSHAKES = load("handshakes")
OPENS = load("opens")
VIOLATIONS = load("violations")

ANNOUNCED = {"max_frame": 16_384, "max_message": 20_000, "channel_window": 32_768, "session_window": 65_536,
             "max_channels": 3}  # fmt: skip


# --- against the builders and readers ---------------------------------------------------------------------------------


@named(VARINTS["good"])
def test_varint_both_ways(vector: Json) -> None:
    assert frames.varint(vector["value"]) == raw(vector["hex"])
    assert frames.read_varint(raw(vector["hex"])) == (vector["value"], len(raw(vector["hex"])))


@named(VARINTS["bad"])
def test_bad_varint(vector: Json) -> None:
    with pytest.raises(Violation) as caught:
        frames.read_varint(raw(vector["hex"]), longest=vector["longest"])
    assert caught.value.code.name == vector["code"]


def values(fields: Json) -> Json:
    """The fields as the builders take them: bytes are hex in JSON, and a long text says how often it repeats."""
    return {name: value["repeat"] * value["times"] if isinstance(value, dict) and "repeat" in value
            else raw(value) if name in ("payload", "auth", "ticket") else value
            for name, value in fields.items()}  # fmt: skip


@named(FRAMES)
def test_frame_both_ways(vector: Json) -> None:
    kind, fields = Kind[vector["kind"]], values(vector["fields"])
    build = getattr(frames, kind.name.lower())
    assert build(vector["channel"], **fields) == raw(vector["hex"])
    frame, end = frames.take_frame(raw(vector["hex"]))
    assert (frame.channel, frame.kind, frame.fields, end) == (vector["channel"], kind, fields, len(raw(vector["hex"])))


@named(RECORDS)
def test_record_both_ways(vector: Json) -> None:
    build = getattr(frames, vector["record"].lower())
    assert build(**vector["fields"]) == raw(vector["hex"])
    frame, _ = frames.take_frame(raw(vector["hex"]))
    assert frame.fields == {"record": vector["record"], **vector["fields"]}


@named(HANDSHAKES["records"])
def test_handshake_both_ways(vector: Json) -> None:
    frame, end = frames.take_frame(raw(vector["hex"]))
    assert end == len(raw(vector["hex"]))
    fields, defaults = values(vector["fields"]), {**frames.DEFAULTS, "meta": {}, "auth": b"", "ticket": b""}
    expected = fields if vector["record"] == "REFUSED" else {**defaults, **fields}
    assert frame.fields == {"record": vector["record"], **expected}
    if not vector.get("decode_only"):
        version = fields.pop("version", [])
        assert getattr(frames, vector["record"].lower())(*version, **fields) == raw(vector["hex"])


@named(OPENS["good"])
def test_open_both_ways(vector: Json) -> None:
    assert frames.read_open(raw(vector["hex"])) == values(vector["fields"])
    if not vector.get("decode_only"):
        assert frames.open_payload(**values(vector["fields"])) == raw(vector["hex"])


@named(OPENS["bad"])
def test_bad_open(vector: Json) -> None:
    with pytest.raises(Violation) as caught:
        frames.read_open(raw(vector["hex"]))
    assert caught.value.code.name == vector["code"]


# --- against the engines ----------------------------------------------------------------------------------------------


@on_every_implementation
@chopped
@named([vector for vector in FRAMES if vector["channel"] <= 15])  # all channels before it must be open
def test_engine_reads_frame(vector: Json, implementation: str, chop: str) -> None:
    listener = Alone(implementation, client=vector["channel"] % 2 == 0, chop=chop)
    listener.greet()
    first = 2 if listener.client else 1
    before = range(first, vector["channel"] + (vector["kind"] != "OPEN"), 2)
    listener.feed(b"".join(map(frames.open, before)) + raw(vector["hex"]))
    fields = values(vector["fields"])
    expected = [(EventKind.OPENED, channel, b"", 0, "", 0) for channel in before]
    match vector["kind"]:
        case "OPEN":
            expected.append((EventKind.OPENED, vector["channel"], b"", 0, "", 0))
        case "DATA":
            expected.append((EventKind.MESSAGE, vector["channel"], fields["payload"], 0, "", 0))
        case "FINISH":
            expected.append((EventKind.FINISHED, vector["channel"], b"", 0, "", 0))
        case "RESET":
            expected.append((EventKind.RESET, vector["channel"], b"", fields["code"], fields["reason"], 0))
        case "BLOCKED":  # in the vector it stands at the default limit, which is what the engine granted
            pass
    assert listener.events == expected


@on_every_implementation
def test_engine_writes_frames(implementation: str) -> None:
    """Commands give the bytes of the vectors, where the specification leaves no freedom."""
    speaker = Alone(implementation, client=True)
    speaker.greet()
    vector = {vector["name"]: raw(vector["hex"]) for vector in FRAMES}
    engine = speaker.engine
    assert engine.open("echo") == 1
    assert speaker.written() == vector["the example of section 6"]
    assert engine.send(1, b"hello")
    assert engine.send(1, b"")
    assert speaker.written() == vector["the example of section 2"] + vector["an empty message"]
    engine.finish(1)
    assert speaker.written() == vector["FINISH"]
    engine.reset(1, Code.CANCELLED)
    assert speaker.written() == vector["RESET, cancelled, no reason"]
    assert engine.open("other") == 3
    speaker.written()
    engine.reset(3, Code.NOT_FOUND, "no")
    assert speaker.written() == vector["RESET as a refusal with a reason"]


@on_every_implementation
def test_engine_writes_tags_of_two_bytes(implementation: str) -> None:
    speaker = Alone(implementation, client=True)
    speaker.greet()
    assert [speaker.engine.open("") for _ in range(9)] == list(range(1, 19, 2))
    speaker.written()
    assert speaker.engine.send(17, b"\0")
    assert speaker.written() == bytes.fromhex("03 8801 00")


@on_every_implementation
@chopped
@named(RECORDS)
def test_engine_reads_record(vector: Json, implementation: str, chop: str) -> None:
    listener = Alone(implementation, client=False, chop=chop)
    listener.greet()
    if vector["record"] == "PONG":
        assert listener.engine.ping(0.0) == 1
        assert listener.written() == frames.ping(1)
    listener.feed(raw(vector["hex"]))
    fields = vector["fields"]
    match vector["record"]:
        case "GOAWAY":
            assert listener.events == [(EventKind.GOING_AWAY, 0, b"", fields["code"], fields["reason"], fields["last"])]
        case "PONG":
            assert listener.events == [(EventKind.PONG, 0, b"", 0, "", 1)]
        case "PING":
            assert listener.written() == frames.pong(fields["n"])
        case _:
            assert listener.events == []


@on_every_implementation
def test_engine_writes_goaway(implementation: str) -> None:
    speaker = Alone(implementation, client=False)
    speaker.greet()
    speaker.feed(b"".join(map(frames.open, (1, 3, 5))))
    speaker.engine.go_away()
    vector = next(vector for vector in RECORDS if vector["record"] == "GOAWAY")
    assert speaker.written() == raw(vector["hex"])


@on_every_implementation
@chopped
@named(HANDSHAKES["records"])
def test_engine_reads_handshake(vector: Json, implementation: str, chop: str) -> None:
    client, fields = vector["record"] != "HELLO", values(vector["fields"])
    listener = Alone(implementation, client=client, chop=chop)
    listener.feed(raw(HANDSHAKES["preface"]) + raw(vector["hex"]))
    if vector["record"] == "REFUSED":
        expected = (EventKind.REFUSED, 0, b"", fields["code"], fields["reason"], fields["retry_after"])
        assert listener.events[0] == expected
        return
    assert [event.kind for event in listener.events] == [EventKind[vector["record"]]]
    fields = {**frames.DEFAULTS, "meta": {}, "auth": b"", "ticket": b"", **fields}
    peer = listener.engine.peer
    assert peer.version == (fields["version"][0], fields["version"][-1])
    assert (peer.max_frame, peer.max_message) == (fields["max_frame"], fields["max_message"])
    assert (peer.channel_limit, peer.session_limit) == (fields["channel_limit"], fields["session_limit"])
    assert (peer.max_channels, peer.keepalive_ms) == (fields["max_channels"], fields["keepalive"])
    assert (peer.resume_ms, peer.ticket) == (fields["resume"], fields["ticket"])
    assert (peer.meta, peer.auth, peer.replay_limit) == (fields["meta"], fields["auth"], fields["replay_limit"])


@on_every_implementation
@pytest.mark.parametrize("client", [True, False], ids=["client", "server"])
def test_engine_writes_handshake(client: bool, implementation: str) -> None:
    auth = b"secret" if client else b""
    speaker = Alone(implementation, client=client, **ANNOUNCED, keepalive=2.5, meta={"k": "v"}, auth=auth)
    written = speaker.greet()
    assert written.startswith(raw(HANDSHAKES["preface"]))
    (record,) = frames.take_frames(written)
    fields = record.fields
    assert fields.pop("record") == ("HELLO" if client else "WELCOME")
    assert fields == {
        **VIOLATIONS["announced"],
        "version": [1, 1] if client else [1],
        "keepalive": 2500,
        "resume": 0,
        "ticket": b"",
        "replay_limit": 0,
        "meta": {"k": "v"},
        "auth": auth,
    }


@on_every_implementation
def test_engine_writes_refusal(implementation: str) -> None:
    speaker = Alone(implementation, client=False)
    speaker.accept = False
    speaker.feed(PREFACE + frames.hello())
    speaker.engine.refuse(Code.BUSY, "full", 1500)
    vector = next(vector for vector in HANDSHAKES["records"] if vector["record"] == "REFUSED")
    assert speaker.written() == PREFACE + raw(vector["hex"])


@on_every_implementation
@chopped
@named(HANDSHAKES["bad"])
def test_engine_refuses_bad_handshake(vector: Json, implementation: str, chop: str) -> None:
    if vector["musts"] == ["H-3"]:  # in pieces it may have been answered in between, and is no violation then
        chop = "whole"
    listener = Alone(implementation, client=vector["receiver"] == "client", chop=chop)
    listener.written()
    listener.feed(raw(vector["hex"]))
    assert listener.closed is not None
    assert (Code(listener.closed.code).name, listener.closed.number) == (vector["code"], 0)
    written = listener.written()
    if vector["name"] == "text":
        assert written.isascii()
        assert written.endswith(b"\n")
        assert b"muxtcp" in written
    elif vector["receiver"] == "server":
        (answer,) = frames.take_frames(written)
        assert (answer.record, answer.fields["code"]) == (Record.REFUSED, Code[vector["code"]])


@on_every_implementation
@chopped
@named(OPENS["good"])
def test_engine_reads_open(vector: Json, implementation: str, chop: str) -> None:
    listener = Alone(implementation, client=False, chop=chop)
    listener.greet()
    listener.feed(frames.frame(1, Kind.OPEN, raw(vector["hex"])))
    assert [event.kind for event in listener.events] == [EventKind.OPENED]
    assert listener.engine.opening(1)._asdict() == values(vector["fields"])


@on_every_implementation
@named([vector for vector in OPENS["good"] if not vector.get("decode_only")])
def test_engine_writes_open(vector: Json, implementation: str) -> None:
    speaker = Alone(implementation, client=True)
    speaker.greet()
    assert speaker.engine.open(**values(vector["fields"])) == 1
    assert speaker.written() == frames.frame(1, Kind.OPEN, raw(vector["hex"]))


@on_every_implementation
@chopped
@named(OPENS["bad"])
def test_engine_refuses_bad_open(vector: Json, implementation: str, chop: str) -> None:
    listener = Alone(implementation, client=False, chop=chop)
    listener.greet()
    listener.feed(frames.frame(1, Kind.OPEN, raw(vector["hex"])))
    assert [Code(event.code).name for event in listener.events] == [vector["code"]]


@on_every_implementation
@chopped
@named(VIOLATIONS["cases"])
def test_engine_finds_violation(vector: Json, implementation: str, chop: str) -> None:
    """The named code, a CLOSED that says it was us, one GOAWAY with the code as the last word, and nothing else."""
    listener = Alone(implementation, client=vector["receiver"] == "client", chop=chop, **ANNOUNCED)
    listener.greet()
    written = b""
    for step in vector["steps"]:
        match step:
            case {"do": command, **arguments}:
                getattr(listener.engine, command)(**arguments)
                written += listener.written()
            case _:
                listener.feed(raw(step))
    sent = frames.take_frames(written + listener.written())
    if vector["code"] is None:
        assert listener.closed is None
        return
    assert listener.closed is not None
    assert (Code(listener.closed.code).name, listener.closed.number) == (vector["code"], 0)
    assert listener.events[-1] is listener.closed
    assert (sent[-1].record, sent[-1].fields["code"]) == (Record.GOAWAY, Code[vector["code"]])
    assert [item.record for item in sent].count(Record.GOAWAY) == 1
    assert listener.engine.counters[vector["code"]] == 1


@on_every_implementation
@pytest.mark.parametrize("sent", [b"", PREFACE[:3], PREFACE, PREFACE + frames.hello()[:-1]], ids=range(4))
def test_engine_gives_up_on_a_handshake(sent: bytes, implementation: str) -> None:
    listener = Alone(implementation, client=False, handshake_timeout=5.0)
    listener.feed(sent)
    assert listener.engine.next_timeout() == 5.0
    listener.engine.handle_timeout(5.0)
    listener.take_events()
    assert listener.closed is not None
    assert listener.closed.code == Code.HANDSHAKE_TIMEOUT
    (answer,) = frames.take_frames(listener.written())
    assert (answer.record, answer.fields["code"]) == (Record.REFUSED, Code.HANDSHAKE_TIMEOUT)
