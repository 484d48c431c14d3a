# Channel: what the user holds of one channel, and the two ways to listen to it.
from ._host cimport ChannelHost
from ._inbox cimport Inbox
from ._table cimport channel_t

cdef class ChannelListener:
    # Subclass in Python and override on_*; or in Cython and override `message`, which gets no object at all.
    cdef int message(self, Channel channel, const char *data, Py_ssize_t size) except -1
    cpdef on_message(self, Channel channel, view)
    cpdef on_writable(self, Channel channel)
    cpdef on_eof(self, Channel channel)
    cpdef on_closed(self, Channel channel, exc)

cdef class Channel(Inbox):
    # identity, with what an Inbox has
    cdef bytes pairs                    # the metadata, as in OPEN
    cdef readonly int wish              # priority
    cdef readonly object deadline       # loop time, or None
    cdef readonly object traceparent
    cdef object __weakref__
    # sending
    cdef list senders                   # futures of tasks that wait
    cdef int held                       # why send() was turned away last (Sent), 0 when it was not
    cdef double held_since
    cdef bint taken                     # what the first in line had offered was accepted; known when `state` is gone

    # for the session: what the engine reports
    cdef int deliver(self, const char *data, Py_ssize_t size, bytes whole) except -1
    cdef int peer_finished(self) except -1
    cdef int fail(self, exc) except -1
    cdef int writable(self) except -1
    cdef int tell_closed(self, exc) except -1
    # inside
    cdef int wake_sender(self) except -1
    cdef int try_send(self, bytes message, bint offer=*) except? -100
    cdef bint offering(self) noexcept
    cdef bint offer_taken(self) noexcept
    cdef str what_holds(self)
    cdef int let_go(self) except -1

cdef Channel new_channel(ChannelHost host, channel_t *state, tuple opening, codec)
