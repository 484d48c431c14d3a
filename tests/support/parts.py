"""The nouns of ModelEngine: events, the states of section 8 of docs/PROTOCOL.md, and the two ends of a limit."""

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NamedTuple

from support import frames
from support.frames import Code, Violation


class EventKind(IntEnum):
    HELLO, WELCOME, REFUSED, OPENED, MESSAGE, FINISHED = range(1, 7)
    RESET, WRITABLE, CAN_OPEN, PONG, GOING_AWAY, CLOSED, RESUMPTION, ACKED, BROKEN = range(7, 16)


class Event(NamedTuple):
    kind: EventKind
    channel: int = 0
    data: bytes = b""
    code: int = 0
    reason: str = ""
    number: int = 0


class Opening(NamedTuple):
    name: str
    meta: dict[str, str]
    mode: str
    priority: int
    deadline_ms: int | None
    traceparent: str | None


class Peer(NamedTuple):
    version: tuple[int, int]
    max_frame: int
    max_message: int
    channel_limit: int
    session_limit: int
    max_channels: int
    keepalive_ms: int
    resume_ms: int
    meta: dict[str, str]
    auth: bytes
    ticket: bytes
    replay_limit: int


class Phase(Enum):
    PREFACE = "nothing received yet"
    FIRST_FRAME = "preface received"
    ADMISSION = "server: HELLO or RESUME received, not yet answered"
    UP = "handshake over"
    CLOSED = "nothing is processed any more"


class State(Enum):
    OPEN = "both halves go on"
    LOCAL_FINISHED = "our half is over"
    REMOTE_FINISHED = "the peer's half is over"
    LOCAL_RESET = "we gave up the channel; what still arrives is discarded"
    CLOSED = "ended"


# Section 8 of the specification. A pair that is missing is impossible (S) or a violation (R).
TRANSITIONS = {
    (State.OPEN, "S FINISH"): State.LOCAL_FINISHED,
    (State.OPEN, "S RESET"): State.LOCAL_RESET,
    (State.OPEN, "R FINISH"): State.REMOTE_FINISHED,
    (State.OPEN, "R RESET"): State.CLOSED,
    (State.LOCAL_FINISHED, "S RESET"): State.LOCAL_RESET,
    (State.LOCAL_FINISHED, "R FINISH"): State.CLOSED,
    (State.LOCAL_FINISHED, "R RESET"): State.CLOSED,
    (State.REMOTE_FINISHED, "S FINISH"): State.CLOSED,
    (State.REMOTE_FINISHED, "S RESET"): State.CLOSED,
    (State.REMOTE_FINISHED, "R RESET"): State.CLOSED,
    (State.LOCAL_RESET, "R FINISH"): State.CLOSED,
    (State.LOCAL_RESET, "R RESET"): State.CLOSED,
}


@dataclass
class Outgoing:
    """What we may still send: one for each channel, one for the session."""

    limit: int
    spent: int = 0

    def raise_to(self, limit: int) -> None:
        if limit > frames.MAX_LIMIT:
            raise Violation(Code.LIMIT_OVERFLOW, f"limit {limit}")
        if limit < self.limit:
            raise Violation(Code.LIMIT_BACKWARDS, f"limit {limit} after {self.limit}")
        self.limit = limit


@dataclass
class Incoming:
    """What the peer may still send us: one for each channel, one for the session."""

    window: int
    limit: int
    received: int = 0
    consumed: int = 0
    need: int = 0  # as announced by BLOCKED

    def receive(self, cost: int) -> None:
        self.received += cost
        if self.received > self.limit:
            raise Violation(Code.CREDIT_EXCEEDED, f"{self.received} of {self.limit}")

    def blocked(self, limit: int, need: int) -> None:
        if limit > self.limit:
            raise Violation(Code.LIMIT_OVERFLOW, f"BLOCKED at {limit}, granted {self.limit}")
        self.need = max(need, self.need)

    def grant(self, largest_cost: int) -> int | None:
        """The limit to announce now, if it is a new one."""
        target = self.consumed + self.window
        if self.need > target and self.consumed == self.received:
            target = self.consumed + largest_cost
        if target <= self.limit:
            return None
        self.limit = target
        return target


@dataclass
class Channel:
    id: int
    outgoing: Outgoing
    incoming: Incoming
    state: State = State.OPEN
    opening: Opening | None = None
    fragments: bytes | None = None  # of a message that has begun
    released: bool = False
    waiting: int | None = None  # cost of the message for which WRITABLE is owed
    announced: bytes = b""  # the BLOCKED or SESSION_BLOCKED that was sent last for it

    @property
    def receives(self) -> bool:
        return self.state in (State.OPEN, State.LOCAL_FINISHED)

    @property
    def sends(self) -> bool:
        return self.state in (State.OPEN, State.REMOTE_FINISHED)
