# The structured payloads: the parameters of HELLO and WELCOME, and what OPEN says. Checked in C, before anything is made of them;
# turned into Python objects only when someone asks. Cold code: once per session, once per channel.
from libc.stdint cimport uint64_t

cdef struct parameters_t:
    uint64_t version_low            # in a WELCOME both are the chosen version
    uint64_t version_high
    uint64_t max_frame
    uint64_t max_message
    uint64_t channel_limit
    uint64_t session_limit
    uint64_t max_channels
    uint64_t keepalive
    uint64_t resume                 # ms
    uint64_t replay_limit
    const char *meta                # pairs, or NULL; borrowed from the record
    size_t meta_size
    const char *auth
    size_t auth_size
    const char *ticket
    size_t ticket_size

cdef struct opening_t:
    int mode                        # 0 both ways, 1 the opener only receives, 2 the opener only sends
    int priority                    # wished by the opener for what is sent to it

# Both return NO_ERROR or the code of the violation.
cdef int read_parameters(const char *at, const char *end, bint hello, parameters_t *parameters) noexcept nogil
cdef int check_open(const char *at, size_t size, opening_t *opening) noexcept nogil

cdef bytes encode_parameters(parameters_t *parameters, bint hello, dict meta, bytes auth, bytes ticket)
cdef bytes encode_pairs(dict meta)
cdef dict decode_pairs(const char *at, size_t size)
cdef bytes encode_open(str name, dict meta, int mode, int priority, object deadline_ms, object traceparent)
cdef tuple decode_open(const char *at, size_t size)     # (name, meta, mode, priority, deadline_ms, traceparent)
