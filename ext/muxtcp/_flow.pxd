# Credit arithmetic on plain structs: the same for a channel and for the session (docs/PROTOCOL.md, section 7). Limits are
# cumulative byte counts, so nothing here is ever subtracted from, and a repeated announcement is harmless.
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    MESSAGE_COST = 64               # beside its bytes: a flood of empty messages pays
    MAX_LIMIT_BITS = 53             # limits stay exact in a double, for JavaScript's sake


cdef struct budget_t:               # what all sessions of a process may cost together
    int64_t limit                   # < 0: no limit
    int64_t used
    int64_t replay_limit            # of it, for replay logs
    int64_t replay_used
    int64_t alarm                   # somebody is to be told when so much is used


cdef struct outgoing_t:             # what we may send
    uint64_t limit                  # granted by the peer
    uint64_t used
    uint64_t blocked                # the limit at which BLOCKED was said last, so that it is said once


cdef struct incoming_t:             # what the peer may send
    uint64_t granted                # the limit we announced
    uint64_t received               # cost of what has arrived
    uint64_t consumed               # cost of what the user has taken
    uint64_t need                   # the limit the peer asked for (BLOCKED)
    uint64_t stood                  # the highest limit at which it said so, and 1; 0: it never did
    uint64_t window                 # our target for granted - consumed
    uint64_t lowest                 # least of received - consumed since `since`: a standing queue, if above 0
    uint64_t consumed_then          # at `since`
    double since                    # when the present measurement began
    double used_at                  # when a round trip last consumed an eighth of the window


cdef inline bint budget_has(budget_t *budget, int64_t size) noexcept nogil:
    return budget.limit < 0 or budget.used + size <= budget.limit


cdef inline bint budget_grow(budget_t *budget, int64_t size) noexcept nogil:
    """Take `size` for a larger window. That is a comfort, and the last fifth is for what is not."""
    if not budget_has(budget, size + budget.limit // 5):
        return False
    budget.used += size
    return True


cdef inline uint64_t credit_left(outgoing_t *flow) noexcept nogil:
    return flow.limit - flow.used


cdef inline bint charge(incoming_t *flow, uint64_t cost) noexcept nogil:
    """Count what has arrived; False when it passes the limit."""
    flow.received += cost
    return flow.received <= flow.granted


cdef inline void consume(incoming_t *flow, uint64_t cost) noexcept nogil:
    flow.consumed += cost
    if flow.received - flow.consumed < flow.lowest:
        flow.lowest = flow.received - flow.consumed


cdef inline bint grant_due(incoming_t *flow) noexcept nogil:
    """Whether a grant is worth a frame: a quarter of the window (no dribble of tiny grants); or, when the peer is blocked, all that it
    lacks, or all that there is once everything is consumed (it may lack less than it said, having given a message up)."""
    cdef uint64_t next = flow.consumed + flow.window
    if next <= flow.granted:
        return False
    return next - flow.granted >= flow.window >> 2 or (
        flow.granted < flow.need and (flow.need <= next or flow.consumed == flow.received)
    )


cdef inline uint64_t lacking(incoming_t *flow, uint64_t largest) noexcept nogil:
    """The least window that lets a blocked peer send its message, once all before it is consumed; 0 when it is not blocked.

    What the peer needs counts messages that are still on their way, behind the announcement: never more than the `largest` cost of one.
    """
    return min(flow.need - flow.received, largest) if flow.need > flow.granted else 0


cdef inline void measure(incoming_t *flow, double now) noexcept nogil:
    """Begin a new measurement."""
    flow.since = now
    flow.consumed_then = flow.consumed
    flow.lowest = flow.received - flow.consumed


cdef inline uint64_t wanted_window(
    incoming_t *flow, double now, double rtt, uint64_t idle, uint64_t smallest, uint64_t largest,
) noexcept nogil:
    """The window that suits what was consumed per round trip (go-yamux#136: not per fixed time).

    Twice what a round trip consumes keeps a sender busy while the grant travels; the window doubles when it is less than that, and
    halves when no round trip has used an eighth of it for ten seconds. All this is said of the part that is not `idle`, which
    nobody has taken in all that time. Returns the present window while there is nothing to judge.
    """
    cdef double elapsed = now - flow.since
    cdef double per_trip
    cdef uint64_t busy
    if not (rtt > 0 and elapsed >= rtt):
        return flow.window
    busy = flow.window - min(idle, flow.window)
    per_trip = <double>(flow.consumed - flow.consumed_then) * rtt / elapsed
    if per_trip * 8 >= <double>busy or flow.window <= smallest:
        flow.used_at = now
    if per_trip * 2 > <double>busy and flow.window < largest:
        return min(idle + max(busy * 2, smallest), largest)
    if now - flow.used_at >= 10.0:
        flow.used_at = now
        return max(idle + (busy >> 1), smallest)
    return flow.window
