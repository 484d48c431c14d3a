# The life of a session: limits, channel states, commands, liveness, the end.
from libc.stdint cimport int64_t, uint64_t

from ._flow cimport incoming_t
from ._handshake cimport parameters_t
from ._output cimport Output
from ._table cimport channel_t, table_t

cdef enum:                          # what a session costs the process's budget, in bytes, beside all that varies
    READ_COST = 6                   # of each byte of a HELLO: it is kept, and read, where a character may take four bytes
    STRANGER_COST = 114_688         # before its handshake has ended: 16 KiB, and the largest HELLO, read
    SESSION_COST = 24_576           # after it, beside what the HELLO takes

cdef enum Phase:
    PREFACE = 0                     # the peer's preface has not come
    GREETING = 1                    # nor its HELLO or WELCOME
    ADMITTING = 2                   # server: HELLO or RESUME has come, the answer is being made up
    PROVING = 3                     # server: RESUME_OK was said, RESUME_CONFIRM has not come
    HANDED_OVER = 4                 # the byte stream goes on with another session, as a resumption agreed
    UP = 5
    OVER = 6

cdef enum Ending:                   # how a session came to its end: the number of its CLOSED event
    BY_US = 0
    BY_PEER = 1
    BY_STREAM = 2                   # the byte stream just ended

cdef enum Goodbye:
    SAY_NOTHING = 0
    SAY_GOAWAY = 1
    SAY_REFUSED = 2
    SAY_TEXT = 3                    # to someone who spoke text
    SAY_HTTP = 4

cdef struct settings_t:             # what Config says, in the machine's terms
    uint64_t max_frame
    uint64_t max_message
    uint64_t channel_window
    uint64_t session_window
    uint64_t memory_limit
    uint64_t max_channels
    double keepalive                # seconds; 0: never
    double keepalive_timeout
    double handshake_timeout
    double glitch_burst
    double glitch_rate
    uint64_t resume                 # ms; 0: the session ends with its connection
    uint64_t replay_limit

cdef class Life(Output):
    cdef readonly bint client
    cdef settings_t settings
    cdef int phase
    cdef int phase_then             # the phase in which the session ended
    # channels
    cdef table_t table
    cdef channel_t *recent          # found last: most often it is asked for again
    cdef uint64_t next_local        # the next id that we open
    cdef uint64_t next_remote       # the next id that the peer must open
    cdef uint64_t may_open          # how many we may open in all (the peer's CHANNEL_CREDIT)
    cdef uint64_t opened            # how many we have
    cdef uint64_t slots_granted     # how many the peer may open in all
    cdef uint64_t slots_returned    # how many of its channels have ended and been released
    cdef bint wants_open
    cdef bint can_open
    cdef uint64_t last_served       # of the peer's channels, once we are going away
    cdef uint64_t peer_last         # of ours, once the peer is
    cdef uint64_t abandoned         # ours from this id on are over, because of that
    cdef bint going_away
    cdef bint peer_going_away
    # credit
    cdef incoming_t incoming
    cdef double stuck_at            # when to look whether the session's window is held by channels that nobody reads; inf: never
    cdef double stuck_delay         # how long it is until then
    cdef int64_t committed          # taken from the budget for it
    cdef size_t counted_room        # of the read buffer, in `charged`
    # liveness
    cdef double deadline            # of the handshake
    cdef double heard               # when a byte came last
    cdef double probe_at            # when silence, or our own PING, is judged; inf: never
    cdef bint probing
    cdef uint64_t probes            # how often silence made us ask
    cdef bint late                  # our own timer fired late: a read comes first
    cdef size_t unsent_then
    cdef public size_t unsent       # bytes that the transport and the socket hold; told by the caller before handle_timeout
    cdef readonly double lag        # by how much our timer fired late at worst
    cdef uint64_t pings             # n of the newest PING asked for
    cdef uint64_t pinged            # n of the newest PING written
    cdef uint64_t ponged            # n of the newest PONG
    cdef uint64_t pings_timed       # n of the PING that measures the round trip
    cdef double ping_written_at
    cdef uint64_t pong
    cdef uint64_t frames_at_ping            # received when the newest PING came; none has: UINT64_MAX
    cdef double smoothed            # round trip in seconds; 0: none yet
    cdef readonly uint64_t oddities         # of the peer, in all
    cdef double glitches                    # those of them that are not forgiven yet
    cdef double glitches_at
    cdef int excused                        # of the next ones, how many are none: said again after a resumption
    # resumption
    cdef bint preface_said
    cdef bint resuming              # RESUME was said, or has come, on this connection
    cdef bytes ticket               # of our HELLO or WELCOME
    cdef bytes said                 # the parameters of our HELLO or WELCOME
    cdef uint64_t received_sizes    # of the sequenced frames received
    cdef uint64_t told_frames       # by our newest ACK
    cdef uint64_t told_sizes
    cdef uint64_t told_messages
    cdef uint64_t ack_sizes         # an ACK is due when so many bytes are not acknowledged
    cdef double ack_at              # when one is due in any case; inf: nothing is unacknowledged
    cdef bint broken                # the connection is gone, which is still to be told
    cdef bint peer_ended            # its END has come
    # the end
    cdef readonly uint64_t code
    cdef readonly int ending
    cdef char reason[256]
    cdef size_t reason_size
    cdef char farewell[256]         # what our GOAWAY says while the session goes on; it may have to be said again
    cdef size_t farewell_size
    cdef uint64_t farewell_code
    cdef int goodbye                # what is written last
    cdef uint64_t retry_after       # ms, of our REFUSED
    cdef uint64_t peer_code         # of the peer's GOAWAY
    cdef char *greeting             # the parameters of the peer's HELLO or WELCOME
    cdef size_t greeting_size
    cdef parameters_t peer_parameters       # points into it
    # facts
    cdef readonly uint64_t received_frames
    cdef readonly uint64_t received_messages

    # channels and their limits
    cdef channel_t *find(self, uint64_t id) noexcept nogil
    cdef void abandon_unserved(self) noexcept nogil
    cdef int step(self, channel_t *channel, int step) noexcept nogil    # False: the transition table forbids it
    cdef void ended(self, channel_t *channel) noexcept nogil
    cdef void return_slot(self, channel_t *channel) noexcept nogil
    cdef void hang_up(self, channel_t *channel) noexcept nogil
    cdef void offer_slots(self) noexcept nogil
    cdef void handler_returned(self, uint64_t id) noexcept nogil        # of a SERVED channel
    cdef int raise_limit(self, uint64_t *limit, uint64_t value) noexcept nogil
    cdef uint64_t largest_cost(self) noexcept nogil
    cdef int peer_blocked(self, incoming_t *flow, uint64_t limit, uint64_t need) noexcept nogil
    cdef void grant_channel(self, channel_t *channel) noexcept nogil
    cdef void grant_session(self, uint64_t cost) noexcept nogil
    cdef void set_session_window(self, uint64_t window) noexcept nogil
    cdef void watch_window(self) noexcept nogil
    cdef void unstick(self) noexcept nogil
    cdef void promise_window(self) noexcept nogil
    cdef void count_room(self, size_t room) noexcept nogil
    # commands
    cdef channel_t *open_channel(self, bytes payload, int mode, int priority) except? NULL   # NULL without error: no slot
    cdef int finish_channel(self, channel_t *channel) noexcept nogil    # False: it is over already
    cdef int reset_channel(self, channel_t *channel, uint64_t code, const char *reason, size_t size) noexcept nogil
    cdef void consumed(self, channel_t *channel, size_t size) noexcept nogil
    cdef void release_channel(self, channel_t *channel) noexcept nogil
    # liveness
    cdef uint64_t ask_pong(self) noexcept nogil
    cdef double due(self) noexcept nogil                                # when tick() wants to be called; inf: not
    cdef void tick(self, double now) noexcept nogil
    cdef void glitch(self) noexcept nogil
    cdef void reset_by_peer(self, channel_t *channel) noexcept nogil
    # resumption
    cdef void owe_ack(self) noexcept nogil
    cdef void connection_lost(self, uint64_t code, int goodbye) noexcept nogil  # a break, or the end of a session that survives none
    cdef int say(self, int kind, bytes payload) except -1                       # a record of the handshake
    # beginning and end
    cdef bint in_handshake(self, int kind) noexcept nogil                       # whether it may go on with this record
    cdef int greet(self, int kind, dict meta, bytes auth) except -1
    cdef int accept_session(self, dict meta, uint64_t resume, bytes ticket) except -1
    cdef void come_up(self) noexcept nogil
    cdef void announce_end(self, uint64_t code, const char *reason, size_t size) noexcept nogil
    cdef void close_session(self, uint64_t code, const char *reason, size_t size) noexcept nogil
    cdef int last_words(self) noexcept nogil                            # what is said at an end that we decide
    cdef int violation(self, uint64_t code, const char *format, uint64_t first, uint64_t second) noexcept nogil  # False
    cdef void end_session(self, uint64_t code, int ending, int goodbye) noexcept nogil
    cdef void keep_reason(self, const char *reason, size_t size) noexcept nogil
    # records
    cdef int put_preface(self) except -1
    cdef int put_record(self, int kind, int count, uint64_t first, uint64_t second) except -1
    cdef int put_words(self, int kind, uint64_t first, uint64_t second, const char *reason, size_t size) except -1
    cdef int put_goodbye(self) except -1
