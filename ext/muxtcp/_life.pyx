"""The life of a session: limits and their growth, the states of its channels, commands, liveness, and the end (docs/PROTOCOL.md, 7 to 10).

Nothing here reads bytes: the machine (`_machine.pyx`) does, and calls these when it has understood a frame; the user's commands come
in at the same doors.
"""

cimport cython
from libc.math cimport INFINITY
from libc.stdint cimport UINT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from . cimport _wire
from ._flow cimport MAX_LIMIT_BITS, MESSAGE_COST, budget_grow, consume, grant_due, lacking, measure, wanted_window
from ._handshake cimport encode_parameters
from ._output cimport ACK_SLOT, BLOCKED_SLOT, CHANNELS_SLOT, CREDIT_SLOT, GOAWAY_SLOT, PARTED, PING_SLOT, PONG_SLOT
from ._table cimport (
    CLOSED, CREDIT_DIRT, FINISH_DIRT, ILLEGAL, IN_TABLE, KEPT, LOCAL_FINISHED, LOCAL_RESET, OPEN_STATE, OURS, RELEASED, REMOTE_FINISHED,
    RESET_DIRT, R_RESET, SERVED, S_FINISH, S_RESET, WANTS_FINISH, WANTS_RESET, after, channel_new, cost_of, table_add, table_find,
    table_remove,
)
from ._wire cimport MAX_VARINT_BYTES, PREFACE as PREFACE_BYTES, PREFACE_SIZE, write_varint

cdef uint64_t LARGEST_LIMIT = <uint64_t>1 << MAX_LIMIT_BITS
cdef enum:                              # when an ACK is due (S-10)
    MOST_UNACKNOWLEDGED = 256
    MOST_UNACKNOWLEDGED_BYTES = 65_536

cdef double ACK_DELAY = 0.02
cdef double AT_ONCE = 1.0           # seconds: a channel that is reset earlier was never meant to be used (Envoy counts so, too)
cdef double STUCK = 0.02            # seconds that a full session window may stand still before it grows
cdef double STUCK_AT_MOST = 1.0     # the same when there is no memory for it: somebody else has to give some back first
cdef double LATE = 0.5              # seconds: a timer that fires later than this says our loop was blocked

cdef bytes TEXT_ANSWER = b"This port speaks muxtcp version 1, a binary protocol.\r\n"
cdef bytes HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(TEXT_ANSWER)
    + TEXT_ANSWER
)


@cython.no_gc_clear                     # __dealloc__ needs `budget_owner`
cdef class Life(Output):
    def __cinit__(self):
        self.probe_at = self.stuck_at = self.deadline = self.ack_at = INFINITY
        self.last_served = self.peer_last = self.abandoned = self.frames_at_ping = UINT64_MAX

    def __dealloc__(self):
        cdef size_t index
        cdef channel_t *channel
        if self.budget != NULL:
            self.budget.used -= self.committed
        free(self.greeting)
        for index in range(self.table.room):
            channel = self.table.slots[index]
            if channel != NULL:
                self.bury(channel)
                channel.flags &= ~<int>IN_TABLE
                self.settle(channel)
        free(self.table.slots)

    # Limits

    cdef int raise_limit(self, uint64_t *limit, uint64_t value) noexcept nogil:
        if value > LARGEST_LIMIT:
            return self.violation(_wire.LIMIT_OVERFLOW, "a limit of %llu is over %llu", value, LARGEST_LIMIT)
        if value < limit[0]:
            return self.violation(_wire.LIMIT_BACKWARDS, "a limit went from %llu to %llu", limit[0], value)
        if value == limit[0]:
            self.glitch()
        limit[0] = value
        return True

    @cython.final
    cdef inline uint64_t largest_cost(self) noexcept nogil:
        return self.settings.max_message + MESSAGE_COST

    cdef int peer_blocked(self, incoming_t *flow, uint64_t limit, uint64_t need) noexcept nogil:
        """The peer stands at `limit` and would need `need`: note it, and let the window fit one such message."""
        cdef uint64_t largest = self.largest_cost()
        cdef uint64_t window
        if limit > flow.granted:
            return self.violation(_wire.LIMIT_OVERFLOW, "BLOCKED at %llu, but %llu was granted", limit, flow.granted)
        if limit < flow.stood:
            self.glitch()
        else:
            flow.stood = limit + 1
        flow.need = min(need, flow.granted + largest)               # an honest peer needs one message more than it was granted
        window = flow.window
        if flow.lowest < window >> 3 and self.now - flow.since >= self.smoothed:
            # Its reader had taken nearly everything, and still the sender waits: the window is what holds them up. Seen without
            # any estimate of the round trip under load, which is longer than the one of an idle PING.
            window = max(window, min(window * 2, self.settings.memory_limit >> (flow != &self.incoming)))
            measure(flow, self.now)
            flow.used_at = self.now
        window = max(window, lacking(flow, largest))                # one whole message must fit
        if flow == &self.incoming:
            self.set_session_window(window)
        else:
            flow.window = window
        return True

    cdef void grant_channel(self, channel_t *channel) noexcept nogil:
        cdef incoming_t *flow = &channel.incoming
        if channel.state not in (OPEN_STATE, LOCAL_FINISHED) or not grant_due(flow):
            return
        if self.now - flow.since >= self.smoothed:
            flow.window = wanted_window(
                flow, self.now, self.smoothed, 0, max(self.settings.channel_window, lacking(flow, self.largest_cost())),
                max(self.settings.memory_limit >> 1, flow.window),
            )
            measure(flow, self.now)
        if flow.consumed + flow.window > flow.granted:  # not after the window shrank: a limit never goes back
            flow.granted = flow.consumed + flow.window
            self.mark_dirty(channel, CREDIT_DIRT)

    cdef void set_session_window(self, uint64_t window) noexcept nogil:
        """Grow or shrink the session's window inside its memory limit and the process's budget."""
        cdef int64_t commitment
        if self.over:
            return
        window = min(window, self.settings.memory_limit)
        # What was granted cannot be taken back: a smaller window frees memory only as the peer uses its credit up.
        commitment = max(window, self.incoming.granted - self.incoming.consumed, self.largest_cost())
        if self.committed == 0:                         # whoever admits sessions has looked whether there is so much
            self.committed = self.largest_cost()
            self.budget.used += self.committed
        if commitment < self.committed:
            self.budget.used -= self.committed - commitment
        elif commitment > self.committed and not budget_grow(self.budget, commitment - self.committed):
            commitment = self.committed
            window = min(window, <uint64_t>commitment)
        self.committed = commitment
        self.incoming.window = window

    cdef void watch_window(self) noexcept nogil:
        """The peer waits for credit of the session: have a look soon, if it still does then."""
        if self.incoming.granted < self.incoming.need:
            self.stuck_delay = STUCK
            self.stuck_at = min(self.stuck_at, self.now + STUCK)

    cdef void unstick(self) noexcept nogil:
        """If the window is full of what nobody reads, let it grow: one idle channel would else hold up all others."""
        cdef uint64_t window = self.incoming.window
        self.stuck_at = INFINITY
        if self.incoming.granted >= self.incoming.need:
            return
        self.set_session_window(window * 2)
        self.grant_session(0)
        if self.incoming.granted < self.incoming.need and self.incoming.window < self.settings.memory_limit:
            self.stuck_delay = STUCK if self.incoming.window > window else min(self.stuck_delay * 2, STUCK_AT_MOST)
            self.stuck_at = self.now + self.stuck_delay

    cdef void promise_window(self) noexcept nogil:
        """Before it is announced: the window with which the session begins."""
        self.set_session_window(self.settings.session_window)
        self.incoming.granted = self.incoming.window

    cdef void count_room(self, size_t room) noexcept nogil:
        """The read buffer has this size."""
        self.charge(<int64_t>room - <int64_t>self.counted_room)
        self.counted_room = room

    cdef void grant_session(self, uint64_t cost) noexcept nogil:
        """Count `cost` as consumed, and announce the limit when that is worth a record."""
        cdef incoming_t *flow = &self.incoming
        consume(flow, cost)
        if not grant_due(flow):
            return
        if self.now - flow.since >= self.smoothed:
            self.set_session_window(
                wanted_window(                      # what lies in idle channels is no work of a slow reader
                    flow, self.now, self.smoothed, flow.lowest,
                    max(self.settings.session_window, lacking(flow, self.largest_cost())), self.settings.memory_limit,
                )
            )
            measure(flow, self.now)
            if self.now - self.ping_written_at > 1.0:
                self.ask_pong()                         # the window depends on the round trip: keep it fresh
        if flow.consumed + flow.window > flow.granted:
            flow.granted = flow.consumed + flow.window
            self.slots |= CREDIT_SLOT

    # The life of a channel

    cdef channel_t *find(self, uint64_t id) noexcept nogil:
        if self.recent != NULL and self.recent.id == id:
            return self.recent
        cdef channel_t *channel = table_find(&self.table, id)
        if channel != NULL:
            self.recent = channel
        return channel

    cdef void abandon_unserved(self) noexcept nogil:
        """The peer's GOAWAY says that it never served our channels above its last one: they are over."""
        cdef channel_t *channel
        cdef uint64_t id = min(self.next_local, self.abandoned)
        while id > 2 and id - 2 > self.peer_last:
            id -= 2
            channel = table_find(&self.table, id)
            if channel != NULL and channel.state != CLOSED:
                channel.state = CLOSED
                self.ended(channel)
        self.abandoned = id                                     # each is looked at once, however often the peer says GOAWAY

    cdef int step(self, channel_t *channel, int step) noexcept nogil:
        """Move the channel on; when that closed it, take it out."""
        cdef int next = after(channel.state, step)
        if next > CLOSED:
            return False
        if next == CLOSED and not channel.flags & OURS and step != R_RESET and channel.state != LOCAL_RESET:
            self.glitches = max(0.0, self.glitches - 1)         # one that ended in order makes up for one that did not
        channel.state = next
        if next == LOCAL_RESET:
            self.drop_queue(channel)
        elif next == CLOSED:
            self.ended(channel)
        return True

    cdef void ended(self, channel_t *channel) noexcept nogil:
        self.drop_queue(channel)
        self.return_slot(channel)

    cdef void return_slot(self, channel_t *channel) noexcept nogil:
        """A channel that has ended and was released: what it still holds goes back, and its slot, if the peer opened it."""
        if channel.state != CLOSED or not channel.flags & RELEASED:
            return
        if self.recent == channel:
            self.recent = NULL
        table_remove(&self.table, channel)
        self.grant_session(channel.incoming.received - channel.incoming.consumed)
        channel.incoming.consumed = channel.incoming.received
        if not channel.flags & (OURS | SERVED):
            self.slots_returned += 1
            self.offer_slots()
        self.settle(channel)

    cdef void handler_returned(self, uint64_t id) noexcept nogil:
        """The slot comes back when the channel has ended as well; else opening and leaving would start tasks without a bound."""
        cdef channel_t *channel = table_find(&self.table, id)
        if channel != NULL:
            channel.flags &= ~<int>SERVED
        else:
            self.slots_returned += 1
            self.offer_slots()

    cdef void offer_slots(self) noexcept nogil:
        """Announce the slots that came back: when they are a quarter of all, or when the peer has no other."""
        cdef uint64_t back = self.settings.max_channels + self.slots_returned - self.slots_granted
        cdef uint64_t used = (self.next_remote - 1) >> 1        # ids are consecutive: the next one tells how many there were
        if back > self.settings.max_channels >> 2 or back and used == self.slots_granted:
            self.slots |= CHANNELS_SLOT

    cdef void finish_written(self, channel_t *channel) noexcept nogil:
        channel.flags &= ~<int>WANTS_FINISH
        self.step(channel, S_FINISH)
        if channel.state == CLOSED and channel.flags & KEPT:
            self.tell(channel)
        if channel.flags & WANTS_RESET:
            channel.flags &= ~<int>WANTS_RESET
            self.reset_channel(channel, _wire.CANCELLED, NULL, 0)

    # Commands

    cdef channel_t *open_channel(self, bytes payload, int mode, int priority) except? NULL:
        cdef channel_t *channel
        if self.opened >= self.may_open or self.log_over():
            self.wants_open = True
            return NULL
        channel = channel_new(self.next_local)
        if channel == NULL or not table_add(&self.table, channel):
            raise MemoryError
        self.charge(cost_of(channel))
        channel.flags |= OURS
        channel.priority = priority
        channel.state = OPEN_STATE if mode == 0 else LOCAL_FINISHED if mode == 1 else REMOTE_FINISHED
        channel.outgoing.limit = self.peer_parameters.channel_limit
        channel.incoming.granted = channel.incoming.window = self.settings.channel_window
        channel.incoming.since = self.now
        self.next_local += 2
        self.opened += 1
        self.put(channel.id, _wire.OPEN, payload, len(payload))
        return channel

    cdef int finish_channel(self, channel_t *channel) noexcept nogil:
        if channel.flags & WANTS_FINISH or after(channel.state, S_FINISH) == ILLEGAL:
            return False
        self.stop_waiting(channel)
        channel.flags |= WANTS_FINISH
        if channel.first == NULL:
            self.mark_dirty(channel, FINISH_DIRT)
        return True

    cdef int reset_channel(self, channel_t *channel, uint64_t code, const char *reason, size_t size) noexcept nogil:
        """Both halves are over at once: what was queued is dropped. False: the channel is over already."""
        if after(channel.state, S_RESET) == ILLEGAL:
            return False
        if size:
            channel.reason = <char *>malloc(size)
            if channel.reason != NULL:
                memcpy(channel.reason, reason, size)
                channel.reason_size = size
        channel.reset_code = code
        channel.flags &= ~<int>(WANTS_FINISH | WANTS_RESET)
        free(channel.partial)
        channel.partial = NULL
        channel.partial_size = channel.partial_room = 0
        self.mark_dirty(channel, RESET_DIRT)
        self.step(channel, S_RESET)
        return True

    cdef void consumed(self, channel_t *channel, size_t size) noexcept nogil:
        """The user has taken a message of `size` bytes."""
        consume(&channel.incoming, size + MESSAGE_COST)
        self.grant_channel(channel)
        self.grant_session(size + MESSAGE_COST)

    cdef void release_channel(self, channel_t *channel) noexcept nogil:
        """Nobody looks at the channel any more. Its half is finished in good order; what was not read, or still comes, is refused."""
        cdef uint64_t unread = channel.incoming.received - channel.incoming.consumed
        channel.owner = NULL
        channel.flags = channel.flags & ~<int>KEPT | RELEASED
        if channel.state == CLOSED:
            self.return_slot(channel)
            return
        consume(&channel.incoming, unread)
        self.grant_session(unread)
        free(channel.partial)
        channel.partial = NULL
        channel.partial_room = 0
        self.finish_channel(channel)
        if channel.state in (OPEN_STATE, LOCAL_FINISHED) and (unread or channel.incoming.need > channel.incoming.granted):
            self.hang_up(channel)

    cdef void hang_up(self, channel_t *channel) noexcept nogil:
        """Tell the peer that nobody reads: as with a TCP socket closed with unread input, but behind our FINISH, so that it destroys nothing."""
        if channel.flags & WANTS_FINISH:
            channel.flags |= WANTS_RESET
        else:
            self.reset_channel(channel, _wire.CANCELLED, NULL, 0)

    # Liveness

    cdef uint64_t ask_pong(self) noexcept nogil:
        self.pings += 1
        self.slots |= PING_SLOT
        return self.pings

    cdef double due(self) noexcept nogil:
        if self.phase == OVER or self.held_back & PARTED:
            return INFINITY
        return min(min(self.deadline if self.phase < UP else self.probe_at, self.stuck_at), self.ack_at)

    cdef void tick(self, double now) noexcept nogil:
        cdef double deadline
        cdef size_t pending
        self.now = now
        if self.ack_at <= now:
            self.ack_at = INFINITY
            self.slots |= ACK_SLOT
        deadline = self.due()
        if now < deadline:
            return
        if now - deadline > LATE:
            self.lag = max(self.lag, now - deadline)
            if not self.late:                           # our loop was blocked: what has arrived meanwhile must be read first
                self.late = True
                if self.phase < UP:
                    self.deadline = now + 0.05
                else:
                    self.probe_at = max(self.probe_at, now + 0.05)
                return
        self.late = False
        if self.stuck_at <= now:
            self.unstick()
        if self.phase < UP:
            if self.deadline <= now:
                self.violation(_wire.HANDSHAKE_TIMEOUT, "no handshake in time", 0, 0)
            return
        if self.probe_at > now:
            return
        pending = self.queued + self.used + self.sealed + self.unsent
        if not self.probing:
            self.probing = True
            self.probes += 1
            self.ask_pong()
        elif pending >= self.unsent_then:   # else the line is slow, and our PING still on its way
            self.reason_size = snprintf(
                self.reason, sizeof(self.reason), "nothing heard for %.1f s, %zu bytes unsent", now - self.heard, pending
            )
            self.connection_lost(_wire.TIMEOUT, SAY_GOAWAY)
            return
        self.unsent_then = pending
        self.probe_at = now + self.settings.keepalive_timeout

    cdef void reset_by_peer(self, channel_t *channel) noexcept nogil:
        """Odd is who opens a channel and resets it at once, unanswered: not who answers, refuses, or gives up what takes too long."""
        if not channel.flags & OURS and channel.state != LOCAL_RESET:
            if channel.outgoing.used == 0 and self.now - channel.opened_at < AT_ONCE:
                self.glitch()

    cdef void glitch(self) noexcept nogil:
        """Something odd but legal happened: a token bucket bounds how much of it we bear."""
        if self.excused:
            self.excused -= 1
            return
        self.oddities += 1
        self.glitches = max(0.0, self.glitches - (self.now - self.glitches_at) * self.settings.glitch_rate) + 1
        self.glitches_at = self.now
        if self.glitches > self.settings.glitch_burst and self.phase == UP:
            self.violation(_wire.CALM, "more than %llu oddities at once", <uint64_t>self.settings.glitch_burst, 0)

    # Resumption

    cdef void owe_ack(self) noexcept nogil:
        if not self.log.on or self.received_frames == self.told_frames:
            return
        if (
            self.received_frames - self.told_frames >= MOST_UNACKNOWLEDGED
            or self.received_sizes - self.told_sizes >= self.ack_sizes
        ):
            self.slots |= ACK_SLOT
        elif self.ack_at == INFINITY:
            self.ack_at = self.now + ACK_DELAY

    cdef void connection_lost(self, uint64_t code, int goodbye) noexcept nogil:
        """The connection is of no more use. A resumable session goes on without it."""
        if not self.log.on or self.phase != UP or self.peer_ended:
            self.end_session(code, BY_STREAM, goodbye)
        elif not self.held_back & PARTED:
            self.held_back |= PARTED
            self.broken = True

    # The end

    cdef bint in_handshake(self, int kind) noexcept nogil:
        """Whether the handshake may go on with this record."""
        if self.phase == PROVING:
            return kind == _wire.RESUME_CONFIRM
        if not self.client:
            return kind == _wire.HELLO or kind == _wire.RESUME and not self.resuming
        if self.resuming:
            return kind in (_wire.RESUME_OK, _wire.RESUME_FAILED, _wire.REFUSED)
        return kind in (_wire.WELCOME, _wire.REFUSED)

    cdef void come_up(self) noexcept nogil:
        self.phase = UP
        self.charge(SESSION_COST + READ_COST * <int64_t>self.greeting_size - STRANGER_COST)
        self.log.on = self.settings.resume > 0
        self.log.limit = self.settings.replay_limit
        self.ack_sizes = min(<uint64_t>MOST_UNACKNOWLEDGED_BYTES, self.peer_parameters.replay_limit >> 1)
        if self.settings.keepalive > 0:
            self.probe_at = self.now + self.settings.keepalive

    cdef int greet(self, int kind, dict meta, bytes auth) except -1:
        """Write the preface and HELLO or WELCOME."""
        cdef parameters_t ours
        ours.resume, ours.replay_limit = self.settings.resume, self.settings.replay_limit
        ours.version_low = ours.version_high = 1
        ours.max_frame = self.settings.max_frame
        ours.max_message = self.settings.max_message
        ours.channel_limit = self.settings.channel_window
        ours.session_limit = self.incoming.granted
        ours.max_channels = self.slots_granted
        ours.keepalive = <uint64_t>(self.settings.keepalive * 1000)
        said = encode_parameters(&ours, kind == _wire.HELLO, meta, auth, self.ticket)
        if len(said) >= _wire.MAX_HANDSHAKE:
            raise ValueError(f"meta and auth make a handshake of {len(said) + 1:,} bytes, over {_wire.MAX_HANDSHAKE:,}")
        self.said = said
        return self.say(kind, said)

    cdef int say(self, int kind, bytes payload) except -1:
        cdef bytes record = bytes((kind,)) + payload
        self.put_preface()
        return self.put(0, 0, record, len(record))

    cdef int accept_session(self, dict meta, uint64_t resume, bytes ticket) except -1:
        self.settings.resume, self.ticket = resume, ticket
        self.promise_window()
        self.greet(_wire.WELCOME, meta, b"")
        self.seal()                                             # the log begins behind the handshake
        self.come_up()
        return 0

    cdef int put_preface(self) except -1:
        if self.preface_said:
            return 0
        self.preface_said = True
        self.reserve(PREFACE_SIZE)
        memcpy(self.block_start + self.used, PREFACE_BYTES, PREFACE_SIZE)
        self.used += PREFACE_SIZE
        return 0

    cdef int put_slots(self) except -1:
        """Write the records that are owed: each at most once, whatever was asked meanwhile."""
        cdef uint32_t slots = self.slots
        self.slots = 0
        if self.log.on and self.received_frames != self.told_frames:     # rides in front of whatever is written
            self.ack_at = INFINITY
            self.told_frames, self.told_sizes = self.received_frames, self.received_sizes
            self.told_messages = self.received_messages
            self.put_record(_wire.ACK, 1, self.told_frames, 0)
        if slots & PONG_SLOT:
            self.put_record(_wire.PONG, 1, self.pong, 0)
        if slots & CREDIT_SLOT:
            self.put_record(_wire.SESSION_CREDIT, 1, self.incoming.granted, 0)
        if slots & CHANNELS_SLOT:
            self.slots_granted = self.settings.max_channels + self.slots_returned
            self.put_record(_wire.CHANNEL_CREDIT, 1, self.slots_granted, 0)
        if slots & BLOCKED_SLOT:
            self.put_record(_wire.SESSION_BLOCKED, 2, self.outgoing.limit, self.session_need)
        if slots & PING_SLOT:
            self.pinged = self.pings
            if self.pings_timed == 0:
                self.pings_timed = self.pings
                self.ping_written_at = self.now
            self.put_record(_wire.PING, 1, self.pings, 0)
        if slots & GOAWAY_SLOT:
            self.put_goodbye()
        return 0

    cdef int put_record(self, int kind, int count, uint64_t first, uint64_t second) except -1:
        cdef char payload[1 + 2 * MAX_VARINT_BYTES]
        cdef char *end = payload + 1
        payload[0] = kind
        if count:
            end = write_varint(end, first)
        if count == 2:
            end = write_varint(end, second)
        self.put(0, 0, payload, end - payload)
        return 0

    cdef int put_words(self, int kind, uint64_t first, uint64_t second, const char *reason, size_t size) except -1:
        """GOAWAY or REFUSED: two numbers and the reason."""
        cdef char payload[1 + 2 * MAX_VARINT_BYTES + 256]
        cdef char *end = write_varint(write_varint(payload + 1, first), second)
        payload[0] = kind
        memcpy(end, reason, size)
        end += size
        self.put(0, 0, payload, end - payload)
        return 0

    cdef int put_goodbye(self) except -1:
        cdef uint64_t newest = self.next_remote - 2 if self.next_remote > 2 else 0
        if self.phase != OVER:
            self.put_words(_wire.GOAWAY, min(self.last_served, newest), self.farewell_code, self.farewell, self.farewell_size)
        elif self.goodbye == SAY_GOAWAY:
            self.put_words(_wire.GOAWAY, min(self.last_served, newest), self.code, self.reason, self.reason_size)
            if self.log.on:
                self.put_record(_wire.END, 0, 0, 0)
        elif self.goodbye == SAY_REFUSED:
            self.put_preface()
            self.put_words(_wire.REFUSED, self.code, self.retry_after, self.reason, self.reason_size)
        elif self.goodbye in (SAY_TEXT, SAY_HTTP):
            answer = HTTP_ANSWER if self.goodbye == SAY_HTTP else TEXT_ANSWER
            self.reserve(len(answer))
            memcpy(self.block_start + self.used, <const char *>answer, len(answer))
            self.used += len(answer)
        return 0

    cdef void announce_end(self, uint64_t code, const char *reason, size_t size) noexcept nogil:
        """Announce that we serve no channel above those that are open by now."""
        if self.phase == UP and not self.going_away:
            self.going_away = True
            self.code = code
            self.keep_reason(reason, size)
            memcpy(self.farewell, self.reason, self.reason_size)
            self.farewell_code, self.farewell_size = code, self.reason_size
            self.last_served = self.next_remote - 2 if self.next_remote > 2 else 0
            self.slots |= GOAWAY_SLOT

    cdef void keep_reason(self, const char *reason, size_t size) noexcept nogil:
        """Keep the first 255 bytes, cut between two characters."""
        if size > _wire.MAX_REASON:
            size = _wire.MAX_REASON
            while size and reason[size] & 0xc0 == 0x80:
                size -= 1
        memcpy(self.reason, reason, size)
        self.reason_size = size

    cdef void close_session(self, uint64_t code, const char *reason, size_t size) noexcept nogil:
        if self.phase == OVER:
            return
        self.keep_reason(reason, size)
        self.end_session(code, BY_US, self.last_words())

    cdef int last_words(self) noexcept nogil:
        if self.phase == UP:
            return SAY_GOAWAY
        # A client that has proven itself takes REFUSED for a violation, and may have done so by now.
        return SAY_NOTHING if self.client or self.phase >= PROVING else SAY_REFUSED

    cdef int violation(self, uint64_t code, const char *format, uint64_t first, uint64_t second) noexcept nogil:
        self.reason_size = min(
            <size_t>snprintf(self.reason, sizeof(self.reason), format, <unsigned long long>first, <unsigned long long>second),
            sizeof(self.reason) - 1,
        )
        self.end_session(code, BY_US, self.last_words())
        return False

    cdef void end_session(self, uint64_t code, int ending, int goodbye) noexcept nogil:
        if self.phase == OVER:
            return
        self.phase_then = self.phase
        self.phase = OVER
        self.over = True
        self.code = code
        self.ending = ending
        self.goodbye = goodbye
        self.slots = GOAWAY_SLOT if goodbye else 0
