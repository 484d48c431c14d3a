"""Engine: the state machine of one session, without I/O, clock or randomness."""

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from muxtcp.errors import Fate

class EventKind(IntEnum):
    """What an event reports; which of the fields of `Event` it fills is said beside each."""

    HELLO = 1  # server only: the client's HELLO is in `engine.peer`; answer with accept() or refuse()
    WELCOME = 2  # client only: the session is up; `engine.peer` holds the server's parameters
    REFUSED = 3  # client only: code, reason, number = retry_after in ms
    OPENED = 4  # channel: the peer opened it; details by engine.opening(channel)
    MESSAGE = 5  # channel, data
    FINISHED = 6  # channel: the peer's half is over
    RESET = 7  # channel, code, reason: by the peer
    WRITABLE = 8  # channel: a send() that returned False may be tried again
    CAN_OPEN = 9  # an open() that returned 0 may be tried again
    PONG = 10  # number = the n of the ping; engine.rtt is up to date
    GOING_AWAY = 11  # number = last channel served, code, reason: by the peer
    CLOSED = 12  # code, reason, number = 1 when the peer said so, 0 when we did, 2 when the stream just ended
    RESUMPTION = 13  # number = 4 to 7, which record of the resumption handshake; data = its fields
    ACKED = 14  # number = how many of our sequenced frames the peer has
    BROKEN = 15  # reason: the connection is gone and the session is not; answer with part()

class Event(NamedTuple):
    kind: EventKind
    channel: int = 0
    data: bytes = b""
    code: int = 0
    reason: str = ""
    number: int = 0

class Opening(NamedTuple):
    """What an OPEN said."""

    name: str
    meta: dict[str, str]
    mode: str  # "rw", "r" (the opener only receives), "w" (the opener only sends)
    priority: int
    deadline_ms: int | None
    traceparent: str | None

class Peer(NamedTuple):
    """The parameters of the peer's HELLO or WELCOME."""

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

class Position(NamedTuple):
    """How far one side is (section 11 of the protocol)."""

    frames: int  # sequenced frames that it has received
    bytes: int  # the sum of their sizes
    oldest: int  # number of the oldest frame that it can still send again

class MemoryBudget:
    """What all sessions of a process may cost together, in bytes (None: no limit)."""

    def __init__(self, limit: int | None = None, *, replay_limit: int = 268_435_456) -> None: ...
    limit: int | None
    replay_limit: int  # of it, for replay logs
    @property
    def used(self) -> int: ...
    @property
    def replay_used(self) -> int: ...
    def over(self, share: float) -> bool: ...  # whether more than this share of the limit is used
    def call_when_over(self, share: float | None, callback: Callable[[], object]) -> None: ...  # None: not any more
    def sound_alarm(self) -> None: ...

class Engine:
    """One session's state machine. Bytes, commands and the time in; bytes and events out.

    Time is an argument (`now`, seconds, any monotonic origin). A peer's violation never raises: it becomes a CLOSED
    event and a queued goodbye. Order: construct; then for ever: `receive_data` → `next_event` until None → commands →
    `data_to_send`; `handle_timeout(now)` when `next_timeout()` is reached.
    """

    def __init__(
        self,
        *,
        client: bool,
        now: float = 0.0,
        max_frame: int = 65_536,
        max_message: int = 1_048_576,
        channel_window: int = 262_144,
        session_window: int = 262_144,
        memory_limit: int = 16_777_216,
        max_channels: int = 1_024,
        send_buffer: int = 1_048_576,
        keepalive: float = 10.0,
        keepalive_timeout: float = 10.0,
        handshake_timeout: float = 5.0,
        glitch_burst: int = 1_000,
        glitch_rate: float = 33.0,
        meta: dict[str, str] | None = None,
        auth: bytes = b"",
        budget: MemoryBudget | None = None,
        resume_ms: int = 0,  # client: the wish
        ticket: bytes = b"",  # client: of the HELLO
        replay_limit: int = 4_194_304,
        resumption: bytes | None = None,  # client: begin with this RESUME instead of HELLO
    ) -> None: ...

    # bytes in, events out
    def receive_data(self, data: bytes, now: float) -> None: ...
    def receive_eof(self, now: float) -> None: ...
    def next_event(self) -> Event | None: ...
    # commands
    def accept(self, meta: dict[str, str] | None = None, resume_ms: int = 0, ticket: bytes = b"") -> None: ...
    def refuse(self, code: int, reason: str = "", retry_after_ms: int = 0) -> None: ...
    def open(
        self,
        name: str,
        meta: dict[str, str] | None = None,
        mode: str = "rw",
        priority: int = 2,
        deadline_ms: int | None = None,
        traceparent: str | None = None,
    ) -> int: ...  # channel id; 0: must wait for CAN_OPEN
    def opening(self, channel: int) -> Opening: ...
    def send(self, channel: int, data: bytes) -> bool: ...  # False: must wait for WRITABLE
    def finish(self, channel: int) -> None: ...
    def reset(self, channel: int, code: int, reason: str = "") -> None: ...
    def consume(self, channel: int, size: int) -> None: ...  # the user has taken a message of `size` bytes
    def release(self, channel: int) -> None: ...  # nobody looks at the channel any more: its slot may be given back
    def give_up(self, channel: int) -> None: ...  # a WRITABLE is not followed by a send(): let others have the credit
    def ping(self, now: float) -> int: ...  # the n of its PONG event
    def go_away(self, code: int = 0, reason: str = "") -> None: ...  # we serve no new channels
    def close(self, code: int = 0, reason: str = "") -> None: ...  # GOAWAY, and nothing more is processed
    # the resumption handshake, by the engine that was made for the new connection
    def answer_resume(self, record: int, payload: bytes) -> None: ...  # server: RESUME_OK (5) or RESUME_FAILED (7)
    def confirm_resume(self, payload: bytes) -> None: ...  # client
    def take_rest(self) -> bytes: ...  # what came behind the handshake, for the engine that lasts
    def greet_anew(self) -> None: ...  # client: HELLO, after RESUME_FAILED
    # resumption, by the engine that lasts
    @property
    def resumable(self) -> bool: ...  # agreed in the handshake
    @property
    def parted(self) -> bool: ...  # there is no connection
    @property
    def sent_frames(self) -> int: ...  # sequenced ones
    @property
    def acknowledged_frames(self) -> int: ...
    @property
    def position(self) -> Position: ...
    @property
    def limits(self) -> bytes: ...  # the parameters of HELLO, then of WELCOME, as they were sent
    def part(self) -> None: ...  # the connection is gone, nothing that it still delivers counts
    def judge(self, frames: int, sizes: int, oldest: int) -> int: ...  # the peer's position: 0, POSITION_LOST, DIVERGED
    def rejoin(self, frames: int, now: float) -> int: ...  # there is a connection; returns how many frames go again
    def forget(self) -> None: ...  # the session has ended: let the replay log go
    def fate(self, known: int | None = None) -> Fate: ...  # of what we sent; known: the peer has exactly so many frames
    @property
    def heard_fate(self) -> Fate: ...  # of what the peer sent
    @property
    def held_bytes(self) -> int: ...  # of messages: unacknowledged, waiting to be sent, not consumed
    @property
    def replay_log(self) -> tuple[int, float]: ...  # bytes that it holds, seconds for which it was full
    # bytes out, time
    def data_to_send(self, limit: int = -1) -> bytes: ...  # whole frames, about `limit` bytes
    def next_timeout(self) -> float: ...  # inf: none
    def handle_timeout(self, now: float) -> None: ...
    # facts
    memory_limit: int  # bytes that the peer may have unread here; lowered, it takes effect as credit is used up
    @property
    def peer_is_leaving(self) -> bool: ...  # its GOAWAY has come
    @property
    def peer(self) -> Peer | None: ...
    @property
    def rtt(self) -> float: ...  # seconds, smoothed; nan before the first sample
    @property
    def counters(self) -> dict[str, int]: ...  # frames, bytes, messages, each way; one per refusal name
