# Inbox: the messages of one channel that wait for the user, and the tasks that wait for messages.
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from ._engine cimport Engine
from ._host cimport ChannelHost
from ._table cimport channel_t
from ._wakeup cimport Wakeup

cdef enum Mode:                         # what a receive awaits
    ONE = 0                             # recv(): a message, or EndOfStream
    NEXT = 1                            # async for: a message, or the end of the loop
    BATCH = 2                           # batches(): all messages that are here, or the end of the loop

cdef class Inbox:
    # identity
    cdef ChannelHost host
    cdef Engine engine
    cdef channel_t *state               # NULL once it was closed or reset by us
    cdef readonly uint64_t id
    cdef readonly str name
    cdef readonly object codec
    # the messages that wait
    cdef PyObject **ring                # owned
    cdef size_t first
    cdef size_t count
    cdef size_t room
    cdef double unread_since
    # who waits for more
    cdef list receivers                 # wake-ups of tasks
    cdef int sleeping                   # how many of them were not woken yet
    cdef object listener                # a ChannelListener in their place, or None
    cdef bint paused                    # it wants messages later
    # the end
    cdef bint finished                  # the peer has sent everything
    cdef object failure                 # why the channel is over otherwise

    cdef object take(self, int mode)
    cdef bytes drop_first(self)
    cdef object over(self, int mode)
    cdef object own(self, error)
    cdef int credit_moved(self) except -1
    cdef Wakeup sleep(self)
    cdef int wake_receiver(self) except -1
    cdef int wake_all(self) except -1
    cdef int push(self, bytes message) except -1
    cdef bytes pop(self)
    cdef int disown(self, failure) except -1
    cdef int clear(self) except -1
