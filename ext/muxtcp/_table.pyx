"""Channels by id, and the transition table of their states (docs/PROTOCOL.md, section 8).

Rules: a channel has one state; only `after()` moves it; a step that the table calls ILLEGAL is our caller's mistake, one that it calls
AFTER_FINISH the peer's. The two directions of a channel end separately (FINISH) or together (RESET). A peer that resets must still hear
the other's last word (FINISH or RESET) before it may forget the channel: that is LOCAL_RESET, and it is what makes "frame on a channel
that ended" an exact violation instead of a guess about what may still be under way.
"""

from libc.stdlib cimport calloc, free


cdef bint table_grow(table_t *table) noexcept nogil:
    cdef table_t larger
    cdef size_t index
    larger.room = table.room * 2 if table.room else 16
    larger.used = 0
    larger.slots = <channel_t **>calloc(larger.room, sizeof(channel_t *))
    if larger.slots == NULL:
        return False
    for index in range(table.room):
        if table.slots[index] != NULL:
            table_add(&larger, table.slots[index])
    free(table.slots)
    table[0] = larger
    return True


cdef bint table_add(table_t *table, channel_t *channel) noexcept nogil:
    """Put `channel` behind those with the same place, and push back those that are nearer to theirs (Robin Hood)."""
    cdef size_t at, mask, there, distance = 0
    cdef channel_t *pushed
    if (table.used + 1) * 2 > table.room and not table_grow(table):         # at most half full: short probes
        return False
    channel.flags |= IN_TABLE
    mask = table.room - 1
    at = place_of(channel.id, table.room)
    while table.slots[at] != NULL:
        there = distance_of(table, at)
        if there < distance:
            pushed = table.slots[at]
            table.slots[at] = channel
            channel, distance = pushed, there
        at = (at + 1) & mask
        distance += 1
    table.slots[at] = channel
    table.used += 1
    return True


cdef void table_remove(table_t *table, channel_t *channel) noexcept nogil:
    """Take `channel` out and move back what had been pushed past it: no tombstones.

    Whoever is at its own place ends that, so it takes no longer in a row of a million neighbours.
    """
    cdef size_t mask = table.room - 1
    cdef size_t gap = place_of(channel.id, table.room)
    cdef size_t at
    while table.slots[gap] != channel:
        gap = (gap + 1) & mask
    while True:
        at = (gap + 1) & mask
        if table.slots[at] == NULL or distance_of(table, at) == 0:
            break
        table.slots[gap] = table.slots[at]
        gap = at
    table.slots[gap] = NULL
    table.used -= 1
    channel.flags &= ~<int>IN_TABLE


cdef channel_t *channel_new(uint64_t id) noexcept nogil:
    cdef channel_t *channel = <channel_t *>calloc(1, sizeof(channel_t))
    if channel != NULL:
        channel.id = id
    return channel


cdef void channel_free(channel_t *channel) noexcept nogil:
    free(channel.partial)
    free(channel.text)
    free(channel.reason)
    free(channel)


# The Python face: the table as data, for the tests that check it against the specification's.

STATES = ("OPEN", "LOCAL_FINISHED", "REMOTE_FINISHED", "LOCAL_RESET", "CLOSED")
STEPS = ("S_FINISH", "S_RESET", "R_DATA", "R_FINISH", "R_RESET")
OUTCOMES = STATES + ("ILLEGAL", "DISCARD", "AFTER_FINISH")


def transition(state: str, step: str) -> str:
    """What `step` leads to from `state`, all by name."""
    return OUTCOMES[after(STATES.index(state), STEPS.index(step))]


def exercise(operations: list) -> list:
    """Run ("add" | "remove" | "find", id) operations on a table and return what each find saw (for property tests)."""
    cdef table_t table
    cdef channel_t *channel
    cdef size_t index
    table.slots, table.room, table.used = NULL, 0, 0
    seen = []
    for name, id in operations:
        channel = table_find(&table, id)
        if name == "find":
            seen.append(channel != NULL)
        elif name == "add" and channel == NULL:
            channel = channel_new(id)
            if channel == NULL or not table_add(&table, channel):
                raise MemoryError
        elif name == "remove" and channel != NULL:
            table_remove(&table, channel)
            channel_free(channel)
    for index in range(table.room):
        if table.slots[index] != NULL:
            channel_free(table.slots[index])
    free(table.slots)
    return seen
