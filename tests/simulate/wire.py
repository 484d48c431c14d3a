"""What is on the way to one side of a connection, and the frames in it."""

import zlib
from collections import deque
from enum import IntEnum
from typing import NamedTuple

from support.frames import PREFACE, Kind, NeedMore, Violation, read_varint


class Broken(AssertionError):
    """The oracle has seen something that must not be."""


class Record(IntEnum):
    """Types of records on channel 0 (docs/PROTOCOL.md, section 3)."""

    HELLO, WELCOME, REFUSED, RESUME, RESUME_OK, RESUME_CONFIRM, RESUME_FAILED = range(1, 8)
    PING, PONG, GOAWAY, SESSION_CREDIT, SESSION_BLOCKED, ACK, CHANNEL_CREDIT, END = range(8, 16)


class Frame(NamedTuple):
    """A frame, without its payload."""

    channel: int
    kind: int
    record: int  # its type, on channel 0
    checksum: int
    start: int  # in the connection's stream; the first one has the preface before it
    end: int

    @property
    def name(self) -> str:
        return Kind(self.kind).name if self.channel else Record(self.record).name


class Wire:
    """One direction of a connection."""

    def __init__(self) -> None:
        self.data = bytearray()  # written and not delivered
        self.written = 0
        self.delivered = 0
        self.frames: deque[Frame] = deque()  # not delivered whole

    def write(self, data: bytes) -> list[Frame]:
        """Put whole frames on their way."""
        frames = cut_up(data, self.written)
        self.data += data
        self.written += len(data)
        self.frames += frames
        return frames

    def take(self, size: int) -> tuple[bytes, list[Frame]]:
        """The next bytes, and the frames that end in them."""
        data = bytes(self.data[:size])
        del self.data[:size]
        self.delivered += len(data)
        whole = []
        while self.frames and self.frames[0].end <= self.delivered:
            whole.append(self.frames.popleft())
        return data, whole

    @property
    def broken_in(self) -> Frame | None:
        """The frame of which some bytes have come and others not."""
        return self.frames[0] if self.frames and self.frames[0].start < self.delivered else None


def cut_up(data: bytes, written: int = 0) -> list[Frame]:
    """The frames in what an engine has written after `written` other bytes."""
    frames = []
    start, at = 0, 0
    if data.startswith(PREFACE) and written == 0:
        at = len(PREFACE)
    try:
        while at < len(data):
            length, body = read_varint(data, at, 4)
            tag, payload = read_varint(data, body)
            end = body + length
            if end > len(data):
                raise Broken(f"a frame of {end - at} bytes was written as {len(data) - at}")
            checksum = zlib.crc32(data[at:end]) if tag >> 3 else 0
            record = 0 if tag >> 3 else data[payload]
            frames.append(Frame(tag >> 3, tag & 7, record, checksum, written + start, written + end))
            start = at = end
    except (Violation, NeedMore) as error:
        raise Broken(f"what was written has no frames in it: {error}") from error
    return frames
