"""Between two connections of a session (docs/PROTOCOL.md, section 11).

The machine parts from a connection that broke: what was encoded waits in the replay log, a frame that was cut off is forgotten, and
nothing is written. It rejoins when both sides have told their positions: what the peer lacks goes first, out of the log, through the
same flow of writing as everything else; channels, credit and queues were never touched.
"""

from collections import namedtuple

from libc.math cimport INFINITY
from libc.stdint cimport uint32_t

from muxtcp.errors import Code, Fate, LocalProtocolError

from . cimport _wire
from ._life cimport ADMITTING, GREETING, HANDED_OVER, OVER, PROVING
from ._output cimport CHANNELS_SLOT, CONGESTED, CREDIT_SLOT, GOAWAY_SLOT, LOG_FULL, OUT_OF_CREDIT, PARTED, PING_SLOT, REPLAYING
from ._replay cimport replay_bytes_at, replay_messages_after, replay_release, replay_rewind

Position = namedtuple("Position", "frames bytes oldest")

cdef enum Why:                      # of RESUME_FAILED, as far as the machine judges
    POSITION_LOST = 5
    DIVERGED = 6


cdef enum:
    SAID_AGAIN = 3                  # SESSION_CREDIT, CHANNEL_CREDIT and PING, maybe the same as before


cdef illegal(str reason):
    return LocalProtocolError(code=Code.CHANNEL_ENDED, reason=reason)


cdef class Resumable(Machine):
    # The handshake of a new connection, by the engine that was made for it

    def answer_resume(self, record, bytes payload not None):
        if self.phase != ADMITTING or self.greeting != NULL:
            raise illegal("there is no RESUME to answer")
        if self.end > self.start:
            self.violation(_wire.EARLY_FRAME, "bytes before RESUME was answered", 0, 0)
            return
        self.say(record, payload)
        self.phase = PROVING if record == _wire.RESUME_OK else GREETING

    def confirm_resume(self, bytes payload not None):
        if not self.client or self.phase != HANDED_OVER:
            raise illegal("there is no RESUME_OK to confirm")
        self.say(_wire.RESUME_CONFIRM, payload)

    def take_rest(self):
        if self.phase != HANDED_OVER:
            raise illegal("the connection was not handed over")
        rest = self.buffer[self.start : self.end]
        self.start = self.end = 0
        return rest

    # The session, by the engine that lasts

    @property
    def resumable(self):
        return self.log.on

    @property
    def parted(self):
        return self.held_back & PARTED != 0

    @property
    def acknowledged_frames(self):
        return self.log.acknowledged

    @property
    def position(self):
        return Position(self.received_frames, self.received_sizes, self.log.released_frames + 1)

    @property
    def limits(self):
        theirs = self.greeting[: self.greeting_size]
        return self.said + theirs if self.client else theirs + self.said

    def part(self):
        if not self.log.on or self.phase == OVER:
            raise illegal("only a session that is up and resumable survives its connection")
        self.held_back = self.held_back & ~<uint32_t>(CONGESTED | REPLAYING) | PARTED
        self.let_block_go()
        self.segments = []                                      # the log has them
        self.sealed = 0
        self.let_buffer_go()
        self.lent = NULL
        self.broken = self.probing = self.late = False
        self.probe_at = self.stuck_at = self.ack_at = INFINITY

    def judge(self, frames, sizes, oldest):
        if not self.log.released_frames <= frames <= self.sent_frames or oldest > self.received_frames + 1:
            return POSITION_LOST
        return 0 if replay_bytes_at(&self.log, frames) == sizes else DIVERGED

    def rejoin(self, frames, double now):
        cdef size_t index
        if not self.held_back & PARTED:
            raise illegal("the session has a connection")
        self.now = self.heard = now
        self.log.acknowledged = frames
        replay_release(&self.log, frames)
        replay_rewind(&self.log, frames)
        self.judge_log()
        self.held_back &= ~<uint32_t>PARTED
        if self.log.cursor < self.log.count:
            self.held_back |= REPLAYING
        # The handshake has told what we have.
        self.told_frames, self.told_sizes, self.told_messages = self.received_frames, self.received_sizes, self.received_messages
        # What was said on channel 0 may be lost: it is said again (S-8). By the peer as well, and that is nothing odd.
        self.excused = SAID_AGAIN
        self.slots = CREDIT_SLOT | CHANNELS_SLOT | (GOAWAY_SLOT if self.going_away else 0)
        self.outgoing.blocked = 0
        self.held_back &= ~<uint32_t>OUT_OF_CREDIT              # who lacks it says so anew
        if self.pings > self.ponged:
            self.pings_timed = 0
            self.slots |= PING_SLOT
        self.watch_window()
        if self.settings.keepalive > 0:
            self.probe_at = now + self.settings.keepalive
        for index in range(self.table.room):
            if self.table.slots[index] != NULL:
                self.mark_writable(self.table.slots[index])     # those who came meanwhile may try again
        return self.sent_frames - frames

    def forget(self):
        cdef size_t index
        replay_release(&self.log, self.log.kept_frames)
        self.log.on = False
        for index in range(self.table.room):
            if self.table.slots[index] != NULL:
                self.bury(self.table.slots[index])
        self.exhume()
        self.budget.used -= self.committed                      # what was granted cannot be used any more
        self.committed = 0

    # What became of messages

    def fate(self, known=None):
        self.seal()                                             # so that what was encoded and not written is in the log, too
        frames = self.log.acknowledged if known is None else known
        missing = replay_messages_after(&self.log, frames)
        queued = self.unsent_messages()
        arrived = self.sent_messages - self.dropped_messages - queued - missing
        return Fate(arrived, missing, queued) if known is None else Fate(arrived, 0, queued + missing)

    @property
    def heard_fate(self):
        return Fate(self.told_messages, self.received_messages - self.told_messages, 0)

    @property
    def held_bytes(self):
        return self.log.held + self.queued + (self.incoming.received - self.incoming.consumed)

    @property
    def replay_log(self):
        """Bytes that it holds, and seconds for which it was full."""
        full = self.now - self.log_full_since if self.held_back & LOG_FULL else 0.0
        return self.log.held, self.log_full_time + full
