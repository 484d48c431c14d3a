# Channel: what the user holds of one channel, and the two ways to listen to it.
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from ._engine cimport Engine
from ._table cimport channel_t
from ._wakeup cimport Wakeup

cdef enum Mode:                         # what a receive awaits
    ONE = 0                             # recv(): a message, or EndOfStream
    NEXT = 1                            # async for: a message, or the end of the loop
    BATCH = 2                           # batches(): all messages that are here, or the end of the loop

cdef class ChannelHost:
    # What a channel needs of its session; the session itself is in _session.
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

cdef class ChannelListener:
    # Subclass in Python and override on_*; or in Cython and override `message`, which gets no object at all.
    cdef int message(self, Channel channel, const char *data, Py_ssize_t size) except -1
    cpdef on_message(self, Channel channel, view)
    cpdef on_writable(self, Channel channel)
    cpdef on_eof(self, Channel channel)
    cpdef on_closed(self, Channel channel, exc)

cdef class Channel:
    # identity
    cdef ChannelHost host
    cdef Engine engine
    cdef channel_t *state               # NULL once it was closed or reset by us
    cdef readonly uint64_t id
    cdef readonly str name
    cdef readonly dict meta
    cdef readonly int wish              # priority
    cdef readonly object codec
    cdef readonly object deadline       # loop time, or None
    cdef readonly object traceparent
    cdef object __weakref__
    # receiving
    cdef PyObject **ring                # messages that wait, owned
    cdef size_t first
    cdef size_t count
    cdef size_t room
    cdef list receivers                 # wake-ups of tasks that wait
    cdef int sleeping                   # how many of them were not woken yet
    cdef ChannelListener listener
    cdef bint finished                  # the peer has sent everything
    cdef object failure                 # why the channel is over otherwise
    cdef double unread_since
    # sending
    cdef list senders                   # futures of tasks that wait
    cdef int held                       # why send() was turned away last (Sent), 0 when it was not
    cdef double held_since

    # for the session: what the engine reports
    cdef int deliver(self, const char *data, Py_ssize_t size, bytes whole) except -1
    cdef int peer_finished(self) except -1
    cdef int fail(self, exc) except -1
    cdef int writable(self) except -1
    cdef int tell_closed(self, exc) except -1
    # inside
    cdef int push(self, bytes message) except -1
    cdef bytes pop(self)
    cdef int clear(self) except -1
    cdef object take(self, int mode)
    cdef bytes drop_first(self)
    cdef object over(self, int mode)
    cdef object own(self, error)
    cdef Wakeup sleep(self)
    cdef int wake_receiver(self) except -1
    cdef int wake_all(self) except -1
    cdef int wake_sender(self) except -1
    cdef int try_send(self, bytes message) except? -100
    cdef int credit_moved(self) except -1
    cdef int let_go(self) except -1

cdef Channel new_channel(ChannelHost host, channel_t *state, tuple opening, codec)
