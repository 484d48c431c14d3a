# SessionCore: what a session is for as long as it lives, whatever happens to its connection.
from ._channel cimport Channel
from ._host cimport ChannelHost
from ._machine cimport event_t

cdef class SessionCore(ChannelHost):
    cdef readonly object config
    cdef readonly object codec
    cdef readonly object transport          # of the present connection, or None
    cdef object call_soon
    cdef object write_one                   # transport.write
    cdef object write_many                  # transport.writelines, or what replaces it
    cdef bint shut                          # the transport takes no more writes
    cdef object turn                        # self._turn, bound once; a cycle that the end cuts
    cdef readonly object clock              # seconds, as loop.time() but finer
    cdef object lent_view                   # of the memory that the loop reads into, kept while it stays the same
    cdef char *lent_at
    cdef size_t lent_size
    cdef bytes storage                      # being filled with a large message
    cdef bint firing                        # running the tasks that were woken: what they write goes out together
    cdef bint reading_paused
    cdef readonly int turns_cut_short       # how often the share was used up
    cdef int backlog                        # most channels that are accepted in one dispatch
    cdef bint eof_seen
    cdef bint full                          # the line does not take all that there is to write
    cdef double congested_since             # loop time at which the line last took something, while the engine is congested
    cdef size_t congested_with              # bytes that it had not taken then
    cdef object timer
    cdef double timer_at
    cdef dict opening                       # futures of those who wait for a slot, in order
    cdef readonly set not_awaited           # channels whose handlers wait until all others have ended
    cdef object quiet                       # future of someone who waits until all channels have ended
    cdef object connection_error            # what the transport said
    cdef public object progress             # a future of someone who waits for what he sent to be written or acknowledged, or None
    cdef readonly bint forked               # the session is the parent process's
    cdef object retry_after                 # seconds, of the REFUSED that we got; or None

    # for the protocol
    cdef object lend_buffer(self)
    cdef int bytes_arrived(self, Py_ssize_t size) except -1
    cdef int eof_arrived(self) except -1
    cdef int connection_made(self, transport) except -1
    cdef int connection_lost(self, exc) except -1
    cdef int writing_paused(self) except -1
    cdef int writing_resumed(self) except -1
    # inside
    cdef int hear_the_end(self) except -1
    cdef int read_on(self) except -1
    cdef int write(self, list segments) except -1
    cdef int deliver(self) except -1
    cdef int fire(self) except -1
    cdef int report(self, event_t *event) except -1
    cdef int end(self, exc) except -1
    cdef int sound_alarm(self) except -1
    cdef int tell_progress(self) except -1
    cdef int detach(self, Channel channel) except -1
    cdef int set_timer(self) except -1
    cdef list attached(self)
    cdef list shown(self)
    cdef object reason_of_end(self, event_t *event)
