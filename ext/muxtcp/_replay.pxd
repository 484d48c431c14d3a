# The replay log: sequenced frames that were sent, kept until the peer acknowledges them (docs/PROTOCOL.md, section 11).
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from ._flow cimport budget_t

cdef enum:
    KEPT_COST = 64                  # of a kept segment beside its bytes: its object and its entry
    CONTROL_RESERVE = 65_536        # of the log's limit: for control frames, which do not wait for data to be acknowledged

cdef struct kept_t:                 # a segment as it was given to the transport: no copy is made of it
    PyObject *segment               # counted
    const char *data
    size_t size
    uint64_t frames                 # sequenced frames up to its end; a frame counts where its header is
    uint64_t bytes                  # the sum of their sizes

cdef struct replay_t:
    bint on                         # the session is resumable
    kept_t *ring
    size_t first
    size_t count
    size_t room                     # a power of two
    uint64_t kept_frames            # the newest frame that was kept
    uint64_t released_frames        # up to the end of the last segment that was let go
    uint64_t released_bytes
    uint64_t acknowledged           # frames that the peer said it has
    size_t held                     # what the kept segments cost
    size_t limit
    budget_t *budget                # of all sessions
    size_t cursor                   # the segment to be sent again next: 0 is the oldest
    size_t offset                   # where in it
    size_t left                     # bytes at its beginning that belong to a frame which began before it

cdef int replay_keep(
    replay_t *log, object segment, const char *data, size_t size, uint64_t frames, uint64_t bytes
) except -1
cdef void replay_release(replay_t *log, uint64_t frames) noexcept with gil      # whole segments up to there are let go
cdef bint replay_full(replay_t *log, size_t size) noexcept nogil                # whether `size` more bytes of data must wait
cdef uint64_t replay_bytes_at(replay_t *log, uint64_t frames) noexcept nogil    # the sum of sizes up to there
cdef uint64_t replay_messages_after(replay_t *log, uint64_t frames) noexcept nogil
cdef void replay_rewind(replay_t *log, uint64_t frames) noexcept nogil          # what follows is to be sent again
cdef bint replay_again(replay_t *log, list segments, size_t limit) except -1    # about `limit` bytes of it; False: that was all
cdef uint64_t replay_sent(replay_t *log) noexcept nogil                         # frames up to where it is
cdef void replay_free(replay_t *log)
