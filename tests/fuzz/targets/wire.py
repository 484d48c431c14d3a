"""Varints, text and the headers of frames at the very end of what has arrived, one byte after the other.

An input is what is read: as a number, as text, and as the beginning of a frame at an engine that is up, which judges
it as the plain readers do. In a sanitized build whoever reads a byte more than has come is found.
"""

from collections.abc import Iterator

from fuzz import mutate, vectors
from fuzz.targets.stream import greeting
from support import frames
from support.frames import Code, Kind, NeedMore, Violation
from support.strategies import SMALL

from muxtcp import _wire
from muxtcp._engine import Engine

LONGEST = 24  # a header has 13 bytes at most
ENOUGH = object()


def one(data: bytes) -> None:
    data = data[:LONGEST]
    numbers(data)
    assert _wire.is_text(data) == is_text(data)
    header(data, client=len(data) % 2 == 0)


def numbers(data: bytes) -> None:
    for longest in (4, 9):
        try:
            expected: object = frames.read_varint(data, longest=longest)
        except NeedMore:
            expected = None, 0
        except Violation:
            expected = ValueError
        try:
            found: object = _wire.read(data, longest)
        except ValueError:
            found = ValueError
        assert found == expected, f"{longest}: {found}, not {expected}"


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def header(data: bytes, *, client: bool) -> None:
    """The verdict after each byte is that of the plain reader on the bytes up to there."""
    engine = Engine(client=client, **SMALL)
    engine.receive_data(greeting(client=client, resumable=False), 0.0)
    engine.next_event()
    if not client:
        engine.accept()
    for end in range(1, len(data) + 1):
        engine.receive_data(data[end - 1 : end], 0.0)
        event = engine.next_event()
        expected = verdict(data[:end])
        if expected is ENOUGH:
            return
        assert (event and event.code) == expected, event
        if event is not None:
            return


def verdict(data: bytes) -> Code | object | None:
    """The violation that can be told by now, or None; ENOUGH if there is a whole frame, which is for other targets."""
    try:
        header = frames.read_header(data)
    except NeedMore:
        return None
    except Violation as violation:
        return violation.code
    if header.kind is Kind.RESERVED or (header.channel == 0 and header.kind != Kind.DATA):
        return Code.BAD_KIND
    if header.size > (4_096 if header.channel == 0 else SMALL["max_frame"]):
        return Code.FRAME_TOO_LARGE
    return ENOUGH if len(data) >= header.at + header.size else None


def seeds() -> Iterator[bytes]:
    for vector in vectors.load("varints", "good", "bad"):
        yield vectors.raw(vector["hex"])
    for vector in vectors.load("frames", "frames"):
        yield vectors.raw(vector["hex"])[:LONGEST]
    for case in vectors.load("violations", "cases"):
        yield vectors.raw(case["steps"])[:LONGEST]
    for text in ("a", "é", "€", "\U0001f600", "\u07ff\uffff\U0010ffff"):
        yield text.encode()


change = mutate.simple(0)
