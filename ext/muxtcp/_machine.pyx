"""The incoming half of the machine: frames read, judged and told as events (docs/PROTOCOL.md, 2 to 8).

Rules. The caller owns the order: bytes are written where `receive_space` says and counted by `received`; then `pull` is called until
it returns False; between two calls of it the machine is at rest, so whatever the user's code does then (send, reset, close) finds it
whole. A violation of the peer never raises: it ends the session, which is an event like any other. Storage grows as bytes arrive, and
what is kept beyond a frame is charged to a limit that we granted. Only a large message that has begun gets storage by the length that
the peer declared (`large_pending`): one at a time, of at most max_frame, and within the credit that we granted.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, strlen

from . cimport _wire
from ._flow cimport MESSAGE_COST, charge, consume, credit_left
from ._handshake cimport check_open, opening_t, read_parameters
from ._intake cimport LARGEST_ROOM, fitting_room
from ._life cimport (
    ADMITTING, BY_PEER, BY_US, GREETING, HANDED_OVER, OVER, PREFACE, SAY_HTTP, SAY_NOTHING, SAY_TEXT, UP,
)
from ._output cimport OUT_OF_CREDIT, PARTED, PONG_SLOT
from ._slack cimport allow, forbid
from ._table cimport (
    AFTER_FINISH, CLOSED, DISCARD, IN_WRITABLE, KEPT, LOCAL_FINISHED, LOCAL_RESET, OPEN_STATE, RELEASED, REMOTE_FINISHED, RESET_DIRT,
    R_DATA, R_FINISH, R_RESET, WANTS_WRITE, after, channel_new, cost_of, table_add,
)
from ._wire cimport MAX_VARINT_BYTES, PREFACE as PREFACE_BYTES, PREFACE_SIZE, read_varint, stranger, text_valid

cdef enum:
    LARGE = 16_384                  # a message from here on is received into storage of its own: the copy costs more than a read

cdef const char *METHODS = b"GET POSTHEADPUT OPTIDELEPATCCONNPRI "       # how HTTP begins, 4 bytes each


cdef class Machine(Life):
    def __dealloc__(self):
        free(self.buffer)
        free(self.returned)

    # Bytes in

    cdef char *receive_space(self, size_t *size) noexcept nogil:
        cdef size_t kept = self.end - self.start
        cdef size_t room
        cdef char *larger
        if self.phase == OVER:
            self.lent = NULL
        if kept == 0 and self.room > LARGEST_ROOM:          # a large frame made it grow: such are rare
            larger = <char *>realloc(self.buffer, LARGEST_ROOM)
            if larger != NULL:
                self.buffer, self.room = larger, LARGEST_ROOM
        if self.lent != NULL:
            size[0] = self.lent_size - self.lent_have
            return self.lent + self.lent_have
        if self.start:
            memmove(self.buffer, self.buffer + self.start, kept)
            self.start, self.end = 0, kept
        room = fitting_room(self.room, kept, self.filled, self.phase < UP)
        if room > self.room:
            self.filled = False
            larger = <char *>realloc(self.buffer, room)
            if larger == NULL:
                size[0] = 0
                return NULL
            self.buffer, self.room = larger, room
        size[0] = self.room - self.end
        if size[0] > LARGEST_ROOM:
            size[0] = LARGEST_ROOM
        allow(self.buffer + self.end, size[0])
        return self.buffer + self.end

    cdef void let_buffer_go(self) noexcept nogil:
        """Nothing is in it, and nothing is expected for a while: thousands may be in that state."""
        free(self.buffer)
        self.buffer = NULL
        self.room = self.start = self.end = 0
        self.count_room(0)

    cdef void received(self, size_t size, double now) noexcept nogil:
        self.now = self.heard = now
        self.probing = self.late = False
        if self.settings.keepalive > 0 and self.phase == UP:
            self.probe_at = now + self.settings.keepalive
        if self.lent != NULL:
            self.lent_have += size
            return
        self.end += size
        forbid(self.buffer + self.end, self.room - self.end)
        self.filled = self.end == self.room
        if self.phase == OVER:
            self.start = self.end = 0                   # still read, so that the last words arrive; not looked at

    cdef void received_eof(self, double now) noexcept nogil:
        cdef const char *how
        cdef bint may_end = not self.log.on or self.peer_ended      # else GOAWAY only announced an end that has not come
        self.now = now
        if self.phase == OVER:
            return
        if self.end > self.start or self.lent != NULL:
            how = "the connection ended inside a frame"
        elif self.peer_going_away and may_end:                      # it had said why
            self.end_session(self.peer_code, BY_PEER, SAY_NOTHING)
            return
        elif self.going_away and may_end:
            self.end_session(self.code, BY_US, SAY_NOTHING)
            return
        elif self.phase == UP:
            how = "the connection ended without a goodbye"
        else:
            how = "the connection ended in the handshake"
        self.keep_reason(how, strlen(how))
        self.connection_lost(_wire.NO_ERROR, SAY_NOTHING)

    cdef size_t large_pending(self) noexcept nogil:
        cdef uint64_t length = 0, tag = 0
        cdef const char *at = self.buffer + self.start
        cdef const char *end = self.buffer + self.end
        cdef channel_t *channel
        cdef size_t size, cost
        cdef int first, second
        if self.lent != NULL or self.phase != UP or self.start == self.end:
            return 0
        first = read_varint(at, end, _wire.MAX_LENGTH_BYTES, &length)
        if first <= 0 or length < LARGE:
            return 0
        second = read_varint(at + first, end, MAX_VARINT_BYTES, &tag)
        if second <= 0 or tag & 7 != _wire.DATA or end - at >= <Py_ssize_t>(first + length):
            return 0
        size = length - second
        cost = size + MESSAGE_COST
        channel = self.find(tag >> 3)
        if (
            channel == NULL or channel.partial != NULL or channel.flags & RELEASED
            or after(channel.state, R_DATA) > CLOSED
            or size > self.settings.max_frame or size > self.settings.max_message
            or channel.incoming.received + cost > channel.incoming.granted
            or self.incoming.received + cost > self.incoming.granted
        ):
            return 0                                    # the slow way, which also knows what is wrong with it
        self.lent_id = channel.id
        self.lent_size = size
        self.lent_header = first + second
        self.lent_have = end - at - first - second
        return size

    cdef void lend(self, char *storage) noexcept nogil:
        memcpy(storage, self.buffer + self.end - self.lent_have, self.lent_have)
        self.start = self.end = 0
        self.lent = storage

    # Events out

    cdef bint pull(self, event_t *event) noexcept nogil:
        event.kind = NOTHING
        event.channel = NULL
        if self.returned != NULL:
            free(self.returned)
            self.returned = NULL
        while True:
            if self.writable_first != NULL:
                self.next_told(event)
            elif self.can_open:
                self.can_open = self.wants_open = False
                event.kind = CAN_OPEN_EVENT
            elif self.phase == OVER:
                if self.closed_told:
                    return False
                self.closed_told = True
                event.kind = CLOSED_EVENT
                event.code = self.code
                event.number = self.ending
                event.data = self.reason
                event.size = self.reason_size
            elif self.held_back & PARTED:
                if not self.broken:
                    return False                        # what a broken connection still delivers is not looked at
                self.broken = False
                event.kind = BROKEN_EVENT
                event.data = self.reason
                event.size = self.reason_size
            elif not self.parse(event) and not self.has_news():
                self.owe_ack()
                return False                            # bytes are missing
            if event.kind != NOTHING:
                return True

    cdef bint has_news(self) noexcept nogil:
        """Whether pull() has something to report that no frame brought."""
        return self.writable_first != NULL or self.can_open or self.broken or self.phase == OVER and not self.closed_told

    cdef void next_told(self, event_t *event) noexcept nogil:
        """Take the first channel that has something to report beside its frames."""
        cdef channel_t *channel = self.writable_first
        self.writable_first = channel.next_writable
        if self.writable_first == NULL:
            self.writable_last = NULL
        channel.flags &= ~<int>IN_WRITABLE
        if channel.flags & WANTS_WRITE and channel.state != CLOSED and not channel.flags & RELEASED and not self.over:
            channel.flags &= ~<int>WANTS_WRITE
            event.kind = WRITABLE_EVENT
            event.channel = channel
        elif channel.state == CLOSED and channel.flags & KEPT:
            event.kind = ENDED_EVENT
            event.channel = channel
        else:
            self.settle(channel)

    cdef int parse(self, event_t *event) noexcept nogil:
        """Take one frame, or the preface. False when bytes are missing."""
        cdef const char *at = self.buffer + self.start
        cdef const char *end = self.buffer + self.end
        cdef const char *payload
        cdef uint64_t length = 0, tag = 0
        cdef size_t size
        cdef int first, second
        if self.lent != NULL:
            if self.lent_have < self.lent_size:
                return False
            payload = self.lent
            self.lent = NULL
            self.received_sizes += self.lent_header + self.lent_size
            return self.channel_frame(self.lent_id, _wire.DATA, payload, self.lent_size, event)
        if at == end:
            return False
        if self.phase == PREFACE:
            return self.preface()
        if self.phase == ADMITTING:
            return self.violation(_wire.EARLY_FRAME, "bytes before HELLO or RESUME was answered", 0, 0)
        if self.phase == HANDED_OVER:
            return False
        self.parsed += 1
        first = read_varint(at, end, _wire.MAX_LENGTH_BYTES, &length)
        if first == 0:
            return False
        if first < 0:
            return self.violation(_wire.BAD_VARINT, "the length of a frame", 0, 0)
        payload = at + first
        if length < <uint64_t>(end - payload):
            end = payload + length
        second = read_varint(payload, end, MAX_VARINT_BYTES, &tag)
        if second == 0:
            if <uint64_t>(end - payload) < length:
                return False
            return self.violation(_wire.BAD_FRAME, "a frame of %llu bytes is shorter than its tag", length, 0)
        if second < 0:
            return self.violation(_wire.BAD_VARINT, "the tag of a frame", 0, 0)
        payload += second
        size = length - second
        # What can be judged by the header is judged before the payload is stored.
        if self.phase < UP:
            if tag:
                return self.violation(_wire.EARLY_FRAME, "a frame with tag %llu before the handshake", tag, 0)
            if size > _wire.MAX_HANDSHAKE:
                return self.violation(
                    _wire.HANDSHAKE_TOO_LARGE, "a handshake of %llu bytes is over the limit of %llu", size, _wire.MAX_HANDSHAKE
                )
        elif tag & 7 > (_wire.BLOCKED if tag >> 3 else 0):
            return self.violation(_wire.BAD_KIND, "kind %llu on channel %llu", tag & 7, tag >> 3)
        elif tag >> 3 == 0 and size > _wire.MAX_RECORD:
            return self.violation(
                _wire.FRAME_TOO_LARGE, "a record of %llu bytes is over the limit of %llu", size, _wire.MAX_RECORD
            )
        elif size > self.settings.max_frame:
            return self.violation(
                _wire.FRAME_TOO_LARGE, "a frame of %llu bytes is over max_frame of %llu", size, self.settings.max_frame
            )
        if payload + size > self.buffer + self.end:
            return False
        self.start = payload + size - self.buffer
        if tag >> 3:
            self.received_sizes += payload + size - at
            return self.channel_frame(tag >> 3, tag & 7, payload, size, event)
        return self.record(payload, size, event)

    cdef int preface(self) noexcept nogil:
        cdef size_t spoken = self.end - self.start, have = spoken
        cdef char first = self.buffer[self.start]
        if have > PREFACE_SIZE:
            have = PREFACE_SIZE
        if memcmp(self.buffer + self.start, PREFACE_BYTES, have):
            self.violation(_wire.BAD_PREFACE, stranger(first), 0, 0)
            if not self.client and (32 <= first < 127 or first == 10 or first == 13):
                self.goodbye = SAY_HTTP if spoken >= 4 and self.http() else SAY_TEXT
            return False
        if have < PREFACE_SIZE:
            return False
        self.start += PREFACE_SIZE
        self.phase = GREETING
        return True

    cdef bint http(self) noexcept nogil:
        cdef int index
        for index in range(9):
            if memcmp(self.buffer + self.start, METHODS + 4 * index, 4) == 0:
                return True
        return False

    # Records on channel 0

    cdef int record(self, const char *at, size_t size, event_t *event) noexcept nogil:
        cdef const char *end = at + size
        cdef uint64_t numbers[2]
        cdef int kind, count, index, taken
        cdef double trip
        cdef bint text
        if size == 0:
            return self.violation(_wire.EARLY_FRAME if self.phase < UP else _wire.BAD_RECORD, "an empty record", 0, 0)
        kind = <unsigned char>at[0]
        at += 1
        if self.phase < UP and not self.in_handshake(kind):
            return self.violation(_wire.EARLY_FRAME, "record %llu is not what the handshake waits for", kind, 0)
        if _wire.RESUME <= kind <= _wire.RESUME_FAILED:
            return self.resumption(kind, at, end, event)
        if kind in (_wire.HELLO, _wire.WELCOME):
            return self.greeted(kind, at, end, event)
        # the others: some numbers, then for some of them a text to the end
        count = 1
        text = kind in (_wire.REFUSED, _wire.GOAWAY)
        if text or kind == _wire.SESSION_BLOCKED:
            count = 2
        elif kind == _wire.END and self.log.on:
            count = 0
        elif kind not in (_wire.PING, _wire.PONG, _wire.SESSION_CREDIT, _wire.CHANNEL_CREDIT) and not (
            kind == _wire.ACK and self.log.on
        ):
            return self.violation(_wire.BAD_RECORD, "record of type %llu", kind, 0)
        if kind == _wire.REFUSED and self.phase != GREETING:
            return self.violation(_wire.BAD_RECORD, "REFUSED after the handshake", 0, 0)
        for index in range(count):
            taken = read_varint(at, end, MAX_VARINT_BYTES, &numbers[index])
            if taken <= 0:
                return self.violation(_wire.BAD_VARINT if taken else _wire.BAD_FRAME, "record of type %llu", kind, 0)
            at += taken
        if text and end - at > _wire.MAX_REASON or not text and at != end:
            return self.violation(_wire.BAD_FRAME, "%llu bytes too many in record %llu", end - at, kind)
        if text and not text_valid(at, end - at):
            return self.violation(_wire.BAD_UTF8, "the reason in record %llu", kind, 0)

        if kind == _wire.PING:
            self.pong = numbers[0]
            self.slots |= PONG_SLOT
            if self.received_frames == self.frames_at_ping:
                self.glitch()
            self.frames_at_ping = self.received_frames
        elif kind == _wire.PONG:
            if not 1 <= numbers[0] <= self.pinged:
                return self.violation(_wire.BAD_RECORD, "PONG %llu; the last PING was %llu", numbers[0], self.pinged)
            if self.pings_timed and numbers[0] >= self.pings_timed:
                trip = max(self.now - self.ping_written_at, 1e-4)      # a coarse clock may say 0, which means "unknown" here
                self.smoothed = self.smoothed * 0.875 + trip * 0.125 if self.smoothed > 0 else trip
                self.pings_timed = 0
            if numbers[0] > self.ponged:
                self.ponged = numbers[0]
                event.kind = PONG_EVENT
                event.number = numbers[0]
        elif kind == _wire.SESSION_CREDIT:
            if not self.raise_limit(&self.outgoing.limit, numbers[0]):
                return False
            self.held_back &= ~<uint32_t>OUT_OF_CREDIT
        elif kind == _wire.ACK:
            if numbers[0] > self.acknowledgeable():
                return self.violation(
                    _wire.BAD_ACK, "ACK of %llu frames, of %llu that were sent", numbers[0], self.acknowledgeable()
                )
            self.acknowledged(numbers[0])
            self.can_open = self.wants_open and self.opened < self.may_open and not self.log_over()
            event.kind = ACKED_EVENT
            event.number = numbers[0]
        elif kind == _wire.END:
            if not self.peer_going_away:
                return self.violation(_wire.BAD_RECORD, "END without GOAWAY", 0, 0)
            self.peer_ended = True
        elif kind == _wire.CHANNEL_CREDIT:
            if not self.raise_limit(&self.may_open, numbers[0]):
                return False
            self.can_open = self.wants_open and self.opened < self.may_open
        elif kind == _wire.SESSION_BLOCKED:
            if not self.peer_blocked(&self.incoming, numbers[0], numbers[1]):
                return False
            self.grant_session(0)
            self.watch_window()
        elif kind == _wire.GOAWAY:
            if self.peer_going_away and numbers[0] > self.peer_last:
                return self.violation(
                    _wire.LIMIT_BACKWARDS, "GOAWAY raised the last channel from %llu to %llu", self.peer_last, numbers[0]
                )
            self.peer_going_away = True
            self.peer_last = numbers[0]
            self.abandon_unserved()
            self.peer_code = numbers[1]
            self.keep_reason(at, end - at)
            event.kind = GOING_AWAY_EVENT
            event.number = numbers[0]
            event.code = numbers[1]
            event.data = at
            event.size = end - at
            if self.wants_open:
                self.can_open = True                    # to be told that there is no opening any more
        else:
            event.kind = REFUSED_EVENT
            event.code = numbers[0]
            event.number = numbers[1]
            event.data = at
            event.size = end - at
            self.keep_reason(at, end - at)
            self.end_session(numbers[0], BY_PEER, SAY_NOTHING)
        return True

    cdef int resumption(self, int kind, const char *at, const char *end, event_t *event) noexcept nogil:
        """What it says is for someone with a key: here it only moves the handshake on."""
        if self.phase == UP:
            return self.violation(_wire.BAD_RECORD, "record of type %llu after the handshake", kind, 0)
        if kind == _wire.RESUME:
            self.resuming = True
            self.phase = ADMITTING
        elif kind == _wire.RESUME_FAILED:
            self.resuming = False
        else:
            self.phase = HANDED_OVER
        event.kind = RESUMPTION_EVENT
        event.number = kind
        event.data = at
        event.size = end - at
        return True

    cdef int greeted(self, int kind, const char *at, const char *end, event_t *event) noexcept nogil:
        cdef bint hello = kind == _wire.HELLO
        cdef int code
        if self.phase != GREETING:
            return self.violation(_wire.BAD_RECORD, "a second handshake record (%llu)", kind, 0)
        self.greeting_size = end - at
        self.greeting = <char *>malloc(max(self.greeting_size, 1))
        if self.greeting == NULL:
            return self.violation(_wire.INTERNAL, "out of memory", 0, 0)
        memcpy(self.greeting, at, self.greeting_size)
        code = read_parameters(self.greeting, self.greeting + self.greeting_size, hello, &self.peer_parameters)
        if code:
            return self.violation(code, "the parameters of the handshake", 0, 0)
        if not self.peer_parameters.version_low <= 1 <= self.peer_parameters.version_high:
            return self.violation(
                _wire.BAD_VERSION, "versions %llu to %llu; this side knows 1",
                self.peer_parameters.version_low, self.peer_parameters.version_high,
            )
        self.peer_max_frame = self.peer_parameters.max_frame
        self.peer_max_message = self.peer_parameters.max_message
        self.outgoing.limit = self.peer_parameters.session_limit
        self.may_open = self.peer_parameters.max_channels
        if self.peer_parameters.resume and not (
            self.peer_parameters.ticket_size == 16 if hello else self.peer_parameters.ticket_size in (57, 89)
        ):
            return self.violation(_wire.BAD_PARAMETER, "a ticket of %llu bytes", self.peer_parameters.ticket_size, 0)
        if hello:
            self.phase = ADMITTING
            event.kind = HELLO_EVENT
            if self.start == self.end:
                self.let_buffer_go()
            return True
        if self.peer_parameters.resume > self.settings.resume:
            return self.violation(
                _wire.BAD_PARAMETER, "resume for %llu ms; %llu were wished", self.peer_parameters.resume, self.settings.resume
            )
        self.settings.resume = self.peer_parameters.resume
        self.come_up()
        event.kind = WELCOME_EVENT
        return True

    # Frames of channels

    cdef int channel_frame(self, uint64_t id, int kind, const char *at, size_t size, event_t *event) noexcept nogil:
        cdef const char *end = at + size
        cdef channel_t *channel
        cdef uint64_t numbers[2]
        cdef int count, index, taken
        self.received_frames += 1                       # the one place
        channel = self.find(id)
        if kind <= _wire.PART and channel != NULL and channel.state != CLOSED:
            return self.message_frame(channel, kind, at, size, event)
        if kind == _wire.OPEN:
            return self.opened_by_peer(id, at, size, event)
        if channel == NULL or channel.state == CLOSED:
            return self.late_frame(id, kind, size)
        if channel.state == LOCAL_RESET and kind not in (_wire.FINISH, _wire.RESET):
            self.discarded_frames += 1
            return True
        count = 0
        if kind == _wire.CREDIT or kind == _wire.RESET:
            count = 1
        elif kind == _wire.BLOCKED:
            count = 2
        for index in range(count):
            taken = read_varint(at, end, MAX_VARINT_BYTES, &numbers[index])
            if taken <= 0:
                return self.violation(
                    _wire.BAD_VARINT if taken else _wire.BAD_FRAME, "a frame of kind %llu on channel %llu", kind, id
                )
            at += taken
        if kind == _wire.RESET:
            if end - at > _wire.MAX_REASON:
                return self.violation(_wire.BAD_FRAME, "a reason of %llu bytes on channel %llu", end - at, id)
            if not text_valid(at, end - at):
                return self.violation(_wire.BAD_UTF8, "the reason of a RESET of channel %llu", id, 0)
        elif at != end:
            return self.violation(_wire.BAD_FRAME, "%llu bytes too many on channel %llu", end - at, id)

        if kind == _wire.CREDIT:
            if not self.raise_limit(&channel.outgoing.limit, numbers[0]):
                return False
            if credit_left(&channel.outgoing) >= channel.need:
                self.mark_writable(channel)
            elif channel.flags & WANTS_WRITE:
                self.say_blocked(channel)               # the new limit is not enough either (K-7)
            return True
        if kind == _wire.FINISH:
            return self.peer_finished(channel, event)
        if kind == _wire.RESET:
            return self.peer_reset(channel, numbers[0], at, end - at, event)
        if not self.peer_blocked(&channel.incoming, numbers[0], numbers[1]):
            return False
        if channel.flags & RELEASED:
            self.hang_up(channel)                       # it waits for a reader that is not there
        else:
            self.grant_channel(channel)
        return True

    cdef int late_frame(self, uint64_t id, int kind, size_t size) noexcept nogil:
        """A frame on a channel that is not in the table: never opened, ended, or opened above our GOAWAY."""
        cdef bint local = (id & 1) == self.client
        if id >= (self.next_local if local else self.next_remote):
            return self.violation(_wire.UNKNOWN_CHANNEL, "channel %llu was never opened", id, 0)
        if not local and id > self.last_served:
            return self.discard(kind, size)
        if kind == _wire.CREDIT or kind == _wire.RESET:
            self.ignored_frames += 1
            return True
        return self.violation(_wire.CHANNEL_ENDED, "a frame of kind %llu on channel %llu, which has ended", kind, id)

    cdef int discard(self, int kind, size_t size) noexcept nogil:
        """Data that nobody will see still counts for the session, and its cost goes back (K-5)."""
        cdef uint64_t cost = size + (MESSAGE_COST if kind == _wire.DATA else 0)
        self.discarded_frames += 1
        if kind > _wire.PART:
            return True
        if not charge(&self.incoming, cost):
            return self.violation(
                _wire.CREDIT_EXCEEDED, "%llu on the session, whose limit is %llu", self.incoming.received, self.incoming.granted
            )
        self.grant_session(cost)
        return True

    cdef int opened_by_peer(self, uint64_t id, const char *at, size_t size, event_t *event) noexcept nogil:
        cdef opening_t opening
        cdef channel_t *channel
        cdef int code
        if (id & 1) == self.client:
            return self.violation(_wire.BAD_CHANNEL_ID, "OPEN of channel %llu, whose parity is ours", id, 0)
        if id < self.next_remote:
            return self.violation(_wire.CHANNEL_REUSED, "OPEN of channel %llu, which was opened before", id, 0)
        if id > self.next_remote:
            return self.violation(_wire.BAD_CHANNEL_ID, "OPEN of channel %llu instead of %llu", id, self.next_remote)
        code = check_open(at, size, &opening)
        if code:
            return self.violation(code, "OPEN of channel %llu", id, 0)
        if (id + 1) >> 1 > self.slots_granted:          # ids are consecutive: the id tells how many
            return self.violation(
                _wire.TOO_MANY_CHANNELS, "OPEN of channel %llu is over the limit of %llu channels", id, self.slots_granted
            )
        self.next_remote += 2
        self.offer_slots()
        if id > self.last_served:
            self.discarded_frames += 1
            self.slots_returned += 1
            return True
        channel = channel_new(id)
        if channel == NULL or not table_add(&self.table, channel):
            return self.violation(_wire.INTERNAL, "out of memory", 0, 0)
        channel.text = <char *>malloc(size)
        if channel.text == NULL:
            return self.violation(_wire.INTERNAL, "out of memory", 0, 0)
        memcpy(channel.text, at, size)
        channel.text_size = size
        self.charge(cost_of(channel))
        channel.priority = opening.priority
        channel.outgoing.limit = self.peer_parameters.channel_limit
        channel.incoming.granted = channel.incoming.window = self.settings.channel_window
        channel.incoming.since = channel.opened_at = self.now
        channel.state = OPEN_STATE if opening.mode == 0 else REMOTE_FINISHED if opening.mode == 1 else LOCAL_FINISHED
        event.kind = OPENED_EVENT
        event.channel = channel
        return True

    cdef int message_frame(self, channel_t *channel, int kind, const char *at, size_t size, event_t *event) noexcept nogil:
        cdef size_t whole = channel.partial_size + size
        cdef size_t cost = size + (MESSAGE_COST if kind == _wire.DATA else 0)
        cdef int next = after(channel.state, R_DATA)
        cdef char *larger
        if next == DISCARD:
            return self.discard(kind, size)
        if next == AFTER_FINISH:
            return self.violation(_wire.DATA_AFTER_FINISH, "data on channel %llu", channel.id, 0)
        if kind == _wire.PART and size < _wire.MIN_PART:
            return self.violation(_wire.BAD_PART, "a PART of %llu bytes on channel %llu", size, channel.id)
        if whole > self.settings.max_message:
            return self.violation(
                _wire.MESSAGE_TOO_LARGE, "a message of %llu bytes is over max_message of %llu", whole, self.settings.max_message
            )
        if not charge(&channel.incoming, cost):
            return self.violation(
                _wire.CREDIT_EXCEEDED, "%llu on channel %llu", channel.incoming.received, channel.id
            )
        if not charge(&self.incoming, cost):
            return self.violation(
                _wire.CREDIT_EXCEEDED, "%llu on the session, whose limit is %llu", self.incoming.received, self.incoming.granted
            )
        if kind == _wire.DATA:
            self.received_messages += 1
            self.received_bytes += whole
        if channel.flags & RELEASED:
            self.discarded_frames += 1
            consume(&channel.incoming, cost)
            self.grant_session(cost)
            channel.partial_size = whole if kind == _wire.PART else 0
            self.hang_up(channel)
            return True
        if kind == _wire.DATA and channel.partial == NULL:
            event.kind = MESSAGE_EVENT
            event.channel = channel
            event.data = at
            event.size = size
            return True
        if whole > channel.partial_room:
            channel.partial_room = max(whole, channel.partial_room + (channel.partial_room >> 3))
            larger = <char *>realloc(channel.partial, channel.partial_room)
            if larger == NULL:
                return self.violation(_wire.INTERNAL, "out of memory", 0, 0)
            channel.partial = larger
        memcpy(channel.partial + channel.partial_size, at, size)
        channel.partial_size = whole
        if kind == _wire.PART:
            return True
        event.kind = MESSAGE_EVENT
        event.channel = channel
        event.data = self.returned = channel.partial
        event.size = whole
        channel.partial = NULL
        channel.partial_size = channel.partial_room = 0
        return True

    cdef int peer_finished(self, channel_t *channel, event_t *event) noexcept nogil:
        cdef bint tell = channel.state != LOCAL_RESET and not channel.flags & RELEASED
        if after(channel.state, R_FINISH) == AFTER_FINISH:
            return self.violation(_wire.DATA_AFTER_FINISH, "a second FINISH on channel %llu", channel.id, 0)
        if channel.partial_size and channel.state != LOCAL_RESET:
            return self.violation(_wire.BAD_PART, "FINISH inside a message on channel %llu", channel.id, 0)
        if tell:
            event.kind = FINISHED_EVENT
            event.channel = channel
        self.step(channel, R_FINISH)
        return True

    cdef int peer_reset(self, channel_t *channel, uint64_t code, const char *reason, size_t size, event_t *event) noexcept nogil:
        cdef bint answer = channel.state in (OPEN_STATE, REMOTE_FINISHED)
        self.reset_by_peer(channel)
        if channel.state != LOCAL_RESET and not channel.flags & RELEASED:
            event.kind = RESET_EVENT
            event.channel = channel
            event.code = code
            event.data = reason
            event.size = size
        if answer:
            channel.reset_code = _wire.CANCELLED
            self.mark_dirty(channel, RESET_DIRT)
        self.step(channel, R_RESET)
        return True
