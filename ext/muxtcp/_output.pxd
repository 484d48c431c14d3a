# The outgoing half of the machine: credit we hold, messages accepted, whose turn it is, frames being written.
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from ._flow cimport budget_t, outgoing_t
from ._replay cimport replay_t
from ._schedule cimport schedule_t
from ._table cimport channel_t, message_t

cdef enum:
    BLOCK = 65_400                  # of frames for one write: a send of 65,484 bytes or more is five times slower on loopback
    SMALL_BLOCK = 4_000
    WAY_GIVEN = 262_144             # may wait in the queue of who has used up his share of the turn
    LITTLE = 16_384                 # written at once to a line that is full: nothing overtakes it any more
    COPIED = 2_048                  # of a block that is hardly used, a copy is written, and the block is kept
    INLINE = 4_096                  # payloads up to here are copied into the block; larger ones go by reference
    FRAGMENT = 16_384               # largest frame while others wait: what an urgent message may have to wait for

cdef enum Sent:                     # what send() says
    WRITTEN = 1                     # encoded
    QUEUED = 2                      # accepted, to be encoded when its turn comes
    NO_ROOM = 0                     # make room by `reserve()` and try again
    WAIT_PEER = -1                  # the channel's credit is used up
    WAIT_SOCKET = -3                # the channel's share of the queue is full: the socket takes no more
    WAIT_MEMORY = -4                # others fill the queue, or the process's budget is used up
    WAIT_CONNECTION = -7            # there is none, until the session is resumed
    IS_OVER = -5                    # our half of the channel, or the session, has ended
    TOO_LARGE = -6                  # over the peer's max_message

cdef enum Slot:                     # records owed on channel 0, coalesced: at most one of each
    PING_SLOT = 1
    PONG_SLOT = 2
    CREDIT_SLOT = 4
    BLOCKED_SLOT = 8
    CHANNELS_SLOT = 16
    GOAWAY_SLOT = 32
    ACK_SLOT = 64

cdef enum Hold:                     # why no message is encoded at once
    CONGESTED = 1                   # the transport takes no more
    LOG_FULL = 2                    # too much is unacknowledged
    REPLAYING = 4                   # what was lost on a broken connection goes first
    PARTED = 8                      # there is no connection
    GIVING_WAY = 16                 # others have their turn
    OUT_OF_CREDIT = 32              # whose turn it is has a message that costs more than the session has credit for

cdef class Output:
    # what the process has to give
    cdef budget_t *budget
    cdef object budget_owner
    cdef int64_t charged                    # taken from it, beside the session's window and the replay log
    # what the peer told us, and what it granted
    cdef uint64_t peer_max_frame
    cdef uint64_t peer_max_message
    cdef outgoing_t outgoing
    cdef uint64_t session_need              # what SESSION_BLOCKED announces
    # queues
    cdef schedule_t schedule
    cdef size_t queued                      # cost of what is accepted and not yet encoded
    cdef size_t send_buffer                 # most of that
    cdef channel_t *dirty_first
    cdef channel_t *dirty_last
    cdef channel_t *writable_first
    cdef channel_t *writable_last
    cdef channel_t *memory_waiting_first    # for room in the queue, without a message offered; first come, first served
    cdef channel_t *memory_waiting_last
    cdef size_t room_promised               # of the queue, to channels that waited for it
    cdef message_t *buried                  # messages dropped where no Python object may be touched
    # frames
    cdef PyObject *block                    # bytes under construction, owned
    cdef char *block_start
    cdef size_t used
    cdef size_t room
    cdef size_t next_room
    cdef list segments                      # sealed, in order
    cdef size_t sealed
    cdef double now                         # as last told
    cdef uint32_t held_back                 # Hold: any of them, and nothing is written directly
    # what a broken connection may have lost
    cdef replay_t log
    cdef double log_full_since
    cdef double log_full_time               # seconds, in all
    cdef uint32_t slots
    cdef bint over                          # the session has ended: nothing more is accepted
    # facts
    cdef readonly uint64_t sent_frames      # sequenced ones
    cdef uint64_t sent_sizes                # the sum of their sizes
    cdef uint64_t dropped_messages          # accepted, and dropped by a reset before they were written whole
    cdef readonly uint64_t sent_messages
    cdef readonly uint64_t sent_bytes       # of messages

    cdef void charge(self, int64_t size) noexcept nogil         # the session holds so much more, or less

    # sending, in the order of a message's life
    cdef int send_small(self, channel_t *channel, const char *data, size_t size) noexcept nogil      # copies; size <= INLINE
    cdef int send_object(self, channel_t *channel, bytes message) except? -100                 # keeps a reference
    cdef int offer(self, channel_t *channel, bytes message) except? -100                       # the same, and leaves it here to wait
    cdef bint settle_offer(self, channel_t *channel) noexcept nogil                            # whether it was accepted; else it is gone
    cdef void wait_for_room(self, channel_t *channel, size_t size) noexcept nogil              # for who did not offer it
    cdef void stop_waiting(self, channel_t *channel) noexcept nogil
    cdef list collect(self, size_t limit)                       # bytes objects to be written now, about `limit` bytes
    cdef bint has_output(self) noexcept nogil

    # for the incoming half
    cdef int admit(self, channel_t *channel, size_t size) noexcept nogil
    cdef bint fits(self, size_t cost) noexcept nogil
    cdef bint has_room(self, channel_t *channel, size_t cost) noexcept nogil
    cdef size_t give_room_back(self, channel_t *channel) noexcept nogil
    cdef message_t *append(self, channel_t *channel, const char *data, size_t size, PyObject *owner) noexcept nogil
    cdef int enqueue(self, channel_t *channel, const char *data, size_t size, PyObject *owner) noexcept nogil    # counts no reference
    cdef void mark_dirty(self, channel_t *channel, int dirt) noexcept nogil
    cdef void tell(self, channel_t *channel) noexcept nogil
    cdef void mark_writable(self, channel_t *channel) noexcept nogil
    cdef void accept(self, channel_t *channel, message_t *message) noexcept nogil
    cdef void accept_offer(self, channel_t *channel) noexcept nogil
    cdef void withdraw(self, channel_t *channel) noexcept nogil
    cdef void say_blocked(self, channel_t *channel) noexcept nogil
    cdef void say_session_blocked(self, size_t cost) noexcept nogil
    cdef void wake_memory(self) noexcept nogil
    cdef int write_dirty(self) except -1
    cdef void want(self, channel_t *channel, size_t cost) noexcept nogil
    cdef void join_memory_line(self, channel_t *channel) noexcept nogil
    cdef void drop_queue(self, channel_t *channel) noexcept nogil
    cdef void bury(self, channel_t *channel) noexcept nogil
    cdef int reserve(self, size_t size) except -1
    cdef int seal(self) except -1
    cdef int let_block_go(self) except -1
    cdef int hand_over(self, segment, const char *data, size_t size, bint sequenced) except -1
    cdef void judge_log(self) noexcept nogil                    # whether data may be written
    cdef void hold_for_log(self) noexcept nogil
    cdef bint log_over(self) noexcept nogil                     # whether even control frames may not
    cdef uint64_t acknowledgeable(self) noexcept nogil          # frames that the peer may have by now
    cdef void acknowledged(self, uint64_t frames) noexcept nogil
    cdef list collect_again(self, size_t limit)                 # what collect() does while frames are sent again
    cdef uint64_t unsent_messages(self) noexcept nogil
    cdef int put(self, uint64_t channel, int kind, const char *payload, size_t size) except -1
    cdef channel_t *whose_turn(self) noexcept nogil             # NULL: nobody's
    cdef int fill(self, size_t limit) except -1
    cdef void message_written(self, channel_t *channel) noexcept nogil
    cdef void tell_offer(self, channel_t *channel) noexcept nogil
    cdef int fragment(self, channel_t *channel, size_t size, bint last) except -1
    cdef int put_dirt(self, channel_t *channel) except -1
    cdef int put_slots(self) except -1                          # the machine's part
    cdef void finish_written(self, channel_t *channel) noexcept nogil
    cdef void settle(self, channel_t *channel) noexcept nogil   # free it, if nothing holds it any more
    cdef void exhume(self)
