"""Who may send next, as a Python function for the tests of fairness; the machine uses the inline functions of the `.pxd`."""

from libc.string cimport memset

from ._table cimport channel_free, channel_new


def order(channels: list, int turns) -> list:
    """Let channels `(id, priority, message size)` that always have something to send take `turns` turns; who sent, in order."""
    cdef schedule_t schedule
    cdef channel_t *channel
    memset(&schedule, 0, sizeof(schedule))
    sizes = {}
    for id, priority, size in channels:
        channel = channel_new(id)
        if channel == NULL:
            raise MemoryError
        channel.priority = priority
        sizes[id] = size
        schedule_add(&schedule, channel)
    sent = []
    for _ in range(turns):
        channel = schedule_next(&schedule)
        sent.append(channel.id)
        schedule_charge(&schedule, channel, sizes[channel.id])
    while schedule.waiting:
        channel = schedule_next(&schedule)
        schedule_remove(&schedule, channel)
        channel_free(channel)
    return sent
