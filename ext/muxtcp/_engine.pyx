"""The Python face of the machine: the same C functions with Python types, for tests, fuzzers and integrators (see `_engine.pyi`)."""

from collections import namedtuple
from enum import IntEnum

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport NAN
from libc.stdint cimport INT64_MAX, uint64_t
from libc.string cimport memcpy

from muxtcp.errors import Code, MessageTooLarge

from . cimport _life, _machine, _wire
from ._flow cimport MESSAGE_COST
from ._handshake cimport decode_open, decode_pairs, encode_open
from ._output cimport IS_OVER, TOO_LARGE, WAIT_MEMORY, WAIT_SOCKET
from ._resumption cimport illegal
from ._resumption import Position
from ._table cimport RELEASED

cdef tuple MODES = ("rw", "r", "w")
cdef size_t LARGEST_COLLECTION = <size_t>1 << 62
cdef object LARGEST_CODE = 1 << 62


class EventKind(IntEnum):
    HELLO = _machine.HELLO_EVENT
    WELCOME = _machine.WELCOME_EVENT
    REFUSED = _machine.REFUSED_EVENT
    OPENED = _machine.OPENED_EVENT
    MESSAGE = _machine.MESSAGE_EVENT
    FINISHED = _machine.FINISHED_EVENT
    RESET = _machine.RESET_EVENT
    WRITABLE = _machine.WRITABLE_EVENT
    CAN_OPEN = _machine.CAN_OPEN_EVENT
    PONG = _machine.PONG_EVENT
    GOING_AWAY = _machine.GOING_AWAY_EVENT
    CLOSED = _machine.CLOSED_EVENT
    RESUMPTION = _machine.RESUMPTION_EVENT
    ACKED = _machine.ACKED_EVENT
    BROKEN = _machine.BROKEN_EVENT


Event = namedtuple("Event", "kind channel data code reason number", defaults=(0, b"", 0, "", 0))
Opening = namedtuple("Opening", "name meta mode priority deadline_ms traceparent")
Peer = namedtuple(
    "Peer", "version max_frame max_message channel_limit session_limit max_channels keepalive_ms resume_ms meta auth ticket replay_limit"
)
Peer.__repr__ = lambda self: f"<Peer of version {self.version}, meta {self.meta!r}>"    # auth and ticket are secrets
cdef tuple KINDS = tuple(EventKind)


cdef object fitting(code):
    """The code, if a frame holds it."""
    if not 0 <= code < LARGEST_CODE:
        raise ValueError(f"a code is from 0 to 2^62 - 1, not {code}")
    return code


cdef str text(const char *data, size_t size):
    return data[:size].decode("utf-8", "replace") if size else ""


cdef class MemoryBudget:
    """What all sessions of a process may cost together. For `serve()` and `connect()`.

    In it are the windows that peers were promised, replay logs, messages that wait to be sent, read buffers, channels, and
    connections whose handshake has not ended. As it is used up:

    | from  | what is given up |
    |-------|------------------|
    | 80 %  | no window grows |
    | 85 %  | a session whose connection breaks is not kept for its client (`not_parked_over_budget`) |
    | 95 %  | clients are refused with LIMITS, and asked to come back later (`refused_over_budget`) |
    | 98 %  | sessions that wait for their clients are given up, the one that has waited longest first (`evicted_over_budget`) |
    | 100 % | `send()` waits until the messages before it in its session are written, and acknowledged if it is resumable |

    Live sessions are never ended for it, and each may still have one message on its way. The names are counters of `Server`.

    Args:
        limit: bytes; None for no limit.
        replay_limit: of these, bytes for what the peers of resumable sessions have not acknowledged.

    Attributes:
        limit, replay_limit: may be changed at any time.
        used, replay_used: bytes, now.

    Example:
        muxtcp.process_budget.limit = 2 << 30           # of all sessions that have no other
        serve(handler, port=7777, budget=MemoryBudget(512 << 20))
    """

    def __cinit__(self, limit=None, *, replay_limit=256 << 20):
        self.alarms = {}
        self.limit = limit
        self.replay_limit = replay_limit

    @property
    def limit(self):
        return None if self.budget.limit < 0 else self.budget.limit

    @limit.setter
    def limit(self, value):
        if value is not None and value < 0:
            raise ValueError(f"a memory limit is at least 0 bytes, not {value}")
        self.budget.limit = -1 if value is None else value
        self.set_alarm()

    @property
    def replay_limit(self):
        return self.budget.replay_limit

    @replay_limit.setter
    def replay_limit(self, value):
        if value < 0:
            raise ValueError(f"a replay limit is at least 0 bytes, not {value}")
        self.budget.replay_limit = value

    @property
    def used(self):
        return self.budget.used

    @property
    def replay_used(self):
        return self.budget.replay_used

    def over(self, double share):
        """Whether more than this share of the limit is used."""
        return self.budget.limit >= 0 and self.budget.used > share * self.budget.limit

    def call_when_over(self, share, callback):
        """Call back once: when a session writes or has read, and `over(share)`. None of the share: not any more."""
        if share is None:
            self.alarms.pop(callback, None)
        else:
            self.alarms[callback] = share
        self.set_alarm()

    cdef int set_alarm(self) except -1:
        if self.budget.limit < 0 or not self.alarms:
            self.budget.alarm = INT64_MAX
        else:
            self.budget.alarm = int(min(self.alarms.values()) * self.budget.limit) + 1
        return 0

    def sound_alarm(self):
        """For the sessions, which find that the alarm's level is reached."""
        try:
            for callback in [callback for callback, share in self.alarms.items() if self.over(share)]:
                if self.alarms.pop(callback, None) is not None:         # else one before it has called it off, or sounded it
                    callback()
        finally:
            self.set_alarm()


cdef class Engine(Resumable):
    """One session's state machine: bytes, commands and the time in; bytes and events out."""

    def __init__(
        self, *, bint client, double now=0.0, max_frame=65_536, max_message=1_048_576, channel_window=262_144,
        session_window=262_144, memory_limit=16_777_216, max_channels=1_024, send_buffer=1_048_576, keepalive=10.0,
        keepalive_timeout=10.0, handshake_timeout=5.0, glitch_burst=1_000, glitch_rate=33.0, dict meta=None, bytes auth=b"",
        MemoryBudget budget=None, resume_ms=0, bytes ticket=b"", replay_limit=4_194_304, bytes resumption=None,
    ):
        if self.next_local:
            raise TypeError("an engine is made once")
        self.client = client
        self.now = self.heard = self.incoming.since = self.glitches_at = now
        self.settings.max_frame = max_frame
        self.settings.max_message = max_message
        self.settings.channel_window = channel_window
        self.settings.session_window = session_window
        self.settings.memory_limit = memory_limit
        self.settings.max_channels = self.slots_granted = max_channels
        self.settings.keepalive = keepalive
        self.settings.keepalive_timeout = keepalive_timeout
        self.settings.handshake_timeout = handshake_timeout
        self.settings.glitch_burst = glitch_burst
        self.settings.glitch_rate = glitch_rate
        self.send_buffer = send_buffer
        self.next_local, self.next_remote = (1, 2) if client else (2, 1)
        if budget is None:
            budget = MemoryBudget()
        self.budget_owner = budget
        self.budget = self.log.budget = &budget.budget
        self.charge(_life.STRANGER_COST)
        self.deadline = now + handshake_timeout
        self.settings.resume = resume_ms
        self.settings.replay_limit = replay_limit
        self.ticket = ticket
        self.meta = meta
        self.auth = auth
        if client and resumption is None:
            self.promise_window()
            self.greet(_wire.HELLO, meta, auth)
        elif client:
            self.resuming = True
            self.say(_wire.RESUME, resumption)

    # Bytes in, events out

    def receive_data(self, bytes data not None, double now):
        cdef const char *at = PyBytes_AS_STRING(data)
        cdef size_t left = PyBytes_GET_SIZE(data)
        cdef size_t size = 0
        cdef char *to
        while left:
            to = self.receive_space(&size)
            if to == NULL:
                raise MemoryError
            size = min(size, left)
            memcpy(to, at, size)
            self.received(size, now)
            at += size
            left -= size

    def receive_eof(self, double now):
        self.received_eof(now)

    def next_event(self):
        cdef event_t event
        if not self.pull(&event):
            return None
        kind = KINDS[event.kind - 1]
        if event.kind == _machine.MESSAGE_EVENT:
            return Event(kind, event.channel.id, event.data[: event.size])
        if event.kind in (_machine.OPENED_EVENT, _machine.FINISHED_EVENT, _machine.WRITABLE_EVENT):
            return Event(kind, event.channel.id)
        if event.kind == _machine.RESET_EVENT:
            return Event(kind, event.channel.id, b"", event.code, text(event.data, event.size))
        if event.kind == _machine.PONG_EVENT:
            return Event(kind, number=event.number)
        if event.kind == _machine.ACKED_EVENT:
            return Event(kind, number=event.number)
        if event.kind == _machine.RESUMPTION_EVENT:
            return Event(kind, 0, event.data[: event.size], number=event.number)
        if event.kind in (
            _machine.REFUSED_EVENT, _machine.GOING_AWAY_EVENT, _machine.CLOSED_EVENT, _machine.BROKEN_EVENT,
        ):
            return Event(kind, 0, b"", event.code, text(event.data, event.size), event.number)
        return Event(kind)

    # Commands

    cdef channel_t *named(self, id) except NULL:
        cdef channel_t *found = self.find(id)
        if found == NULL or found.flags & RELEASED:
            raise illegal(f"channel {id} is not open")
        return found

    def accept(self, dict meta=None, resume_ms=0, bytes ticket=b""):
        if self.phase != _life.ADMITTING or self.greeting == NULL:
            raise illegal("accept() answers a HELLO, once")
        self.accept_session(self.meta if meta is None else meta, resume_ms, ticket)

    def refuse(self, code, str reason="", retry_after_ms=0):
        if self.client or self.phase >= _life.UP:
            raise illegal("refuse() answers a HELLO, once")
        self.retry_after = retry_after_ms
        self.close(code, reason)

    def open(self, str name, dict meta=None, str mode="rw", int priority=2, deadline_ms=None, traceparent=None):
        cdef channel_t *opened
        if self.phase != _life.UP or self.peer_going_away:
            raise illegal("the session takes no new channels")
        if not 0 <= priority <= 3:
            raise ValueError(f"priority is from 0 (urgent) to 3 (bulk), not {priority}")
        kind = MODES.index(mode)
        opened = self.open_channel(encode_open(name, meta, kind, priority, deadline_ms, traceparent), kind, priority)
        return 0 if opened == NULL else opened.id

    def opening(self, channel):
        cdef channel_t *found = self.named(channel)
        if found.text == NULL:
            raise illegal(f"channel {channel} was not opened by the peer")
        name, pairs, *rest = decode_open(found.text, found.text_size)
        return Opening(name, decode_pairs(pairs, len(pairs)), *rest)

    def send(self, channel, bytes data not None):
        cdef int result = self.send_object(self.named(channel), data)
        if result == TOO_LARGE:
            raise MessageTooLarge(size=len(data), limit=self.peer_max_message)
        if result == IS_OVER:
            raise illegal(f"our half of channel {channel} is over")
        if result == WAIT_SOCKET or result == WAIT_MEMORY:
            self.wait_for_room(self.named(channel), len(data))
        return result > 0

    def finish(self, channel):
        if not self.finish_channel(self.named(channel)):
            raise illegal(f"our half of channel {channel} is over")

    def reset(self, channel, code, str reason=""):
        cdef bytes said = reason.encode()[:_wire.MAX_REASON].decode("utf-8", "ignore").encode()
        if not self.reset_channel(self.named(channel), fitting(code), PyBytes_AS_STRING(said), len(said)):
            raise illegal(f"channel {channel} is over")

    def consume(self, channel, size):
        cdef channel_t *found = self.named(channel)
        cdef uint64_t unread = found.incoming.received - found.incoming.consumed
        if not 0 <= size <= <object>unread - MESSAGE_COST:
            raise illegal(f"channel {channel} has no unread message of {size} bytes")
        self.consumed(found, size)

    def release(self, channel):
        self.release_channel(self.named(channel))

    def give_up(self, channel):
        self.stop_waiting(self.named(channel))

    def ping(self, double now):
        self.now = now
        return self.ask_pong()

    def go_away(self, code=0, str reason=""):
        cdef bytes said = reason.encode()
        self.announce_end(fitting(code), PyBytes_AS_STRING(said), len(said))

    def close(self, code=0, str reason=""):
        cdef bytes said = reason.encode()
        self.close_session(fitting(code), PyBytes_AS_STRING(said), len(said))

    def greet_anew(self):
        if not self.client or self.resuming or self.phase != _life.GREETING or self.said is not None:
            raise illegal("there was no RESUME that failed")
        self.promise_window()
        self.greet(_wire.HELLO, self.meta, self.auth)

    # Bytes out, time

    def data_to_send(self, limit=-1):
        return b"".join(self.collect(LARGEST_COLLECTION if limit < 0 else limit))

    def next_timeout(self):
        return self.due()

    def handle_timeout(self, double now):
        self.tick(now)

    # Facts

    @property
    def peer_is_leaving(self):
        return self.peer_going_away

    @property
    def memory_limit(self):
        return self.settings.memory_limit

    @memory_limit.setter
    def memory_limit(self, value):
        self.settings.memory_limit = value

    @property
    def peer(self):
        if self.greeting == NULL or self.phase_then == _life.GREETING:      # there are none, or they broke a rule
            return None
        peer = self.peer_parameters
        return Peer(
            (peer.version_low, peer.version_high), peer.max_frame, peer.max_message, peer.channel_limit, peer.session_limit,
            peer.max_channels, peer.keepalive, peer.resume, decode_pairs(peer.meta, peer.meta_size),
            peer.auth[: peer.auth_size] if peer.auth != NULL else b"",
            peer.ticket[: peer.ticket_size] if peer.ticket != NULL else b"", peer.replay_limit,
        )

    @property
    def rtt(self):
        return self.smoothed if self.smoothed > 0 else NAN

    @property
    def counters(self):
        why = getattr(Code.of(self.code), "name", hex(self.code))
        refusal = {why: 1} if self.phase == _life.OVER and self.ending == _life.BY_US and self.code else {}
        return refusal | {
            "frames_sent": self.sent_frames,
            "frames_received": self.received_frames,
            "messages_sent": self.sent_messages,
            "messages_received": self.received_messages,
            "bytes_sent": self.sent_bytes,
            "bytes_received": self.received_bytes,
            "frames_discarded": self.discarded_frames,
            "frames_ignored": self.ignored_frames,
            "oddities": self.oddities,
            "keepalive_probes": self.probes,
        }
