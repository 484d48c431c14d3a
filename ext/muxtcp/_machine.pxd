# The machine of one session in C: bytes and commands and the time in, events and bytes out.
from libc.stdint cimport uint64_t

from ._life cimport Life
from ._table cimport channel_t

cdef enum EventKind:                # the fields that each fills are said beside it in muxtcp/_engine.pyi
    NOTHING = 0
    HELLO_EVENT = 1
    WELCOME_EVENT = 2
    REFUSED_EVENT = 3
    OPENED_EVENT = 4
    MESSAGE_EVENT = 5
    FINISHED_EVENT = 6
    RESET_EVENT = 7
    WRITABLE_EVENT = 8
    CAN_OPEN_EVENT = 9
    PONG_EVENT = 10
    GOING_AWAY_EVENT = 11
    CLOSED_EVENT = 12
    RESUMPTION_EVENT = 13
    ACKED_EVENT = 14
    BROKEN_EVENT = 15
    ENDED_EVENT = 16                # the channel is KEPT, and both of its halves are over by our own FINISH

cdef struct event_t:                # owned by the caller; what it points to is borrowed until the next call
    int kind
    channel_t *channel
    const char *data                # MESSAGE: the message; else a reason
    size_t size
    uint64_t code
    uint64_t number

cdef class Machine(Life):
    # bytes that have come and are not yet understood
    cdef char *buffer
    cdef size_t start
    cdef size_t end
    cdef size_t room
    cdef bint filled                # the last read filled the buffer: it may grow
    cdef char *lent                 # a large message's own storage, filled by the caller
    cdef size_t lent_size
    cdef size_t lent_have
    cdef size_t lent_header         # bytes before it
    cdef uint64_t lent_id
    cdef char *returned             # a message put together from fragments: freed at the next call
    cdef bint closed_told
    # facts
    cdef uint64_t parsed            # frames begun to be read
    cdef readonly uint64_t received_bytes
    cdef readonly uint64_t discarded_frames
    cdef readonly uint64_t ignored_frames

    # bytes in, events out
    cdef char *receive_space(self, size_t *size) noexcept nogil         # where to write; NULL: out of memory
    cdef void received(self, size_t size, double now) noexcept nogil
    cdef void received_eof(self, double now) noexcept nogil
    cdef bint pull(self, event_t *event) noexcept nogil                 # the next event; False: nothing more to tell
    cdef size_t large_pending(self) noexcept nogil                      # a large message has begun: its size, or 0
    cdef void lend(self, char *storage) noexcept nogil                  # storage for it, to stay until its event

    # inside: what parse() is made of; each returns False when there is nothing more to parse
    cdef void let_buffer_go(self) noexcept nogil
    cdef bint has_news(self) noexcept nogil
    cdef void next_told(self, event_t *event) noexcept nogil
    cdef int parse(self, event_t *event) noexcept nogil
    cdef int preface(self) noexcept nogil
    cdef bint http(self) noexcept nogil
    cdef int record(self, const char *at, size_t size, event_t *event) noexcept nogil
    cdef int resumption(self, int kind, const char *at, const char *end, event_t *event) noexcept nogil
    cdef int greeted(self, int kind, const char *at, const char *end, event_t *event) noexcept nogil
    cdef int channel_frame(self, uint64_t id, int kind, const char *at, size_t size, event_t *event) noexcept nogil
    cdef int opened_by_peer(self, uint64_t id, const char *at, size_t size, event_t *event) noexcept nogil
    cdef int discard(self, int kind, size_t size) noexcept nogil
    cdef int late_frame(self, uint64_t id, int kind, size_t size) noexcept nogil
    cdef int message_frame(self, channel_t *channel, int kind, const char *at, size_t size, event_t *event) noexcept nogil
    cdef int peer_finished(self, channel_t *channel, event_t *event) noexcept nogil
    cdef int peer_reset(self, channel_t *channel, uint64_t code, const char *reason, size_t size, event_t *event) noexcept nogil
