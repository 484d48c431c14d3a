# Who may send next. Four priority classes; inside a class, deficit round robin (Shreedhar and Varghese, 1995) over the channels that
# have messages queued. Between classes the higher goes first, as long as its share lasts: a class that is always busy cannot starve a
# lower one, it only gets the greater part (256 : 64 : 16 : 4).
from libc.stdint cimport int64_t, uint64_t

from ._table cimport IN_READY, channel_t

cdef enum:
    CLASSES = 4
    QUANTUM = 2_048                 # bytes that a channel earns a turn; who sends a larger frame sits out the next ones
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
    """Pass the turn on. With each turn, used or not, a channel earns one quantum."""
    cdef channel_t *channel = line.first
    channel.deficit += QUANTUM
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
                if line.first == line.last:     # alone: there is nobody to wait for
                    line.first.deficit = QUANTUM
                while line.first.deficit <= 0:  # overdrawn by a large frame: waits until it has paid
                    schedule_rotate(line)
                return line.first
        for index in range(CLASSES):            # everyone who waits has used up his share: a new round
            schedule.classes[index].share = min(
                schedule.classes[index].share + (<int64_t>SMALLEST_SHARE << 2 * (CLASSES - 1 - index)),
                <int64_t>SMALLEST_SHARE << 2 * (CLASSES - 1 - index),
            )


cdef inline channel_t *schedule_begun(schedule_t *schedule) noexcept nogil:
    """A channel whose first message is paid for, whose turn it ever is; or NULL."""
    cdef channel_t *channel
    cdef int index
    for index in range(CLASSES):
        channel = schedule.classes[index].first
        while channel != NULL:
            if channel.first != NULL and channel.first.paid:
                return channel
            channel = channel.next_ready
    return NULL


cdef inline void schedule_remove(schedule_t *schedule, channel_t *channel) noexcept nogil:
    """Take out the channel whose turn it is."""
    cdef class_t *line = &schedule.classes[channel.priority]
    line.first = channel.next_ready
    if line.first == NULL:
        line.last = NULL
    channel.flags &= ~<int>IN_READY
    schedule.waiting -= 1


cdef inline void schedule_charge(schedule_t *schedule, channel_t *channel, size_t size) noexcept nogil:
    """Count `size` bytes sent by a channel; pass the turn on when it had it, and has used it up."""
    cdef class_t *line = &schedule.classes[channel.priority]
    line.share -= <int64_t>size
    channel.deficit -= <int64_t>size
    if channel.deficit <= 0 and line.first == channel:
        schedule_rotate(line)
