# Who may send next. Four priority classes; inside a class, deficit round robin (Shreedhar and Varghese, 1995) over the channels that
# have messages queued. Between classes the higher goes first, as long as its share lasts: a class that is always busy cannot starve a
# lower one, it only gets the greater part (256 : 64 : 16 : 4).
from libc.stdint cimport int64_t, uint64_t

from ._table cimport IN_READY, channel_t

cdef enum:
    CLASSES = 4
    QUANTUM = 16_384                # of a channel: one fragment's worth a turn
    SMALLEST_SHARE = 4_096          # of the lowest class; each higher one has four times as much

cdef struct class_t:
    channel_t *first
    channel_t *last
    int64_t share                   # bytes left before a lower class gets its turn

cdef struct schedule_t:
    class_t classes[CLASSES]
    size_t waiting                  # channels in all classes


cdef inline void schedule_add(schedule_t *schedule, channel_t *channel) noexcept nogil:
    """Put a channel that has something to send at the end of its class; harmless when it is there already."""
    cdef class_t *line = &schedule.classes[channel.priority]
    if channel.flags & IN_READY:
        return
    channel.flags |= IN_READY
    channel.next_ready = NULL
    channel.deficit = QUANTUM
    if line.last == NULL:
        line.first = channel
    else:
        line.last.next_ready = channel
    line.last = channel
    schedule.waiting += 1


cdef inline void schedule_rotate(class_t *line) noexcept nogil:
    cdef channel_t *channel = line.first
    if line.last != channel:
        line.first = channel.next_ready
        channel.next_ready = NULL
        line.last.next_ready = channel
        line.last = channel


cdef inline channel_t *schedule_next(schedule_t *schedule) noexcept nogil:
    """The channel whose turn it is, or NULL."""
    cdef class_t *line
    cdef int index
    if schedule.waiting == 0:
        return NULL
    while True:
        for index in range(CLASSES):
            line = &schedule.classes[index]
            if line.first != NULL and line.share > 0:
                while line.first.deficit <= 0:  # overdrawn by its last turn: waits until it has paid
                    line.first.deficit += QUANTUM
                    schedule_rotate(line)
                return line.first
        for index in range(CLASSES):            # everyone who waits has used up his share: a new round
            schedule.classes[index].share = min(
                schedule.classes[index].share + (<int64_t>SMALLEST_SHARE << 2 * (CLASSES - 1 - index)),
                <int64_t>SMALLEST_SHARE << 2 * (CLASSES - 1 - index),
            )


cdef inline void schedule_remove(schedule_t *schedule, channel_t *channel) noexcept nogil:
    """Take out the channel whose turn it is."""
    cdef class_t *line = &schedule.classes[channel.priority]
    line.first = channel.next_ready
    if line.first == NULL:
        line.last = NULL
    channel.flags &= ~<int>IN_READY
    schedule.waiting -= 1


cdef inline void schedule_charge(schedule_t *schedule, channel_t *channel, size_t size) noexcept nogil:
    """Count `size` bytes sent by the channel whose turn it is; pass the turn on when its quantum is used up."""
    cdef class_t *line = &schedule.classes[channel.priority]
    line.share -= <int64_t>size
    channel.deficit -= <int64_t>size
    if channel.deficit <= 0:
        schedule_rotate(line)
