"""The outgoing half of the machine (docs/PROTOCOL.md, section 7, from the sender's side).

A message is *accepted* whole or not at all: when its channel and the session hold credit for all of it and there is room to keep it. A
small one that finds an idle line is encoded at once into the block that the next write takes; otherwise it is queued on its channel
and encoded when the scheduler says so, as late as possible, so that an urgent message overtakes what is still queued.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from . cimport _wire
from ._flow cimport MESSAGE_COST, budget_has, credit_left
from ._replay cimport replay_again, replay_free, replay_full, replay_keep, replay_release, replay_sent
from ._schedule cimport CLASSES, schedule_add, schedule_begun, schedule_charge, schedule_next, schedule_remove
from ._table cimport (
    BLOCKED_DIRT, CLOSED, CREDIT_DIRT, FINISH_DIRT, IN_DIRTY, IN_MEMORY_LINE, IN_READY, IN_TABLE, IN_WRITABLE, LOCAL_FINISHED,
    OPEN_STATE, REMOTE_FINISHED, RESET_DIRT, TAKEN, WANTS_FINISH, WANTS_WRITE, channel_free, cost_of,
)
from ._wire cimport MAX_HEADER_BYTES, write_header, write_varint

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **bytes, Py_ssize_t size) except -1
    PyObject *new_bytes "PyBytes_FromStringAndSize"(char *data, Py_ssize_t size)
    char *bytes_start "PyBytes_AS_STRING"(PyObject *bytes)


@cython.no_gc_clear                     # __dealloc__ needs `budget_owner`
cdef class Output:
    def __cinit__(self):
        self.segments = []
        self.next_room = SMALL_BLOCK

    def __dealloc__(self):
        cdef channel_t *channel
        cdef int index
        # What is still in a list was only waiting for that: once out of the last one, it is freed.
        for index in range(CLASSES):
            while self.schedule.classes[index].first != NULL:
                channel = self.schedule.classes[index].first
                schedule_remove(&self.schedule, channel)
                self.settle(channel)
        while self.dirty_first != NULL:
            channel, self.dirty_first = self.dirty_first, self.dirty_first.next_dirty
            channel.flags &= ~<int>IN_DIRTY
            self.settle(channel)
        while self.writable_first != NULL:
            channel, self.writable_first = self.writable_first, self.writable_first.next_writable
            channel.flags &= ~<int>IN_WRITABLE
            self.settle(channel)
        while self.memory_waiting_first != NULL:
            channel, self.memory_waiting_first = self.memory_waiting_first, self.memory_waiting_first.next_in_memory_line
            channel.flags &= ~<int>IN_MEMORY_LINE
            self.settle(channel)
        self.exhume()
        if self.budget != NULL:
            replay_free(&self.log)
            self.charge(-self.charged)
        Py_XDECREF(self.block)

    cdef void charge(self, int64_t size) noexcept nogil:
        self.budget.used += size
        self.charged += size

    # Accepting

    cdef int admit(self, channel_t *channel, size_t size) noexcept nogil:
        """Whether a message of `size` bytes may be accepted: 0, or why not. Says so to the peer when credit is lacking."""
        cdef size_t cost = size + MESSAGE_COST
        cdef size_t room = self.give_room_back(channel)     # whatever comes of this, the promise has had its turn
        if self.over or channel.flags & WANTS_FINISH or channel.state not in (OPEN_STATE, REMOTE_FINISHED):
            return IS_OVER
        if size > self.peer_max_message:
            return TOO_LARGE
        if self.held_back & PARTED:
            self.want(channel, cost)
            return WAIT_CONNECTION
        if credit_left(&channel.outgoing) < cost:
            self.want(channel, cost)
            self.say_blocked(channel)
            return WAIT_PEER
        if room < cost and not self.has_room(channel, cost):
            return WAIT_SOCKET if channel.queued else WAIT_MEMORY
        return 0

    cdef bint fits(self, size_t cost) noexcept nogil:
        """Whether the queue takes `cost` more beside what was promised. One message may go over it, so that any can be sent."""
        cdef size_t taken = self.queued + self.room_promised
        cdef size_t room = min(self.send_buffer, WAY_GIVEN) if self.held_back & GIVING_WAY else self.send_buffer
        return taken == 0 or taken + cost <= room and budget_has(self.budget, cost)

    cdef bint has_room(self, channel_t *channel, size_t cost) noexcept nogil:
        """Whether the channel may have `cost` more in the queue: at most what is free (Choudhury and Hahne, 1998). So n busy channels
        have one part each, of n + 1, and the one that is left lets the next begin."""
        return self.memory_waiting_first == NULL and self.fits(channel.queued + cost)

    cdef void wait_for_room(self, channel_t *channel, size_t size) noexcept nogil:
        """A message of `size` bytes found no room, and was not offered: its channel is told when to try again."""
        if channel.first == NULL:                           # else it is told when its own messages are written
            self.join_memory_line(channel)
        self.want(channel, size + MESSAGE_COST)

    cdef size_t give_room_back(self, channel_t *channel) noexcept nogil:
        cdef size_t room = channel.room_promised
        self.room_promised -= room
        channel.room_promised = 0
        return room

    cdef void want(self, channel_t *channel, size_t cost) noexcept nogil:
        """A message of `cost` has to wait; meanwhile others may have the room that was promised to its channel."""
        channel.flags |= WANTS_WRITE
        channel.need = cost
        self.wake_memory()

    cdef void say_blocked(self, channel_t *channel) noexcept nogil:
        """Announce, once at each limit, that the channel stands there (K-7)."""
        if channel.outgoing.blocked != channel.outgoing.limit + 1:          # + 1: a limit of 0 is one too
            channel.outgoing.blocked = channel.outgoing.limit + 1
            self.mark_dirty(channel, BLOCKED_DIRT)

    cdef void say_session_blocked(self, size_t cost) noexcept nogil:
        self.session_need = self.outgoing.used + cost
        if self.outgoing.blocked != self.outgoing.limit + 1:
            self.outgoing.blocked = self.outgoing.limit + 1
            self.slots |= BLOCKED_SLOT

    cdef void join_memory_line(self, channel_t *channel) noexcept nogil:
        if channel.flags & IN_MEMORY_LINE:
            return
        channel.flags |= IN_MEMORY_LINE
        channel.next_in_memory_line = NULL
        if self.memory_waiting_last == NULL:
            self.memory_waiting_first = channel
        else:
            self.memory_waiting_last.next_in_memory_line = channel
        self.memory_waiting_last = channel

    cdef int send_small(self, channel_t *channel, const char *data, size_t size) noexcept nogil:
        """Accept a small message; its bytes are copied. WRITTEN, QUEUED, or why not."""
        cdef char *to
        cdef int why = self.admit(channel, size)
        if why:
            return why
        if self.held_back or self.schedule.waiting or credit_left(&self.outgoing) < size + MESSAGE_COST:
            return self.enqueue(channel, data, size, NULL)
        if self.room - self.used < size + MAX_HEADER_BYTES:
            return NO_ROOM
        to = write_header(self.block_start + self.used, channel.id, _wire.DATA, size)
        memcpy(to, data, size)
        self.sent_sizes += to + size - (self.block_start + self.used)
        self.used = to + size - self.block_start
        self.sent_frames += 1
        channel.outgoing.used += size + MESSAGE_COST
        self.outgoing.used += size + MESSAGE_COST
        self.sent_messages += 1
        self.sent_bytes += size
        return WRITTEN

    cdef int send_object(self, channel_t *channel, bytes message) except? -100:
        """Accept a message of any size; a large one is kept by reference until it is written. WRITTEN, QUEUED, or why not."""
        cdef size_t size = PyBytes_GET_SIZE(message)
        cdef const char *data = PyBytes_AS_STRING(message)
        cdef int result
        if size <= INLINE:
            result = self.send_small(channel, data, size)
            if result == NO_ROOM:
                self.reserve(size + MAX_HEADER_BYTES)
                result = self.send_small(channel, data, size)
            return result
        result = self.admit(channel, size)
        if result:
            return result
        result = self.enqueue(channel, data, size, <PyObject *>message)
        if result == QUEUED:
            Py_INCREF(message)
        return result

    cdef int enqueue(self, channel_t *channel, const char *data, size_t size, PyObject *owner) noexcept nogil:
        cdef message_t *message = self.append(channel, data, size, owner)
        if message == NULL:
            return WAIT_MEMORY
        self.accept(channel, message)
        return QUEUED

    cdef message_t *append(self, channel_t *channel, const char *data, size_t size, PyObject *owner) noexcept nogil:
        """Put a message behind those of its channel, and take the channel's credit for it."""
        cdef message_t *message = <message_t *>malloc(sizeof(message_t) + (size if owner == NULL else 0))
        if message == NULL:
            return NULL
        message.next = NULL
        message.owner = owner
        message.size = size
        message.written = 0
        message.paid = False
        if owner == NULL:
            memcpy(<char *>(message + 1), data, size)
            message.data = <const char *>(message + 1)
        else:
            message.data = data
        if channel.last == NULL:
            channel.first = message
        else:
            channel.last.next = message
        channel.last = message
        channel.outgoing.used += size + MESSAGE_COST
        schedule_add(&self.schedule, channel)
        self.held_back &= ~<uint32_t>OUT_OF_CREDIT          # it may go before the one that lacked credit
        return message

    cdef void accept(self, channel_t *channel, message_t *message) noexcept nogil:
        cdef size_t rest = message.size - message.written + MESSAGE_COST
        channel.queued += rest
        self.queued += rest
        self.charge(message.size + MESSAGE_COST)
        self.sent_messages += 1
        self.sent_bytes += message.size

    # Offering: a message that lacks nothing but room stays with us, in its place among those that are sent, while its sender waits

    cdef int offer(self, channel_t *channel, bytes message) except? -100:
        """As send_object(); and where room is lacking, the message is left here. The channel is told when it is accepted: there is room
        for all that is left of it, at the latest when nothing is. Only one message of a channel may be offered."""
        cdef int result = self.send_object(channel, message)
        if result != WAIT_SOCKET and result != WAIT_MEMORY:
            return result
        channel.offered = self.append(channel, PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), <PyObject *>message)
        if channel.offered == NULL:
            raise MemoryError
        Py_INCREF(message)
        return result

    cdef void accept_offer(self, channel_t *channel) noexcept nogil:
        self.accept(channel, channel.offered)
        channel.offered = NULL
        channel.flags |= TAKEN

    cdef void withdraw(self, channel_t *channel) noexcept nogil:
        """Nobody waits for the offered message any more: it is taken back, or accepted, if it has begun."""
        cdef message_t *message = channel.offered
        cdef message_t *before = channel.first
        if message == NULL:
            return
        if message.paid:
            self.accept_offer(channel)
            return
        if before == message:
            channel.first = channel.last = NULL
        else:
            while before.next != message:
                before = before.next
            before.next = NULL
            channel.last = before
        channel.offered = NULL
        channel.outgoing.used -= message.size + MESSAGE_COST
        message.next = self.buried
        self.buried = message
        self.held_back &= ~<uint32_t>OUT_OF_CREDIT          # it may have been the one that lacked it

    cdef bint settle_offer(self, channel_t *channel) noexcept nogil:
        cdef bint taken
        self.withdraw(channel)
        taken = channel.flags & TAKEN != 0
        channel.flags &= ~<int>TAKEN
        return taken

    # Waking those who wait

    cdef void mark_writable(self, channel_t *channel) noexcept nogil:
        if channel.flags & WANTS_WRITE:
            self.tell(channel)

    cdef void tell(self, channel_t *channel) noexcept nogil:
        """There is something to report of the channel, beside what its frames say: it may be written to, or it has ended."""
        if channel.flags & IN_WRITABLE:
            return
        channel.flags |= IN_WRITABLE
        channel.next_writable = NULL
        if self.writable_last == NULL:
            self.writable_first = channel
        else:
            self.writable_last.next_writable = channel
        self.writable_last = channel

    cdef void wake_memory(self) noexcept nogil:
        """Set room in the queue aside for those who wait for it, once half of it is free: first come, first served."""
        cdef channel_t *channel
        if self.queued + self.room_promised > self.send_buffer >> 1:
            return
        while self.memory_waiting_first != NULL:
            channel = self.memory_waiting_first
            if channel.flags & WANTS_WRITE and channel.state != CLOSED:
                if not self.fits(channel.need):
                    return
                self.room_promised += channel.need
                channel.room_promised = channel.need
                self.mark_writable(channel)
            self.memory_waiting_first = channel.next_in_memory_line
            if self.memory_waiting_first == NULL:
                self.memory_waiting_last = NULL
            channel.flags &= ~<int>IN_MEMORY_LINE
            self.settle(channel)

    cdef void stop_waiting(self, channel_t *channel) noexcept nogil:
        """Nobody waits to send on this channel any more: give back what was promised to it, and what was offered."""
        channel.flags &= ~<int>WANTS_WRITE
        self.withdraw(channel)
        self.give_room_back(channel)
        self.wake_memory()

    # Control frames of channels

    cdef void mark_dirty(self, channel_t *channel, int dirt) noexcept nogil:
        channel.dirt |= dirt
        if channel.flags & IN_DIRTY:
            return
        channel.flags |= IN_DIRTY
        channel.next_dirty = NULL
        if self.dirty_last == NULL:
            self.dirty_first = channel
        else:
            self.dirty_last.next_dirty = channel
        self.dirty_last = channel

    cdef int put_dirt(self, channel_t *channel) except -1:
        """Write the control frames that a channel owes. RESET makes all others pointless."""
        cdef char payload[2 * _wire.MAX_VARINT_BYTES + _wire.MAX_REASON + 2]
        cdef char *end
        cdef int dirt = channel.dirt
        channel.dirt = 0
        if dirt & RESET_DIRT:
            end = write_varint(payload, channel.reset_code)
            if channel.reason_size:
                memcpy(end, channel.reason, channel.reason_size)
            self.put(channel.id, _wire.RESET, payload, end + channel.reason_size - payload)
            return 0
        if dirt & CREDIT_DIRT and channel.state in (OPEN_STATE, LOCAL_FINISHED):
            end = write_varint(payload, channel.incoming.granted)
            self.put(channel.id, _wire.CREDIT, payload, end - payload)
        if dirt & BLOCKED_DIRT and channel.state in (OPEN_STATE, REMOTE_FINISHED):
            if channel.flags & WANTS_WRITE and credit_left(&channel.outgoing) < channel.need:
                end = write_varint(payload, channel.outgoing.limit)
                end = write_varint(end, channel.outgoing.used + channel.need)
                self.put(channel.id, _wire.BLOCKED, payload, end - payload)
            else:
                channel.outgoing.blocked = 0                # it waits no more: the next one that does must say so itself
        if dirt & FINISH_DIRT:
            self.put(channel.id, _wire.FINISH, NULL, 0)
            self.finish_written(channel)
            if channel.dirt & RESET_DIRT:
                self.put_dirt(channel)
        return 0

    cdef void finish_written(self, channel_t *channel) noexcept nogil:
        pass

    cdef int put_slots(self) except -1:
        return 0

    cdef void drop_queue(self, channel_t *channel) noexcept nogil:
        """Forget the messages of a channel that was reset."""
        if channel.first != NULL:
            self.bury(channel)
            self.wake_memory()
        self.stop_waiting(channel)

    cdef void bury(self, channel_t *channel) noexcept nogil:
        """Put the channel's messages aside; they are let go where Python objects may be touched. Credit for the part of a message
        that was not written is the session's again: the peer will never see it."""
        cdef message_t *message = channel.first
        if message == NULL:
            return
        while message != NULL:
            if message.paid:
                self.outgoing.used -= message.size - message.written + MESSAGE_COST
            if message != channel.offered:
                self.charge(-<int64_t>(message.size + MESSAGE_COST))
                self.dropped_messages += 1
            message = message.next
        channel.last.next = self.buried
        self.buried = channel.first
        self.queued -= channel.queued
        channel.queued = 0
        channel.first = channel.last = channel.offered = NULL
        self.held_back &= ~<uint32_t>OUT_OF_CREDIT

    cdef void exhume(self):
        cdef message_t *message
        while self.buried != NULL:
            message = self.buried
            self.buried = message.next
            if message.owner != NULL:
                Py_DECREF(<object><PyObject *>message.owner)
            free(message)

    cdef void settle(self, channel_t *channel) noexcept nogil:
        """Free a channel that left the table, as it does when it has ended and was released, and every list."""
        if not channel.flags & (IN_TABLE | IN_READY | IN_DIRTY | IN_WRITABLE | IN_MEMORY_LINE):
            self.charge(-cost_of(channel))
            channel_free(channel)

    # Writing

    cdef int reserve(self, size_t size) except -1:
        """Make room for `size` bytes in the block."""
        if self.room - self.used >= size:
            return 0
        if self.used:
            self.next_room = BLOCK          # there is more than a small block takes
        self.seal()
        if self.room - self.used >= size and self.room >= self.next_room:
            return 0
        if size < self.next_room:
            size = self.next_room
        if self.block != NULL:
            Py_DECREF(<bytes>self.block)
        self.block = new_bytes(NULL, size)
        if self.block == NULL:
            raise MemoryError
        self.block_start = bytes_start(self.block)
        self.room = size
        return 0

    cdef int seal(self) except -1:
        """End the block: what was written becomes an immutable bytes object of its own."""
        cdef PyObject *block = self.block
        cdef size_t size
        if self.used == 0:
            return 0
        size = self.used
        self.used = 0
        if size <= COPIED:
            segment = PyBytes_FromStringAndSize(self.block_start, size)
        else:
            self.block = NULL
            self.room = 0
            _PyBytes_Resize(&block, size)
            segment = <bytes>block
            Py_DECREF(segment)
        self.hand_over(segment, PyBytes_AS_STRING(segment), size, self.sent_frames != self.log.kept_frames)
        return 0

    cdef int let_block_go(self) except -1:
        """What is written is sealed, and the room for more given back."""
        self.seal()
        Py_XDECREF(self.block)
        self.block = NULL
        self.room = 0
        return 0

    cdef int hand_over(self, segment, const char *data, size_t size, bint sequenced) except -1:
        """The next thing to be written; kept as well, if the session is resumable and frames of channels are in it."""
        if self.log.on and sequenced:
            replay_keep(&self.log, segment, data, size, self.sent_frames, self.sent_sizes)
            self.judge_log()
        if not self.held_back & (REPLAYING | PARTED):           # else its turn comes with the log's
            self.segments.append(segment)
            self.sealed += size
        return 0

    cdef void judge_log(self) noexcept nogil:
        if replay_full(&self.log, BLOCK):                       # what is written directly is judged by the block
            self.hold_for_log()
        elif self.held_back & LOG_FULL:
            self.held_back &= ~<uint32_t>LOG_FULL
            self.log_full_time += self.now - self.log_full_since

    cdef void hold_for_log(self) noexcept nogil:
        if not self.held_back & LOG_FULL:
            self.held_back |= LOG_FULL
            self.log_full_since = self.now

    cdef bint log_over(self) noexcept nogil:
        return self.log.on and self.log.held > self.log.limit

    cdef uint64_t acknowledgeable(self) noexcept nogil:
        return max(self.log.acknowledged, replay_sent(&self.log)) if self.held_back & REPLAYING else self.sent_frames

    cdef void acknowledged(self, uint64_t frames) noexcept nogil:
        if frames > self.log.acknowledged:
            self.log.acknowledged = frames
            replay_release(&self.log, frames)
            self.judge_log()

    cdef int put(self, uint64_t channel, int kind, const char *payload, size_t size) except -1:
        """Write a frame into the block. The one place, with send_small() and fragment(), where sequenced frames are counted."""
        cdef char *to
        self.reserve(size + MAX_HEADER_BYTES)
        to = write_header(self.block_start + self.used, channel, kind, size)
        if size:                            # FINISH has none, and memcpy() takes no NULL
            memcpy(to, payload, size)
        if channel:
            self.sent_frames += 1
            self.sent_sizes += to + size - (self.block_start + self.used)
        self.used = to + size - self.block_start
        return 0

    cdef int fragment(self, channel_t *channel, size_t size, bint last) except -1:
        """Write `size` more bytes of the channel's first message as one frame."""
        cdef message_t *message = channel.first
        cdef int kind = _wire.DATA if last else _wire.PART
        cdef char *to
        if size <= INLINE:
            return self.put(channel.id, kind, message.data + message.written, size)
        owner = <bytes><PyObject *>message.owner
        self.reserve(MAX_HEADER_BYTES)
        to = write_header(self.block_start + self.used, channel.id, kind, size)
        self.sent_frames += 1
        self.sent_sizes += to + size - (self.block_start + self.used)
        self.used = to - self.block_start
        self.seal()
        part = owner if size == message.size else memoryview(owner)[message.written : message.written + size]
        self.hand_over(part, message.data + message.written, size, True)
        return 0

    cdef channel_t *whose_turn(self) noexcept nogil:
        """The channel that writes next. A message takes the session's credit as it begins, all that it costs (K-1). While one finds too
        little, none that comes after it begins, or large ones would never; those that have begun go on, or nothing would come back."""
        cdef channel_t *channel
        cdef message_t *message
        cdef size_t cost
        while True:
            channel = schedule_next(&self.schedule)
            if channel == NULL:
                return NULL
            message = channel.first
            if message == NULL:                                 # all is written, or was dropped
                schedule_remove(&self.schedule, channel)
                self.settle(channel)
                continue
            if message.paid:
                return channel
            cost = message.size + MESSAGE_COST
            if credit_left(&self.outgoing) >= cost:
                self.outgoing.used += cost
                message.paid = True
                return channel
            self.say_session_blocked(cost)
            channel = schedule_begun(&self.schedule)
            if channel == NULL:
                self.held_back |= OUT_OF_CREDIT
            return channel

    cdef int fill(self, size_t limit) except -1:
        """Let the scheduler's channels write, until about `limit` bytes are ready."""
        cdef channel_t *channel
        cdef message_t *message
        cdef size_t size, rest
        cdef uint64_t before
        while self.sealed + self.used < limit and not self.held_back & (LOG_FULL | OUT_OF_CREDIT):
            channel = self.whose_turn()
            if channel == NULL:
                return 0
            message = channel.first
            rest = message.size - message.written
            size = self.peer_max_frame
            if self.schedule.waiting > 1 and size > FRAGMENT:
                size = FRAGMENT
            if rest < size:
                size = rest
            if self.log.on and size > BLOCK and replay_full(&self.log, size):
                self.hold_for_log()
                return 0
            before = self.sent_sizes
            self.fragment(channel, size, size == rest)
            schedule_charge(&self.schedule, channel, self.sent_sizes - before)
            message.written += size
            if message != channel.offered:
                channel.queued -= size
                self.queued -= size
            if size == rest:
                self.message_written(channel)
            if channel.offered != NULL and self.has_room(channel, channel.offered.size - channel.offered.written + MESSAGE_COST):
                self.tell_offer(channel)
        return 0

    cdef void tell_offer(self, channel_t *channel) noexcept nogil:
        self.accept_offer(channel)
        channel.flags |= WANTS_WRITE
        channel.need = 0
        self.tell(channel)

    cdef void message_written(self, channel_t *channel) noexcept nogil:
        """The channel's first message is written whole: it leaves the queue."""
        cdef message_t *message = channel.first
        if message == channel.offered:
            self.tell_offer(channel)
        channel.queued -= MESSAGE_COST
        self.queued -= MESSAGE_COST
        channel.first = message.next
        if channel.first == NULL:
            channel.last = NULL
        self.charge(-<int64_t>(message.size + MESSAGE_COST))
        message.next = self.buried
        self.buried = message
        if channel.first == NULL and channel.flags & WANTS_FINISH:
            self.mark_dirty(channel, FINISH_DIRT)
        if channel.flags & WANTS_WRITE and (channel.first == NULL or self.has_room(channel, channel.need)):
            if credit_left(&channel.outgoing) >= channel.need:
                self.mark_writable(channel)
            else:
                self.say_blocked(channel)                       # a smaller message took what was left

    cdef bint has_output(self) noexcept nogil:
        if self.used or self.sealed or self.slots:
            return True
        if self.over:
            return False
        return (
            self.held_back & REPLAYING or self.dirty_first != NULL and not self.log_over()
            or self.schedule.waiting and not self.held_back & (LOG_FULL | OUT_OF_CREDIT)
        )

    cdef list collect(self, size_t limit):
        """Take what is to be written now: first what was encoded already, then control, then queued messages, about `limit` bytes.

        The parts are bytes objects, or views of parts of bytes objects: immutable, so that a transport may keep them.
        """
        cdef list segments
        if self.held_back & REPLAYING:
            return self.collect_again(limit)
        if self.slots or self.log.on:
            self.put_slots()
        if not self.over:
            self.write_dirty()
            self.fill(limit)
            self.write_dirty()                                  # FINISH behind the last message
            if self.slots & BLOCKED_SLOT:
                self.put_slots()
            self.wake_memory()
        self.next_room = SMALL_BLOCK if self.sealed == 0 and self.used < SMALL_BLOCK >> 1 else BLOCK
        self.seal()
        segments = self.segments
        self.segments = []
        self.sealed = 0
        if self.buried != NULL:
            self.exhume()
        return segments

    cdef list collect_again(self, size_t limit):
        cdef list segments = []
        self.seal()                                             # channels that were opened meanwhile come behind the log
        self.put_slots()
        if self.used:
            segments.append(PyBytes_FromStringAndSize(self.block_start, self.used))
            self.used = 0
        if self.over or not replay_again(&self.log, segments, limit):
            self.held_back &= ~<uint32_t>REPLAYING
        return segments

    cdef uint64_t unsent_messages(self) noexcept nogil:
        """How many were accepted and are not written whole."""
        cdef uint64_t count = 0
        cdef channel_t *channel
        cdef message_t *message
        cdef int index
        for index in range(CLASSES):
            channel = self.schedule.classes[index].first
            while channel != NULL:
                message = channel.first
                while message != NULL:
                    count += message != channel.offered
                    message = message.next
                channel = channel.next_ready
        return count

    @cython.final
    cdef int write_dirty(self) except -1:
        cdef channel_t *channel
        while self.dirty_first != NULL and not self.log_over():
            channel = self.dirty_first
            self.put_dirt(channel)
            self.dirty_first = channel.next_dirty
            if self.dirty_first == NULL:
                self.dirty_last = NULL
            channel.flags &= ~<int>IN_DIRTY
            if channel.dirt:                                    # more came up while it was written
                self.mark_dirty(channel, channel.dirt)
            self.settle(channel)
        return 0
