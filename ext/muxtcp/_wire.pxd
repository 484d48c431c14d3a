# The frame layout of docs/PROTOCOL.md as C: numbers, varints, headers, text. Everything is inline: a call across modules would cost
# more than the work. No state, no Python object.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    PREFACE_SIZE = 8
    MAX_LENGTH_BYTES = 4            # of a frame's length varint
    MAX_VARINT_BYTES = 9            # of every other varint
    MAX_HEADER_BYTES = 13
    MAX_HANDSHAKE = 16_384          # payload of HELLO, WELCOME, REFUSED
    MAX_RECORD = 4_096              # payload on channel 0 after the handshake
    MAX_OPEN = 4_096
    MAX_NAME = 255
    MAX_REASON = 255
    MAX_PAIRS = 64
    MIN_PART = 1_024

cdef enum Kind:
    DATA = 0
    PART = 1
    OPEN = 2
    CREDIT = 3
    FINISH = 4
    RESET = 5
    BLOCKED = 6

cdef enum Record:
    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    RESUME = 4
    RESUME_OK = 5
    RESUME_CONFIRM = 6
    RESUME_FAILED = 7
    PING = 8
    PONG = 9
    GOAWAY = 10
    SESSION_CREDIT = 11
    SESSION_BLOCKED = 12
    ACK = 13
    CHANNEL_CREDIT = 14
    END = 15

# The codes that the machine itself says; muxtcp.errors.Code has all of them (a test compares the two).
cdef enum WireCode:
    NO_ERROR = 0x00
    INTERNAL = 0x01
    CANCELLED = 0x02
    CALM = 0x03
    SHUTDOWN = 0x04
    TIMEOUT = 0x05
    BAD_VERSION = 0x21
    HANDSHAKE_TIMEOUT = 0x23
    HANDSHAKE_TOO_LARGE = 0x24
    BAD_PARAMETER = 0x25
    BAD_PREFACE = 0x100
    BAD_VARINT = 0x101
    BAD_FRAME = 0x102
    BAD_KIND = 0x103
    BAD_RECORD = 0x104
    FRAME_TOO_LARGE = 0x105
    MESSAGE_TOO_LARGE = 0x106
    BAD_PART = 0x107
    CREDIT_EXCEEDED = 0x108
    LIMIT_BACKWARDS = 0x109
    LIMIT_OVERFLOW = 0x10a
    BAD_CHANNEL_ID = 0x10b
    CHANNEL_REUSED = 0x10c
    UNKNOWN_CHANNEL = 0x10d
    CHANNEL_ENDED = 0x10e
    TOO_MANY_CHANNELS = 0x10f
    DATA_AFTER_FINISH = 0x110
    BAD_OPEN = 0x111
    BAD_UTF8 = 0x112
    EARLY_FRAME = 0x113
    BAD_ACK = 0x114

cdef extern from *:
    """
    static const char muxtcp_preface[8] __attribute__((unused)) = {(char)0x8d, 'M', 'U', 'X', 13, 10, 26, 10};
    """
    const char *PREFACE "muxtcp_preface"


cdef inline const char *stranger(char first) noexcept nogil:
    """What is said of a peer that begins with something else than the preface."""
    if first == 0x16 or first == 0x15:                              # a hello or an alert of TLS
        return "the peer speaks TLS, and this side does not"
    return "the peer does not speak muxtcp"


cdef inline int varint_size(uint64_t value) noexcept nogil:
    cdef int size = 1
    while value >= 0x80:
        value >>= 7
        size += 1
    return size


cdef inline char *write_varint(char *to, uint64_t value) noexcept nogil:
    """Write `value` and return the place behind it."""
    while value >= 0x80:
        to[0] = <char>(value | 0x80)
        value >>= 7
        to += 1
    to[0] = <char>value
    return to + 1


cdef inline int read_varint(const char *at, const char *end, int most, uint64_t *value) noexcept nogil:
    """Read a varint of at most `most` bytes: how many it took, 0 when more bytes are needed, -1 when it is overlong or too long."""
    cdef uint64_t result
    cdef uint8_t byte
    cdef int size = 1
    if at >= end:
        return 0
    byte = <uint8_t>at[0]
    if byte < 0x80:
        value[0] = byte
        return 1
    result = byte & 0x7f
    while True:
        if size == most:
            return -1
        if at + size >= end:
            return 0
        byte = <uint8_t>at[size]
        result |= <uint64_t>(byte & 0x7f) << (7 * size)
        size += 1
        if byte < 0x80:
            value[0] = result
            return size if byte else -1


cdef inline char *write_header(char *to, uint64_t channel, int kind, size_t size) noexcept nogil:
    """Write the header of a frame with a payload of `size` bytes and return where the payload begins."""
    cdef uint64_t tag = channel << 3 | <unsigned int>kind
    return write_varint(write_varint(to, size + varint_size(tag)), tag)


cdef inline bint text_valid(const char *text, size_t size) noexcept nogil:
    """Whether the bytes are UTF-8 without surrogates and overlong forms (Unicode 15, table 3-7)."""
    cdef const uint8_t *at = <const uint8_t *>text
    cdef const uint8_t *end = at + size
    cdef uint8_t lead, low, high
    cdef int more
    while at < end:
        lead = at[0]
        at += 1
        if lead < 0x80:
            continue
        low, high = 0x80, 0xbf                      # bounds of the second byte
        if 0xc2 <= lead <= 0xdf:
            more = 1
        elif 0xe0 <= lead <= 0xef:
            more = 2
            if lead == 0xe0:
                low = 0xa0
            elif lead == 0xed:
                high = 0x9f
        elif 0xf0 <= lead <= 0xf4:
            more = 3
            if lead == 0xf0:
                low = 0x90
            elif lead == 0xf4:
                high = 0x8f
        else:
            return False
        if end - at < more:
            return False
        if not low <= at[0] <= high:
            return False
        at += 1
        more -= 1
        while more:
            if at[0] & 0xc0 != 0x80:
                return False
            at += 1
            more -= 1
    return True
