# ChannelHost: what a channel needs of its session; the session itself is in _session.
from ._engine cimport Engine

cdef class ChannelHost:
    cdef readonly Engine engine
    cdef readonly object loop
    cdef object create_future           # of the loop
    cdef object failure                 # the exception that ended the session, or None
    cdef bint turn_due                  # a turn is scheduled
    cdef bint delivering                # reporting what the engine understood: nothing is written, no task runs
    cdef list awake                     # wake-ups of receivers, fired when all is delivered
    cdef int woken                      # other tasks woken in this dispatch, through the loop
    cdef int output_ready(self) except -1               # something to write: schedule a turn
    cdef int flush(self) except -1                      # write now
