"""ModelEngine: docs/PROTOCOL.md as a plain, slow state machine, written from the specification alone.

It has the face of `muxtcp._engine.Engine`, so that either can stand at either end of a `Pair`. What a receiver must
check is exact here. What the specification leaves to an implementation is done in the simplest way: windows do not
grow, credit is granted at every consumption, frames leave in the order of the commands, a message leaves in one go.
Its sessions are not resumable: a client does not wish it, a server does not grant it, and nobody here answers a RESUME.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from support import frames
from support.frames import PREFACE, Code, Kind, NeedMore, Record, Violation
from support.parts import TRANSITIONS, Channel, Event, EventKind, Incoming, Opening, Outgoing, Peer, Phase, State

MESSAGE_COST = 64
PART_SIZE = 16_384
CHANNEL_0_MAX = 4_096
HANDSHAKE_MAX = 16_384
VERSION = 1


@dataclass
class ModelEngine:
    client: bool
    now: float = 0.0
    max_frame: int = 65_536
    max_message: int = 1_048_576
    channel_window: int = 262_144
    session_window: int = 262_144
    max_channels: int = 1_024
    keepalive: float = 10.0
    keepalive_timeout: float = 10.0
    handshake_timeout: float = 5.0
    meta: dict[str, str] | None = None
    auth: bytes = b""
    form_first: bool = False  # which rule a frame is found to break, if its payload and its channel are both wrong

    peer: Peer | None = field(default=None, init=False)
    rtt: float = field(default=math.nan, init=False)
    counters: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.phase = Phase.PREFACE
        self.inbox = bytearray()
        self.outbox: list[bytes] = []
        self.events: list[Event] = []
        self.channels: dict[int, Channel] = {}
        self.session_in = Incoming(self.session_window, self.session_window)
        self.next_local, self.next_remote = (1, 2) if self.client else (2, 1)
        self.local_opened = self.remote_opened = 0
        self.remote_allowed = self.max_channels
        self.wants_open = False
        self.owed_pong: int | None = None
        self.pinged = self.ponged = 0
        self.pinged_at: dict[int, float] = {}
        self.ping_sent_at = math.nan
        self.heard = self.started = self.now
        self.going_away: Event | None = None  # as the peer said
        self.last_served: int | None = None  # as we said
        self.farewell = (0, "")
        if self.client:
            self.outbox += [PREFACE, frames.hello(1, VERSION, **self._announcements(), auth=self.auth)]

    def _announcements(self) -> dict[str, Any]:
        return {
            "max_frame": self.max_frame,
            "max_message": self.max_message,
            "channel_limit": self.channel_window,
            "session_limit": self.session_window,
            "max_channels": self.max_channels,
            "keepalive": int(self.keepalive * 1000),
            "meta": self.meta,
        }

    # --- bytes in, events out -----------------------------------------------------------------------------------------

    def receive_data(self, data: bytes, now: float) -> None:
        self.now = now
        if data:
            self.heard = now
            self.ping_sent_at = math.nan
        self.inbox += data
        try:
            while self.phase is not Phase.CLOSED and self._step():
                pass
        except Violation as violation:
            self.counters[violation.code.name] = self.counters.get(violation.code.name, 0) + 1
            self._say_farewell(violation.code, str(violation))
            self._closed(violation.code, str(violation), 0)

    def receive_eof(self, now: float) -> None:
        self.now = now
        if self.phase is Phase.CLOSED:
            return
        if self.inbox:
            self._closed(Code.NO_ERROR, "the stream ended inside a frame", 2)
        elif self.going_away:
            self._closed(self.going_away.code, self.going_away.reason, 1)
        elif self.last_served is not None:
            self._closed(*self.farewell, 0)
        else:
            self._closed(Code.NO_ERROR, "the stream ended without a GOAWAY", 2)

    def next_event(self) -> Event | None:
        return self.events.pop(0) if self.events else None

    def _emit(self, kind: EventKind, **values: Any) -> None:
        self.events.append(Event(kind, **values))

    def _closed(self, code: int, reason: str, number: int) -> None:
        self.phase = Phase.CLOSED
        self._emit(EventKind.CLOSED, code=code, reason=reason, number=number)

    def _step(self) -> bool:
        """Take one thing from the inbox; False: it holds no whole one."""
        if self.phase is Phase.PREFACE:
            return self._take_preface()
        if self.phase is Phase.ADMISSION and self.inbox:
            raise Violation(Code.EARLY_FRAME, "before WELCOME")
        try:
            header = frames.read_header(self.inbox)
            self._check_header(header)
            frame, end = frames.take_frame(self.inbox)
        except NeedMore:
            return False
        del self.inbox[:end]
        if self.phase is Phase.FIRST_FRAME:
            self._on_first_frame(frame.payload)
        elif frame.channel == 0:
            self._on_record(frame.payload)
        else:
            self._on_frame(frame)
        return True

    def _take_preface(self) -> bool:
        head = bytes(self.inbox[: len(PREFACE)])
        if not PREFACE.startswith(head):
            raise Violation(Code.BAD_PREFACE, head.hex())
        if head != PREFACE:
            return False
        del self.inbox[: len(PREFACE)]
        self.phase = Phase.FIRST_FRAME
        return True

    def _check_header(self, header: frames.Header) -> None:
        """What is decided before any of the payload is stored."""
        if self.phase is Phase.FIRST_FRAME:
            if (header.channel, header.kind) != (0, 0):
                raise Violation(Code.EARLY_FRAME, f"{header.kind.name} on channel {header.channel}")
            if header.size > HANDSHAKE_MAX:
                raise Violation(Code.HANDSHAKE_TOO_LARGE, f"{header.size} bytes")
            return
        if header.kind == Kind.RESERVED or (header.channel == 0 and header.kind != 0):
            raise Violation(Code.BAD_KIND, f"kind {header.kind} on channel {header.channel}")
        limit = CHANNEL_0_MAX if header.channel == 0 else self.max_frame
        if header.size > limit:
            raise Violation(Code.FRAME_TOO_LARGE, f"a payload of {header.size} bytes, limit {limit}")

    # --- handshake ----------------------------------------------------------------------------------------------------

    def _on_first_frame(self, payload: bytes) -> None:
        answers = [Record.WELCOME, Record.REFUSED] if self.client else [Record.HELLO, Record.RESUME]
        if not payload or payload[0] not in answers:
            raise Violation(Code.EARLY_FRAME, f"record {payload[:1].hex()}")
        if payload[0] == Record.RESUME:
            self.phase = Phase.ADMISSION
            self._emit(EventKind.RESUMPTION, data=payload[1:], number=Record.RESUME)
            return
        record = frames.read_record(payload)
        if record["record"] == "REFUSED":
            code, reason = record["code"], record["reason"]
            self._emit(EventKind.REFUSED, code=code, reason=reason, number=record["retry_after"])
            self._closed(code, reason, 1)
            return
        lowest, highest = record["version"][0], record["version"][-1]
        if not lowest <= VERSION <= highest:
            raise Violation(Code.BAD_VERSION, f"versions {lowest} to {highest}")
        names = ["max_frame", "max_message", "channel_limit", "session_limit", "max_channels", "keepalive", "resume"]
        numbers = [record[name] for name in names]
        rest = [record[name] for name in ("meta", "auth", "ticket", "replay_limit")]
        self.peer = Peer((lowest, highest), *numbers, *rest)
        if self.client and self.peer.resume_ms:
            raise Violation(Code.BAD_PARAMETER, "time was granted that nobody wished")
        self.session_out = Outgoing(self.peer.session_limit)
        self.local_allowed = self.peer.max_channels
        if self.client:
            self.phase = Phase.UP
            self._emit(EventKind.WELCOME)
            self._tell_can_open()
        else:
            self.phase = Phase.ADMISSION
            self._emit(EventKind.HELLO)

    def accept(self, meta: dict[str, str] | None = None) -> None:
        self._require(self.phase is Phase.ADMISSION, "accept() answers a HELLO")
        self.meta = meta or self.meta
        self.phase = Phase.UP
        self.outbox += [PREFACE, frames.welcome(VERSION, **self._announcements())]
        self._tell_can_open()

    def refuse(self, code: int, reason: str = "", retry_after_ms: int = 0) -> None:
        self._require(self.phase is Phase.ADMISSION, "refuse() answers a HELLO")
        self.outbox += [PREFACE, frames.refused(code, retry_after_ms, reason)]
        self._closed(code, reason, 0)

    # --- records on channel 0 -----------------------------------------------------------------------------------------

    def _on_record(self, payload: bytes) -> None:
        if payload and payload[0] <= Record.RESUME_FAILED:
            raise Violation(Code.BAD_RECORD, "the handshake is over")
        if payload and payload[0] in (Record.ACK, Record.END):
            raise Violation(Code.BAD_RECORD, "the session is not resumable")
        record = frames.read_record(payload)
        match record.pop("record"):
            case "PING":
                self.owed_pong = record["n"]
            case "PONG":
                self._on_pong(record["n"])
            case "GOAWAY":
                self._on_goaway(**record)
            case "SESSION_CREDIT":
                self.session_out.raise_to(record["limit"])
                self._tell_writable()
            case "SESSION_BLOCKED":
                self.session_in.blocked(**record)
                self._grant_session()
            case "CHANNEL_CREDIT":
                allowed = Outgoing(self.local_allowed)
                allowed.raise_to(record["limit"])
                self.local_allowed = allowed.limit
                self._tell_can_open()

    def _on_pong(self, n: int) -> None:
        if not 1 <= n <= self.pinged:
            raise Violation(Code.BAD_RECORD, f"PONG {n} of {self.pinged} pings")
        if n > self.ponged:
            self.ponged = n
            self.rtt = self.now - self.pinged_at[n]
            self._emit(EventKind.PONG, number=n)

    def _on_goaway(self, last: int, code: int, reason: str) -> None:
        if self.going_away and last > self.going_away.number:
            raise Violation(Code.LIMIT_BACKWARDS, f"GOAWAY up to {last} after {self.going_away.number}")
        self._emit(EventKind.GOING_AWAY, number=last, code=code, reason=reason)
        self.going_away = self.events[-1]
        for channel in list(self.channels.values()):
            if channel.id % 2 == self.next_local % 2 and channel.id > last:
                channel.state, channel.waiting = State.CLOSED, None
                self._free(channel)

    # --- frames on a channel ------------------------------------------------------------------------------------------

    def _on_frame(self, frame: frames.Frame) -> None:
        if self.form_first:
            frame.check()
        if frame.kind is Kind.OPEN:
            self._on_open(frame.channel, frame.payload)
            return
        remote = frame.channel % 2 == self.next_remote % 2
        if frame.channel >= (self.next_remote if remote else self.next_local):
            raise Violation(Code.UNKNOWN_CHANNEL, f"{frame.kind.name} on channel {frame.channel}")
        channel = self.channels.get(frame.channel)
        if remote and self.last_served is not None and frame.channel > self.last_served:
            self._discard(frame)
        elif channel is None or channel.state is State.CLOSED:
            if frame.kind not in (Kind.CREDIT, Kind.RESET):
                raise Violation(Code.CHANNEL_ENDED, f"{frame.kind.name} on channel {frame.channel}")
        elif channel.state is State.LOCAL_RESET:
            self._discard(frame)
            if frame.kind in (Kind.FINISH, Kind.RESET):
                self._move(channel, f"R {frame.kind.name}")
        else:
            self._on_live_channel(channel, frame.kind, frame.fields)

    def _discard(self, frame: frames.Frame) -> None:
        if frame.kind in (Kind.DATA, Kind.PART):
            cost = len(frame.payload) + (MESSAGE_COST if frame.kind is Kind.DATA else 0)
            self.session_in.receive(cost)
            self._give_back(cost)

    def _on_open(self, channel: int, payload: bytes) -> None:
        if channel % 2 != self.next_remote % 2:
            raise Violation(Code.BAD_CHANNEL_ID, f"channel {channel} is ours to open")
        if channel < self.next_remote:
            raise Violation(Code.CHANNEL_REUSED, f"channel {channel}")
        if channel > self.next_remote:
            raise Violation(Code.BAD_CHANNEL_ID, f"channel {channel} instead of {self.next_remote}")
        if self.remote_opened == self.remote_allowed:
            raise Violation(Code.TOO_MANY_CHANNELS, f"limit {self.remote_allowed}")
        opening = Opening(**frames.read_open(payload))
        self.next_remote += 2
        self.remote_opened += 1
        if self.last_served is None or channel <= self.last_served:
            state = {"rw": State.OPEN, "r": State.REMOTE_FINISHED, "w": State.LOCAL_FINISHED}[opening.mode]
            self._add_channel(channel, state).opening = opening
            self._emit(EventKind.OPENED, channel=channel)

    def _on_live_channel(self, channel: Channel, kind: Kind, values: dict[str, Any]) -> None:
        if kind in (Kind.DATA, Kind.PART):
            self._on_fragment(channel, values["payload"], last=kind is Kind.DATA)
        elif kind is Kind.CREDIT:
            channel.outgoing.raise_to(values["limit"])
            self._tell_writable()
        elif kind is Kind.BLOCKED:
            channel.incoming.blocked(**values)
            self._grant(channel)
        elif kind is Kind.FINISH:
            if not channel.receives:
                raise Violation(Code.DATA_AFTER_FINISH, f"FINISH on channel {channel.id}")
            if channel.fragments is not None:
                raise Violation(Code.BAD_PART, "FINISH inside a message")
            self._move(channel, "R FINISH")
            self._emit(EventKind.FINISHED, channel=channel.id)
        elif kind is Kind.RESET:
            if channel.sends:
                self.outbox.append(frames.reset(channel.id, Code.CANCELLED))
            channel.waiting = None
            self._move(channel, "R RESET")
            self._emit(EventKind.RESET, channel=channel.id, **values)

    def _on_fragment(self, channel: Channel, payload: bytes, *, last: bool) -> None:
        if not channel.receives:
            raise Violation(Code.DATA_AFTER_FINISH, f"channel {channel.id}")
        if not last and len(payload) < frames.PART_MIN:
            raise Violation(Code.BAD_PART, f"a PART of {len(payload)} bytes")
        message = (channel.fragments or b"") + payload
        if len(message) > self.max_message:
            raise Violation(Code.MESSAGE_TOO_LARGE, f"{len(message)} bytes, limit {self.max_message}")
        cost = len(payload) + (MESSAGE_COST if last else 0)
        channel.incoming.receive(cost)
        self.session_in.receive(cost)
        channel.fragments = None if last else message
        if last:
            self._emit(EventKind.MESSAGE, channel=channel.id, data=message)

    def _move(self, channel: Channel, what: str) -> None:
        channel.state = TRANSITIONS[channel.state, what]
        self._free(channel)

    # --- credit -------------------------------------------------------------------------------------------------------

    def _give_back(self, cost: int) -> None:
        self.session_in.consumed += cost
        self._grant_session()

    def _grant_session(self) -> None:
        if limit := self.session_in.grant(self.max_message + MESSAGE_COST):
            self.outbox.append(frames.session_credit(limit))

    def _grant(self, channel: Channel) -> None:
        if channel.receives and (limit := channel.incoming.grant(self.max_message + MESSAGE_COST)):
            self.outbox.append(frames.credit(channel.id, limit))

    def _tell_writable(self) -> None:
        for channel in self.channels.values():
            if channel.waiting is not None and self._has_credit(channel, channel.waiting):
                channel.waiting = None
                self._emit(EventKind.WRITABLE, channel=channel.id)

    def _tell_can_open(self) -> None:
        if self.wants_open and self.local_opened < self.local_allowed:
            self.wants_open = False
            self._emit(EventKind.CAN_OPEN)

    def _has_credit(self, channel: Channel, cost: int) -> bool:
        """Whether a message of that cost may go; if not, what it lacks is announced once."""
        own, session = channel.outgoing, self.session_out
        if own.spent + cost > own.limit:
            announcement = frames.blocked(channel.id, own.limit, own.spent + cost)
        elif session.spent + cost > session.limit:
            announcement = frames.session_blocked(session.limit, session.spent + cost)
        else:
            return True
        if announcement != channel.announced:
            channel.announced = announcement
            self.outbox.append(announcement)
        return False

    # --- commands -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _require(condition: bool, otherwise: str) -> None:
        if not condition:
            raise ValueError(otherwise)

    def _live(self, number: int) -> Channel:
        self._require(number in self.channels, f"channel {number} is not there")
        return self.channels[number]

    def _add_channel(self, number: int, state: State) -> Channel:
        assert self.peer is not None
        incoming = Incoming(self.channel_window, self.channel_window)
        channel = Channel(number, Outgoing(self.peer.channel_limit), incoming, state)
        self.channels[number] = channel
        return channel

    def open(
        self,
        name: str,
        meta: dict[str, str] | None = None,
        mode: str = "rw",
        priority: int = 2,
        deadline_ms: int | None = None,
        traceparent: str | None = None,
    ) -> int:
        self._require(self.phase is not Phase.CLOSED and not self.going_away, "no channels are opened any more")
        if self.phase is not Phase.UP or self.local_opened >= self.local_allowed:
            self.wants_open = True
            return 0
        number = self.next_local
        self.next_local += 2
        self.local_opened += 1
        self._add_channel(number, {"rw": State.OPEN, "r": State.LOCAL_FINISHED, "w": State.REMOTE_FINISHED}[mode])
        payload = frames.open_payload(name, meta, mode, priority, deadline_ms, traceparent)
        self.outbox.append(frames.frame(number, Kind.OPEN, payload))
        return number

    def opening(self, channel: int) -> Opening:
        opening = self._live(channel).opening
        self._require(opening is not None, f"channel {channel} was opened by us")
        return opening

    def send(self, channel: int, data: bytes) -> bool:
        it, peer = self._live(channel), self.peer
        self._require(it.sends, f"channel {channel} is {it.state.value}")
        self._require(len(data) <= peer.max_message, f"{len(data)} bytes, max_message {peer.max_message}")
        cost = len(data) + MESSAGE_COST
        if not self._has_credit(it, cost):
            it.waiting = cost
            return False
        it.outgoing.spent += cost
        self.session_out.spent += cost
        whole = data if len(data) <= peer.max_frame else data[-(len(data) % PART_SIZE or PART_SIZE) :]
        self.outbox += [frames.part(channel, data[at : at + PART_SIZE])
                        for at in range(0, len(data) - len(whole), PART_SIZE)]  # fmt: skip
        self.outbox.append(frames.data(channel, whole))
        return True

    def finish(self, channel: int) -> None:
        it = self._live(channel)
        self._require(it.sends, f"channel {channel} is {it.state.value}")
        self.outbox.append(frames.finish(channel))
        it.waiting = None
        self._move(it, "S FINISH")

    def reset(self, channel: int, code: int, reason: str = "") -> None:
        it = self._live(channel)
        if it.state in (State.LOCAL_RESET, State.CLOSED):
            return
        self.outbox.append(frames.reset(channel, code, reason))
        it.waiting = None
        self._move(it, "S RESET")

    def consume(self, channel: int, size: int) -> None:
        it, cost = self._live(channel), size + MESSAGE_COST
        self._require(it.incoming.consumed + cost <= it.incoming.received, f"consume({size}) of what was not received")
        it.incoming.consumed += cost
        self._grant(it)
        self._give_back(cost)

    def release(self, channel: int) -> None:
        it = self._live(channel)
        it.released = True
        self._free(it)

    def _free(self, channel: Channel) -> None:
        if channel.state is not State.CLOSED or not channel.released:
            return
        del self.channels[channel.id]
        self._give_back(channel.incoming.received - channel.incoming.consumed)
        if channel.id % 2 == self.next_remote % 2:
            self.remote_allowed += 1
            self.outbox.append(frames.channel_credit(self.remote_allowed))

    def ping(self, now: float) -> int:
        self._require(self.phase is Phase.UP, "the session is not up")
        self.now = now
        self.pinged += 1
        self.pinged_at[self.pinged] = now
        self.outbox.append(frames.ping(self.pinged))
        return self.pinged

    def go_away(self, code: int = 0, reason: str = "") -> None:
        if self.last_served is None:
            self.last_served = max(self.next_remote - 2, 0)
        self.farewell = (code, reason)
        self.outbox.append(frames.goaway(self.last_served, code, reason))

    def close(self, code: int = 0, reason: str = "") -> None:
        if self.phase is Phase.CLOSED:
            return
        if not self.client or self.phase is Phase.UP:
            self._say_farewell(code, reason)
        self._closed(code, reason, 0)

    def _say_farewell(self, code: int, reason: str) -> None:
        """The last frame: REFUSED before the handshake is over, then GOAWAY; a line of text to who sends text."""
        if self.client or self.phase is Phase.UP:
            self.go_away(code, reason)
        elif self.phase is Phase.PREFACE and self.inbox and 0x20 <= self.inbox[0] < 0x7F:
            self.outbox.append(b"This port speaks muxtcp, which is not a text protocol.\r\n")
        else:
            self.outbox += [PREFACE, frames.refused(code, 0, reason)]

    # --- bytes out, time ----------------------------------------------------------------------------------------------

    def data_to_send(self, limit: int = -1) -> bytes:
        if self.owed_pong is not None and self.phase is Phase.UP:
            self.outbox.insert(0, frames.pong(self.owed_pong))
            self.owed_pong = None
        data = b""
        while self.outbox and (limit < 0 or len(data) < limit):
            data += self.outbox.pop(0)
        return data

    def next_timeout(self) -> float:
        if self.phase is Phase.CLOSED:
            return math.inf
        if self.phase is not Phase.UP:
            return self.started + self.handshake_timeout
        if not self.keepalive:
            return math.inf
        if math.isnan(self.ping_sent_at):
            return self.heard + self.keepalive
        return self.ping_sent_at + self.keepalive_timeout

    def handle_timeout(self, now: float) -> None:
        if now < self.next_timeout():
            return
        self.now = now
        if self.phase is not Phase.UP:
            self.close(Code.HANDSHAKE_TIMEOUT, f"no handshake within {self.handshake_timeout} s")
        elif math.isnan(self.ping_sent_at):
            self.ping(now)
            self.ping_sent_at = now
        else:
            self.close(Code.TIMEOUT, f"nothing heard since {self.heard}")
