"""The bytes of docs/PROTOCOL.md in plain Python: builders for tests that speak, strict readers for tests that listen.

Nothing here shares a line with the library. A builder writes whatever it is asked to, so that tests can also break the
rules; a reader raises `Violation` with the code of the specification, or `NeedMore` when the input ends too early.
"""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from itertools import pairwise
from typing import Any, NamedTuple

PREFACE = bytes.fromhex("8d4d55580d0a1a0a")
MAX_LIMIT = 2**53
REASON_MAX = 255
PAIRS_MAX = 64
NAME_MAX = 255
PART_MIN = 1_024


class Kind(IntEnum):
    DATA, PART, OPEN, CREDIT, FINISH, RESET, BLOCKED, RESERVED = range(8)


class Record(IntEnum):
    HELLO, WELCOME, REFUSED, RESUME, RESUME_OK, RESUME_CONFIRM, RESUME_FAILED = range(1, 8)
    PING, PONG, GOAWAY, SESSION_CREDIT, SESSION_BLOCKED, ACK, CHANNEL_CREDIT, END = range(8, 16)


class Why(IntEnum):
    UNKNOWN, EXPIRED, WRONG_INCARNATION, STALE_GENERATION, POSITION_LOST, DIVERGED, DENIED, BUSY, OTHER_IDENTITY = (
        range(1, 10)
    )


class Code(IntEnum):
    NO_ERROR, INTERNAL, CANCELLED, CALM, SHUTDOWN, TIMEOUT = range(6)
    NOT_FOUND, FORBIDDEN, BUSY, UNSUPPORTED = range(0x10, 0x14)
    UNAUTHENTICATED, BAD_VERSION, LIMITS, HANDSHAKE_TIMEOUT, HANDSHAKE_TOO_LARGE, BAD_PARAMETER = range(0x20, 0x26)
    BAD_PREFACE, BAD_VARINT, BAD_FRAME, BAD_KIND, BAD_RECORD, FRAME_TOO_LARGE, MESSAGE_TOO_LARGE = range(0x100, 0x107)
    BAD_PART, CREDIT_EXCEEDED, LIMIT_BACKWARDS, LIMIT_OVERFLOW, BAD_CHANNEL_ID, CHANNEL_REUSED = range(0x107, 0x10D)
    UNKNOWN_CHANNEL, CHANNEL_ENDED, TOO_MANY_CHANNELS, DATA_AFTER_FINISH, BAD_OPEN = range(0x10D, 0x112)
    BAD_UTF8, EARLY_FRAME, BAD_ACK = range(0x112, 0x115)


class Violation(Exception):
    """The input breaks a rule; `code` is the one that the specification names."""

    def __init__(self, code: Code, why: str = "") -> None:
        super().__init__(f"{code.name}: {why}" if why else code.name)
        self.code = code


class NeedMore(Exception):
    """The input is good as far as it goes, and ends too early."""


# --- builders ---------------------------------------------------------------------------------------------------------


def varint(n: int) -> bytes:
    groups = [n & 0x7F]
    while n := n >> 7:
        groups.append(n & 0x7F)
    return bytes(group | 0x80 for group in groups[:-1]) + bytes(groups[-1:])


def sized(value: str | bytes) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return varint(len(value)) + value


def frame(channel: int, kind: int, payload: bytes = b"") -> bytes:
    tag = varint(channel << 3 | kind)
    return varint(len(tag) + len(payload)) + tag + payload


def data(channel: int, payload: bytes = b"") -> bytes:
    return frame(channel, Kind.DATA, payload)


def part(channel: int, payload: bytes) -> bytes:
    return frame(channel, Kind.PART, payload)


def pairs(meta: Mapping[str, str]) -> bytes:
    return varint(len(meta)) + b"".join(sized(text) for pair in meta.items() for text in pair)


def fields(values: Iterable[tuple[int, bytes]]) -> bytes:
    """`id, size, value` for each: the form of parameters and of typed fields."""
    return b"".join(varint(number) + sized(value) for number, value in values)


MODES = ["rw", "r", "w"]


def open_payload(
    name: str,
    meta: Mapping[str, str] | None = None,
    mode: str = "rw",
    priority: int = 2,
    deadline_ms: int | None = None,
    traceparent: str | None = None,
) -> bytes:
    typed = [] if deadline_ms is None else [(1, varint(deadline_ms))]
    typed += [] if traceparent is None else [(2, traceparent.encode())]
    return bytes([MODES.index(mode) | priority << 2]) + sized(name) + pairs(meta or {}) + fields(typed)


def open(channel: int, name: str = "", **rest: Any) -> bytes:  # noqa: A001 - the name of the frame
    return frame(channel, Kind.OPEN, open_payload(name, **rest))


def credit(channel: int, limit: int) -> bytes:
    return frame(channel, Kind.CREDIT, varint(limit))


def finish(channel: int) -> bytes:
    return frame(channel, Kind.FINISH)


def reset(channel: int, code: int = Code.CANCELLED, reason: str = "") -> bytes:
    return frame(channel, Kind.RESET, varint(code) + reason.encode())


def blocked(channel: int, limit: int, need: int) -> bytes:
    return frame(channel, Kind.BLOCKED, varint(limit) + varint(need))


def record(kind: int, payload: bytes = b"") -> bytes:
    return frame(0, 0, bytes([kind]) + payload)


NUMBERS = {2: "max_frame", 3: "max_message", 4: "channel_limit", 5: "session_limit", 6: "max_channels",
           7: "keepalive", 8: "resume", 12: "replay_limit"}  # fmt: skip
RANGES = {2: (16_384, 16_777_216), 3: (1_024, 2**40), 4: (0, MAX_LIMIT), 5: (0, MAX_LIMIT), 6: (0, MAX_LIMIT),
          12: (0, MAX_LIMIT)}  # fmt: skip
DEFAULTS = {"max_frame": 65_536, "max_message": 1_048_576, "channel_limit": 262_144, "session_limit": 262_144,
            "max_channels": 1_024, "keepalive": 0, "resume": 0, "replay_limit": 0}  # fmt: skip
TICKETS = {Record.HELLO: (16,), Record.WELCOME: (57, 89)}  # how many bytes a ticket has


def parameters(
    versions: Iterable[int],
    *,
    meta: Mapping[str, str] | None = None,
    auth: bytes = b"",
    ticket: bytes = b"",
    **given: int,
) -> bytes:
    values = [(1, b"".join(map(varint, versions)))]
    values += [(number, varint(given[name])) for number, name in NUMBERS.items() if name in given]
    values += [(9, pairs(meta))] if meta else []
    values += [(10, auth)] if auth else []
    values += [(11, ticket)] if ticket else []
    return fields(sorted(values))


def hello(lowest: int = 1, highest: int = 1, **rest: Any) -> bytes:
    return record(Record.HELLO, parameters([lowest, highest], **rest))


def welcome(version: int = 1, **rest: Any) -> bytes:
    return record(Record.WELCOME, parameters([version], **rest))


def refused(code: int, retry_after: int = 0, reason: str = "") -> bytes:
    return record(Record.REFUSED, varint(code) + varint(retry_after) + reason.encode())


def ping(n: int) -> bytes:
    return record(Record.PING, varint(n))


def pong(n: int) -> bytes:
    return record(Record.PONG, varint(n))


def goaway(last: int, code: int = 0, reason: str = "") -> bytes:
    return record(Record.GOAWAY, varint(last) + varint(code) + reason.encode())


def session_credit(limit: int) -> bytes:
    return record(Record.SESSION_CREDIT, varint(limit))


def session_blocked(limit: int, need: int) -> bytes:
    return record(Record.SESSION_BLOCKED, varint(limit) + varint(need))


def channel_credit(limit: int) -> bytes:
    return record(Record.CHANNEL_CREDIT, varint(limit))


def resume(said: bytes, mac: bytes) -> bytes:
    return record(Record.RESUME, said + mac)


def resume_said(
    id: bytes,  # noqa: A002 - the name of the field
    incarnation: bytes,
    generation: int,
    nonce: bytes,
    position: tuple[int, int, int],
    limits: bytes,
    version: int = 1,
) -> bytes:
    """The fields of RESUME before its mac; a position is frames, bytes, oldest."""
    numbers = b"".join(map(varint, position))
    return varint(version) + id + incarnation + varint(generation) + nonce + numbers + limits


def resume_ok_said(generation: int, nonce: bytes, position: tuple[int, int, int]) -> bytes:
    """The fields of RESUME_OK before its mac."""
    return varint(generation) + nonce + b"".join(map(varint, position))


def resume_ok(said: bytes, mac: bytes) -> bytes:
    return record(Record.RESUME_OK, said + mac)


def resume_confirm(mac: bytes) -> bytes:
    return record(Record.RESUME_CONFIRM, mac)


def resume_failed(why: int, retry_after: int = 0, known: tuple[int, int] | None = None) -> bytes:
    numbers = (why, retry_after, 0) if known is None else (why, retry_after, 1, *known)
    return record(Record.RESUME_FAILED, b"".join(map(varint, numbers)))


def ack(frames: int) -> bytes:
    return record(Record.ACK, varint(frames))


def end() -> bytes:
    return record(Record.END)


# --- readers ----------------------------------------------------------------------------------------------------------


def read_varint(buffer: bytes, at: int = 0, longest: int = 9) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends."""
    value = 0
    for index in range(longest):
        if at + index == len(buffer):
            raise NeedMore
        byte = buffer[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if byte == 0 and index > 0:
                raise Violation(Code.BAD_VARINT, "overlong")
            return value, at + index + 1
    raise Violation(Code.BAD_VARINT, f"longer than {longest} bytes")


def read_text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Violation(Code.BAD_UTF8, str(error)) from error


class Header(NamedTuple):
    channel: int
    kind: Kind
    size: int  # of the payload
    at: int  # where the payload begins


def read_header(buffer: bytes, at: int = 0) -> Header:
    length, tag_at = read_varint(buffer, at, 4)
    try:
        tag, payload_at = read_varint(buffer[: tag_at + length], tag_at)
    except NeedMore:
        if len(buffer) < tag_at + length:
            raise
        raise Violation(Code.BAD_FRAME, f"length {length} is smaller than the tag") from None
    return Header(tag >> 3, Kind(tag & 7), length - (payload_at - tag_at), payload_at)


class Reader:
    """Takes a payload apart; `short` is the code of a payload that ends too early."""

    def __init__(self, payload: bytes, short: Code = Code.BAD_FRAME) -> None:
        self.payload, self.at, self.short = payload, 0, short

    def take(self, size: int) -> bytes:
        if size > len(self.payload) - self.at:
            raise Violation(self.short, f"{size} bytes announced, {len(self.payload) - self.at} left")
        self.at += size
        return self.payload[self.at - size : self.at]

    def varint(self) -> int:
        try:
            value, self.at = read_varint(self.payload, self.at)
        except NeedMore:
            raise Violation(self.short, "the payload ends inside a number") from None
        return value

    def sized(self) -> bytes:
        return self.take(self.varint())

    def pairs(self) -> dict[str, str]:
        count = self.varint()
        if count > PAIRS_MAX:
            raise Violation(self.short, f"{count} pairs")
        return {read_text(self.sized()): read_text(self.sized()) for _ in range(count)}

    def fields(self) -> list[tuple[int, bytes]]:
        values = []
        while self.at < len(self.payload):
            values.append((self.varint(), self.sized()))
        return values

    def reason(self) -> str:
        raw = self.take(len(self.payload) - self.at)
        if len(raw) > REASON_MAX:
            raise Violation(self.short, f"a reason of {len(raw)} bytes")
        return read_text(raw)

    def end(self) -> None:
        if self.at < len(self.payload):
            raise Violation(self.short, f"{len(self.payload) - self.at} bytes too many")


def single(raw: bytes, short: Code) -> int:
    """The one number that fills `raw`."""
    reader = Reader(raw, short)
    value = reader.varint()
    reader.end()
    return value


def read_open(payload: bytes) -> dict[str, Any]:
    if len(payload) > 4096:
        raise Violation(Code.BAD_OPEN, f"a payload of {len(payload)} bytes")
    reader = Reader(payload, Code.BAD_OPEN)
    flags = reader.take(1)[0]
    if flags & 3 == 3 or flags >> 4:
        raise Violation(Code.BAD_OPEN, f"flags {flags:#04x}")
    raw_name = reader.sized()
    if len(raw_name) > NAME_MAX:
        raise Violation(Code.BAD_OPEN, f"a name of {len(raw_name)} bytes")
    opening: dict[str, Any] = {"name": read_text(raw_name), "meta": reader.pairs(), "mode": MODES[flags & 3],
                               "priority": flags >> 2, "deadline_ms": None, "traceparent": None}  # fmt: skip
    for number, raw in reader.fields():
        if number == 1:
            opening["deadline_ms"] = single(raw, Code.BAD_OPEN)
        elif number == 2:
            opening["traceparent"] = read_text(raw)
    return opening


def read_parameters(payload: bytes, record: Record) -> dict[str, Any]:
    values = Reader(payload).fields()
    numbers = [number for number, _ in values]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise Violation(Code.BAD_PARAMETER, f"ids {numbers} do not increase")
    if 1 not in numbers:
        raise Violation(Code.BAD_PARAMETER, "no version")
    result: dict[str, Any] = {**DEFAULTS, "meta": {}, "auth": b"", "ticket": b""}
    for number, raw in values:
        reader = Reader(raw, Code.BAD_PARAMETER)
        if number == 1:
            result["version"] = [reader.varint() for _ in range(2 if record is Record.HELLO else 1)]
            reader.end()
            if result["version"][0] > result["version"][-1]:
                raise Violation(Code.BAD_PARAMETER, f"versions from {result['version'][0]} to {result['version'][-1]}")
        elif number in NUMBERS:
            value = result[NUMBERS[number]] = single(raw, Code.BAD_PARAMETER)
            least, most = RANGES.get(number, (0, value))
            if not least <= value <= most:
                raise Violation(Code.BAD_PARAMETER, f"{NUMBERS[number]} {value} is outside {least} to {most}")
        elif number == 9:
            result["meta"] = reader.pairs()
            reader.end()
        elif number in (10, 11):
            result["auth" if number == 10 else "ticket"] = raw
    if result["resume"] and len(result["ticket"]) not in TICKETS[record]:
        raise Violation(Code.BAD_PARAMETER, f"a ticket of {len(result['ticket'])} bytes")
    return result


RECORD_NUMBERS = {
    Record.REFUSED: ["code", "retry_after"],
    Record.PING: ["n"],
    Record.PONG: ["n"],
    Record.GOAWAY: ["last", "code"],
    Record.SESSION_CREDIT: ["limit"],
    Record.SESSION_BLOCKED: ["limit", "need"],
    Record.CHANNEL_CREDIT: ["limit"],
    Record.ACK: ["frames"],
    Record.END: [],
}
# The sizes of those that have one; the others are numbers.
RESUMPTION_FIELDS: dict[Record, dict[str, int]] = {
    Record.RESUME: {"version": 0, "id": 16, "incarnation": 8, "generation": 0, "nonce": 16, "frames": 0, "bytes": 0,
                    "oldest": 0, "limits": 16, "mac": 32},
    Record.RESUME_OK: {"generation": 0, "nonce": 16, "frames": 0, "bytes": 0, "oldest": 0, "mac": 32},
    Record.RESUME_CONFIRM: {"mac": 32},
}  # fmt: skip
KIND_NUMBERS = {Kind.CREDIT: ["limit"], Kind.FINISH: [], Kind.RESET: ["code"], Kind.BLOCKED: ["limit", "need"]}


def _numbers(reader: Reader, names: list[str], *, reason: bool) -> dict[str, Any]:
    values: dict[str, Any] = {name: reader.varint() for name in names}
    if reason:
        values["reason"] = reader.reason()
    reader.end()
    return values


def read_resumption(kind: Record, payload: bytes) -> dict[str, Any]:
    reader = Reader(payload)
    if kind is not Record.RESUME_FAILED:
        values: dict[str, Any] = {
            name: reader.take(size) if size else reader.varint() for name, size in RESUMPTION_FIELDS[kind].items()
        }
        if values.get("version", 1) != 1:
            raise Violation(Code.BAD_FRAME, f"a RESUME of version {values['version']}")
    else:
        values = {"why": reader.varint(), "retry_after": reader.varint(), "known": reader.varint()}
        if values["why"] not in set(Why) or values["known"] > 1:
            raise Violation(Code.BAD_FRAME, f"why {values['why']}, known {values['known']}")
        values["known"] = (reader.varint(), reader.varint()) if values["known"] else None
    reader.end()
    return values


def read_record(payload: bytes) -> dict[str, Any]:
    """The fields of a record, with its name under `record`."""
    if not payload or payload[0] not in set(Record):
        raise Violation(Code.BAD_RECORD, f"record {payload[:1].hex() or 'without a type'}")
    kind = Record(payload[0])
    if kind in (Record.HELLO, Record.WELCOME):
        return {"record": kind.name, **read_parameters(payload[1:], kind)}
    if kind in RESUMPTION_FIELDS or kind is Record.RESUME_FAILED:
        return {"record": kind.name, **read_resumption(kind, payload[1:])}
    values = _numbers(Reader(payload[1:]), RECORD_NUMBERS[kind], reason=kind in (Record.REFUSED, Record.GOAWAY))
    return {"record": kind.name, **values}


def read_payload(kind: Kind, payload: bytes) -> dict[str, Any]:
    """The fields of a frame on a channel."""
    if kind in (Kind.DATA, Kind.PART):
        return {"payload": payload}
    if kind is Kind.OPEN:
        return read_open(payload)
    return _numbers(Reader(payload), KIND_NUMBERS[kind], reason=kind is Kind.RESET)


class Frame(NamedTuple):
    channel: int
    kind: Kind
    payload: bytes

    @property
    def record(self) -> Record | None:
        return Record(self.payload[0]) if self.channel == 0 else None

    def check(self) -> None:
        """All that can be said about the frame without knowing its channel."""
        if self.kind is Kind.PART and len(self.payload) < PART_MIN:
            raise Violation(Code.BAD_PART, f"a PART of {len(self.payload)} bytes")
        _ = self.fields

    @property
    def fields(self) -> dict[str, Any]:
        return read_payload(self.kind, self.payload) if self.channel else read_record(self.payload)


def take_frame(buffer: bytes, at: int = 0) -> tuple[Frame, int]:
    """The frame that begins at `at`, and where it ends."""
    header = read_header(buffer, at)
    end = header.at + header.size
    if end > len(buffer):
        raise NeedMore
    return Frame(header.channel, header.kind, bytes(buffer[header.at : end])), end


def take_frames(buffer: bytes) -> list[Frame]:
    """All frames of `buffer`, which must hold whole ones only; a preface at its head is passed over."""
    at = len(PREFACE) if buffer.startswith(PREFACE) else 0
    found = []
    while at < len(buffer):
        item, at = take_frame(buffer, at)
        found.append(item)
    return found
