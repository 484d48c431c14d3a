"""ChannelHost: what a channel needs of its session."""


cdef class ChannelHost:
    cdef int output_ready(self) except -1:
        raise NotImplementedError

    cdef int flush(self) except -1:
        raise NotImplementedError

    cdef int give_way(self) except -1:
        raise NotImplementedError
