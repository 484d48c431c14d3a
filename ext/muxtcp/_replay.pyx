"""The replay log (docs/PROTOCOL.md, section 11).

It holds the very objects that were given to the transport, so that keeping costs a reference and not a copy. Frames of channel 0 lie
between the sequenced ones; they are found and left out when frames are sent again, which is rare, and not when they are kept.
"""

from cpython.bytes cimport PyBytes_CheckExact
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc

from . cimport _wire
from ._flow cimport budget_has
from ._wire cimport MAX_VARINT_BYTES, read_varint


cdef inline kept_t *entry(replay_t *log, size_t index) noexcept nogil:
    return &log.ring[(log.first + index) & (log.room - 1)]


cdef int replay_keep(
    replay_t *log, object segment, const char *data, size_t size, uint64_t frames, uint64_t bytes
) except -1:
    cdef kept_t *larger
    cdef kept_t *to
    cdef size_t index, room
    if log.count == log.room:
        room = log.room * 2 if log.room else 16
        larger = <kept_t *>malloc(room * sizeof(kept_t))
        if larger == NULL:
            raise MemoryError
        for index in range(log.count):
            larger[index] = entry(log, index)[0]
        free(log.ring)
        log.ring, log.first, log.room = larger, 0, room
    to = entry(log, log.count)
    log.count += 1
    Py_INCREF(segment)
    to.segment, to.data, to.size, to.frames, to.bytes = <PyObject *>segment, data, size, frames, bytes
    log.kept_frames = frames
    log.held += size + KEPT_COST
    log.budget.used += size + KEPT_COST
    log.budget.replay_used += size + KEPT_COST
    return 0


cdef void replay_release(replay_t *log, uint64_t frames) noexcept with gil:
    cdef kept_t *oldest
    cdef size_t cost
    while log.count:
        oldest = entry(log, 0)
        if oldest.frames > frames:
            return
        cost = oldest.size + KEPT_COST
        log.held -= cost
        log.budget.used -= cost
        log.budget.replay_used -= cost
        log.released_frames, log.released_bytes = oldest.frames, oldest.bytes
        log.first = (log.first + 1) & (log.room - 1)
        log.count -= 1
        if log.cursor:
            log.cursor -= 1
        else:
            log.offset = log.left = 0
        Py_DECREF(<object>oldest.segment)


cdef bint replay_full(replay_t *log, size_t size) noexcept nogil:
    if log.held == 0:
        return False                                            # whatever the limits are, something may be on its way
    if log.held + size + CONTROL_RESERVE > log.limit:
        return True
    return log.budget.replay_used + <int64_t>size > log.budget.replay_limit or not budget_has(log.budget, size)


cdef inline size_t next_frame(const char *at, const char *end, uint64_t *tag) noexcept nogil:
    """The size of the frame at `at`, which may go on in the next segment."""
    cdef uint64_t length = 0
    cdef int header = read_varint(at, end, _wire.MAX_LENGTH_BYTES, &length)
    read_varint(at + header, end, MAX_VARINT_BYTES, tag)
    return header + length


cdef struct place_t:
    size_t index                    # of a segment
    size_t offset                   # in it
    uint64_t bytes                  # sum of sizes up to there


cdef place_t locate(replay_t *log, uint64_t frames) noexcept nogil:
    """Where the frame after `frames` begins. The header of a frame never lies across two segments; its payload may be the next one."""
    cdef place_t place
    cdef uint64_t before = log.released_frames
    cdef uint64_t tag = 0
    cdef size_t size
    cdef kept_t *kept
    place.index = place.offset = 0
    place.bytes = log.released_bytes
    while place.index < log.count:
        kept = entry(log, place.index)
        if kept.frames > frames:
            break
        before, place.bytes = kept.frames, kept.bytes
        place.index += 1
    if place.index < log.count:
        while before < frames:
            size = next_frame(kept.data + place.offset, kept.data + kept.size, &tag)
            place.offset += size
            if tag >> 3:
                before += 1
                place.bytes += size
    return place


cdef uint64_t replay_bytes_at(replay_t *log, uint64_t frames) noexcept nogil:
    return locate(log, frames).bytes


cdef uint64_t replay_messages_after(replay_t *log, uint64_t frames) noexcept nogil:
    cdef place_t place = locate(log, frames)
    cdef uint64_t messages = 0, tag = 0
    cdef size_t offset = place.offset
    cdef kept_t *kept
    while place.index < log.count:
        kept = entry(log, place.index)
        while offset < kept.size:
            offset += next_frame(kept.data + offset, kept.data + kept.size, &tag)
            messages += tag >> 3 != 0 and tag & 7 == _wire.DATA
        offset -= kept.size                                     # of a payload that is the next segment
        place.index += 1
    return messages


cdef void replay_rewind(replay_t *log, uint64_t frames) noexcept nogil:
    cdef place_t place = locate(log, frames)
    log.cursor, log.offset, log.left = place.index, place.offset, 0


cdef int append(list segments, kept_t *kept, const char *start, const char *end) except -1:
    segment = <object>kept.segment
    if start == kept.data and end == kept.data + kept.size:
        segments.append(segment)
    elif end > start:
        view = segment if not PyBytes_CheckExact(segment) else memoryview(segment)
        segments.append(view[start - kept.data : end - kept.data])
    return 0


cdef bint replay_again(replay_t *log, list segments, size_t limit) except -1:
    cdef kept_t *kept
    cdef const char *at
    cdef const char *end
    cdef const char *start                                      # of a run of sequenced frames
    cdef uint64_t tag = 0
    cdef size_t size, total = 0
    while log.cursor < log.count and (total < limit or log.left):      # records may come between frames only
        kept = entry(log, log.cursor)
        end = kept.data + kept.size
        start = kept.data + log.offset
        at = start + log.left
        log.left = 0
        while at < end:
            size = next_frame(at, end, &tag)
            if tag >> 3 == 0:
                append(segments, kept, start, at)
                start = at + size
            elif size > <size_t>(end - at):
                log.left = size - (end - at)
                break
            at += size
        append(segments, kept, start, end)
        total += kept.size
        log.cursor += 1
        log.offset = 0
    return log.cursor < log.count


cdef uint64_t replay_sent(replay_t *log) noexcept nogil:
    return entry(log, log.cursor - 1).frames if log.cursor else log.released_frames


cdef void replay_free(replay_t *log):
    replay_release(log, log.kept_frames)
    free(log.ring)
    log.ring = NULL
    log.room = 0
