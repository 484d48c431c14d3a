# channel_t: what the machine knows of one channel; its states and their transitions; the table id -> channel_t.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from ._flow cimport incoming_t, outgoing_t
from ._wire cimport MAX_PAIRS

cdef enum:
    CHANNEL_COST = 5_120            # of a channel with its handler's task, beside messages, name and meta; measured, rounded up
    PAIR_COST = 160                 # of a pair of meta once it is read, beside its text: two objects in a dict

cdef enum State:                    # docs/PROTOCOL.md, section 8
    OPEN_STATE = 0
    LOCAL_FINISHED = 1
    REMOTE_FINISHED = 2
    LOCAL_RESET = 3
    CLOSED = 4

cdef enum Step:                     # what moves a channel on; S = sent by us, R = received
    S_FINISH = 0
    S_RESET = 1
    R_DATA = 2
    R_FINISH = 3
    R_RESET = 4

cdef enum Outcome:                  # beside the states, what a step may lead to
    ILLEGAL = 5                     # ours: the caller's mistake
    DISCARD = 6                     # stay, ignore what came
    AFTER_FINISH = 7                # the peer's violation DATA_AFTER_FINISH

cdef enum Flag:
    IN_READY = 1                    # in the scheduler
    IN_DIRTY = 2                    # has control frames to write
    IN_WRITABLE = 4                 # a WRITABLE event is owed
    TAKEN = 8                       # the message that a waiting sender had offered was accepted
    RELEASED = 16                   # nobody looks at it any more
    WANTS_WRITE = 32                # a send was turned away
    WANTS_FINISH = 64               # FINISH follows the queued messages
    WANTS_RESET = 128               # RESET follows the FINISH
    OURS = 256                      # we opened it
    IN_MEMORY_LINE = 512            # waits for room in the session's queue
    IN_TABLE = 1024                 # may be found by its id
    SERVED = 2048                   # a handler runs for it, and holds its slot
    KEPT = 4096                     # its owner is told of what happens, and kept alive for that

cdef enum Dirt:                     # control frames owed, coalesced: at most one of each
    CREDIT_DIRT = 1
    BLOCKED_DIRT = 2
    FINISH_DIRT = 4
    RESET_DIRT = 8

cdef struct message_t:              # a message accepted for sending, not yet written
    message_t *next
    void *owner                     # the bytes object that `data` points into, counted; NULL when it follows this struct
    const char *data
    size_t size
    size_t written
    bint paid                       # holds credit of the session: its first frame is written, or about to be

cdef struct channel_t:
    uint64_t id
    void *owner                     # the Channel that shows it to the user; counted while KEPT
    channel_t *next_ready
    channel_t *next_dirty
    channel_t *next_writable
    channel_t *next_in_memory_line
    outgoing_t outgoing
    incoming_t incoming
    message_t *first
    message_t *last
    message_t *offered              # the last one, while it is not accepted: its sender waits
    size_t queued                   # cost of what is accepted and not written
    size_t need                     # cost of the message that was turned away last
    size_t room_promised            # room in the queue set aside for it
    int64_t deficit                 # of deficit round robin
    double opened_at
    char *partial                   # fragments so far of a message that is arriving
    size_t partial_size
    size_t partial_room
    char *text                      # what the peer's OPEN said
    char *reason                    # of our RESET
    uint64_t reset_code
    uint32_t text_size
    uint32_t reason_size
    uint16_t flags
    uint8_t state
    uint8_t priority
    uint8_t dirt

cdef struct table_t:                # open addressing, linear probing by distance (Robin Hood), power of two
    channel_t **slots
    size_t room
    size_t used

cdef extern from *:
    """
    /* rows: state; columns: S_FINISH, S_RESET, R_DATA, R_FINISH, R_RESET */
    static const unsigned char muxtcp_transitions[5][5] __attribute__((unused)) = {
        /* OPEN            */ {1, 3, 0, 2, 4},
        /* LOCAL_FINISHED  */ {5, 3, 1, 4, 4},
        /* REMOTE_FINISHED */ {4, 4, 7, 7, 4},
        /* LOCAL_RESET     */ {5, 5, 6, 4, 4},
        /* CLOSED          */ {5, 5, 7, 7, 6},
    };
    """
    const uint8_t transitions "muxtcp_transitions"[5][5]


cdef inline int after(int state, int step) noexcept nogil:
    """The state (or Outcome) that `step` leads to."""
    return transitions[state][step]


cdef inline size_t place_of(uint64_t id, size_t room) noexcept nogil:
    """Ids of one peer are consecutive with one parity: fold the parity away, and neighbours get neighbouring slots."""
    return ((id >> 1) + (id & 1) * (room >> 1)) & (room - 1)


cdef inline int64_t cost_of(channel_t *channel) noexcept nogil:
    """What a channel takes of the process's memory: what its OPEN said is kept, and read, where a character may take four bytes."""
    cdef int64_t size = channel.text_size
    return CHANNEL_COST + 5 * size + PAIR_COST * min(size >> 1, <int64_t>MAX_PAIRS)


cdef inline size_t distance_of(table_t *table, size_t at) noexcept nogil:
    """How far the channel in a slot is from its own place."""
    return (at - place_of(table.slots[at].id, table.room)) & (table.room - 1)


cdef inline channel_t *table_find(table_t *table, uint64_t id) noexcept nogil:
    cdef size_t at, distance = 0
    cdef channel_t *channel
    if table.used == 0:
        return NULL
    at = place_of(id, table.room)
    while True:
        channel = table.slots[at]
        if channel == NULL or channel.id == id:
            return channel
        if distance_of(table, at) < distance:                               # it would be here already
            return NULL
        at = (at + 1) & (table.room - 1)
        distance += 1


cdef bint table_add(table_t *table, channel_t *channel) noexcept nogil      # False: out of memory
cdef void table_remove(table_t *table, channel_t *channel) noexcept nogil
cdef channel_t *channel_new(uint64_t id) noexcept nogil                     # NULL: out of memory
cdef void channel_free(channel_t *channel) noexcept nogil                   # its messages must be gone
