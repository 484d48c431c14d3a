# How large the buffer is that the machine lends to whoever reads: small for whoever says little, ample for the busy.

cdef enum:
    FIRST_ROOM = 1_024              # of the buffer
    GREETING_ROOM = 16_400          # the largest record of a handshake, with its header
    AMPLE_ROOM = 65_536             # once a read has filled it; a read that fills that makes it grow
    LARGEST_ROOM = 262_144          # reads larger than this are slower per byte, not faster (picows#117)


cdef inline size_t fitting_room(size_t room, size_t kept, bint filled, bint stranger) noexcept nogil:
    """The size that suits a buffer of `room` when `kept` bytes in it are not yet understood, and a read has `filled` it."""
    if room == 0:
        return FIRST_ROOM
    if stranger:                    # no more is given than has been filled
        if kept < room:
            return room
        return GREETING_ROOM if room < GREETING_ROOM < room * 2 else room * 2
    if room - kept < min(room >> 1, <size_t>AMPLE_ROOM) or filled and room < LARGEST_ROOM:
        return max(room * 2, <size_t>AMPLE_ROOM)
    return room
