"""One frame with any payload: parameters, OPEN, every kind and record, at an engine in every phase of either role.

An input is a byte that chooses the phase, one that chooses kind or record, and the payload. The model, or the plain
readers where it knows no resumption, must be of the same opinion: what is taken means the same, what is refused is
refused for the same rule or, of several, for one of them.
"""

from collections.abc import Iterator
from typing import Any

from fuzz import mutate, speech, vectors
from support import frames
from support.frames import PREFACE, Code, Kind, Record, Violation
from support.pair import Alone
from support.parts import Event, EventKind
from support.strategies import SMALL

HEAD = 2
GREETING, UP, RESUMABLE, RESUMING = range(4)
RECORD = 128  # in the second byte: the rest of it is the type of a record
LONGEST = 20_000  # beyond every limit
# A payload that is malformed twice may be refused for either.
FORM = {Code.BAD_FRAME, Code.BAD_PARAMETER, Code.BAD_VARINT, Code.BAD_UTF8, Code.BAD_OPEN, Code.BAD_VERSION}


def one(data: bytes) -> None:
    if len(data) < HEAD:
        return
    client, phase = bool(data[0] & 1), data[0] >> 1 & 3
    frame = framed(data[1], data[HEAD : HEAD + LONGEST])
    if phase in (GREETING, UP):
        found = taken("engine", phase, frame, client=client)
        models = (taken("model", phase, frame, client=client, form_first=first) for first in (False, True))
        if found not in models:
            raise AssertionError(f"{found}, and the model: {taken('model', phase, frame, client=client)}")
    elif phase == RESUMABLE:
        resumable(frame, client=client)
    else:
        answered(frame)


def framed(kind: int, payload: bytes) -> bytes:
    if kind >= RECORD:
        return frames.record(kind - RECORD, payload)
    return frames.frame(kind >> 3, kind & 7, payload)


def taken(implementation: str, phase: int, frame: bytes, *, client: bool, **options: Any) -> list[Any]:
    """What an engine makes of it: its events, and what it learned with them."""
    side = Alone(implementation, client=client, **SMALL, **options)
    if phase == UP:
        side.greet()
        side.feed(frames.open(2 if client else 1, "theirs"))
        side.engine.open("ours")
        side.written()
    else:
        side.feed(PREFACE)
    side.events.clear()
    side.feed(frame)
    learned = [side.engine.opening(event.channel) for event in side.seen(EventKind.OPENED)]
    peer = side.engine.peer
    return [facts(side.events), learned, None if side.closed else peer]


def facts(events: list[Event]) -> list[Event]:
    """All but the words in which we say why we closed, and which of the malformations it is for."""
    return [
        event._replace(reason="", code=Code.BAD_FRAME if event.code in FORM else event.code)
        if event.kind == EventKind.CLOSED
        else event
        for event in events
    ]


def read(payload: bytes) -> dict[str, Any] | Code:
    """The fields of a record, or what is wrong with them."""
    try:
        return frames.read_record(payload)
    except Violation as violation:
        return violation.code


def resumable(frame: bytes, *, client: bool) -> None:
    """ACK and END are known on a session that survives; a record of the handshake is not any more."""
    wish = {"resume_ms": 30_000, "ticket": bytes(16)} if client else {}
    side = Alone("engine", client=client, **SMALL, **wish)
    if client:
        side.feed(PREFACE + frames.welcome(resume=30_000, ticket=bytes(89), replay_limit=2**20))
    else:
        side.accept = False
        side.feed(PREFACE + frames.hello(resume=30_000, ticket=bytes(16), replay_limit=2**20))
        side.engine.accept(None, 30_000, bytes(89))
    assert side.engine.resumable
    side.engine.open("ours")
    side.written()  # the one sequenced frame
    side.events.clear()
    side.feed(frame)
    payload = frames.take_frame(frame)[0].payload
    record = payload[0] if payload and frames.take_frame(frame)[0][:2] == (0, 0) else None
    if record == Record.ACK:
        values = read(payload)
        if isinstance(values, Code):
            assert [event.code for event in side.seen(EventKind.CLOSED)] == [values]
        else:
            judged = (EventKind.ACKED, values["frames"]) if values["frames"] <= 1 else (EventKind.CLOSED, 0)
            assert (side.events[0].kind, side.events[0].number) == judged
    elif record is not None and (record <= Record.RESUME_FAILED or record == Record.END):
        assert side.closed
        # END follows a GOAWAY; that there was none may be found before or after that it is too long.
        assert side.closed.code in (Code.BAD_RECORD, Code.BAD_FRAME, Code.FRAME_TOO_LARGE)
    frames.take_frames(side.written())


def answered(frame: bytes) -> None:
    """A client that asked to resume hears an answer, a refusal, or what is neither."""
    side = Alone("engine", client=True, resumption=bytes(100), **SMALL)
    side.feed(PREFACE + frame)
    channel, kind, payload = frames.take_frame(frame)[0]
    [event] = side.events[:1]
    if (channel, kind) != (0, Kind.DATA) or not payload:
        assert event.code == Code.EARLY_FRAME
    elif len(payload) > 16_384:
        assert event.code == Code.HANDSHAKE_TOO_LARGE
    elif payload[0] in (Record.RESUME_OK, Record.RESUME_FAILED):
        assert (event.kind, event.data, event.number) == (EventKind.RESUMPTION, payload[1:], payload[0])
    elif payload[0] == Record.REFUSED:
        values = read(payload)
        if isinstance(values, Code):
            assert (event.kind, event.code) == (EventKind.CLOSED, values)
        else:
            assert (event.kind, event.code, event.reason) == (EventKind.REFUSED, values["code"], values["reason"])
    else:
        assert event.code == Code.EARLY_FRAME


def seeds() -> Iterator[bytes]:
    for client in (0, 1):
        for vector in vectors.load("handshakes", "records"):
            payload = frames.take_frame(vectors.raw(vector["hex"]))[0].payload
            yield bytes([GREETING << 1 | client, RECORD + payload[0]]) + payload[1:]
        for vector in vectors.load("opens", "good", "bad"):
            yield bytes([UP << 1 | client, (3 + (not client)) << 3 | Kind.OPEN]) + vectors.raw(vector["hex"])
            yield bytes([UP << 1 | client, (4 if client else 3) << 3 | Kind.OPEN]) + vectors.raw(vector["hex"])
        for vector in vectors.load("frames", "frames"):
            channel, kind, payload = frames.take_frame(vectors.raw(vector["hex"]))[0]
            yield bytes([UP << 1 | client, channel % 5 << 3 | kind]) + payload
        for vector in vectors.load("records", "records"):
            payload = frames.take_frame(vectors.raw(vector["hex"]))[0].payload
            yield bytes([UP << 1 | client, RECORD + payload[0]]) + payload[1:]
            yield bytes([RESUMABLE << 1 | client, RECORD + payload[0]]) + payload[1:]
        for vector in vectors.load("resumption", "records"):
            payload = frames.take_frame(vectors.raw(vector["hex"]))[0].payload
            yield bytes([RESUMING << 1 | client, RECORD + payload[0]]) + payload[1:]
    yield bytes([UP << 1, RECORD + Record.PING]) + frames.varint(speech.NUMBERS[-1])


change = mutate.simple(HEAD)
