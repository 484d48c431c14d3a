# ChannelHost: what a channel needs of its session; the session itself is in _session.
from cpython.pythread cimport PyThread_get_thread_ident

from ._engine cimport Engine

cdef enum:
    # What a session may do in one turn of the loop before the others have theirs, in units of about a sixteenth of a microsecond. A
    # message that arrives, is received or is sent is four, 64 bytes read or written are one, and so are two frames that are read; a
    # channel that is opened is 1,024, and one that its peer ends, and with it mostly a task, is 256; one that this side opens is 64.
    # Together a millisecond: less, and the turns themselves cost too much; more, and one session holds up the others.
    SHARE = 16_384
    MESSAGE_UNITS = 4
    BYTES_SHIFT = 6
    FRAMES_SHIFT = 1
    OPENED_UNITS = 1_024
    ENDED_UNITS = 256
    OPENING_UNITS = 64
    LARGEST_BATCH = 4_096               # messages

cdef class ChannelHost:
    cdef readonly Engine engine
    cdef readonly object loop
    cdef long thread                    # the loop's
    cdef object create_future           # of the loop
    cdef object failure                 # the exception that ended the session, or None
    cdef bint turn_due                  # a turn is scheduled
    cdef bint delivering                # reporting what the engine understood: nothing is written, no task runs
    cdef list awake                     # wake-ups of receivers, fired when all is delivered
    cdef int woken                      # other tasks woken in this dispatch, through the loop
    cdef Py_ssize_t left                # of this turn's share
    cdef int begin_share(self) except -1
    cdef int output_ready(self) except -1               # something to write: schedule a turn
    cdef int flush(self) except -1                      # write now
    cdef int give_way(self) except -1                   # the share is used up: others have their turn
    cdef int called_elsewhere(self) except -1

cdef inline int check_thread(ChannelHost host) except -1:
    """Raise RuntimeError in any thread but the loop's. Two instructions and a load where it is the right one."""
    return 0 if PyThread_get_thread_ident() == host.thread else host.called_elsewhere()
