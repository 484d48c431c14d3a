"""HELLO, WELCOME and OPEN: their payloads read, checked and written (docs/PROTOCOL.md, sections 4 and 6)."""

from libc.string cimport memset

from . cimport _wire
from ._wire cimport MAX_VARINT_BYTES, read_varint, text_valid, write_varint

cdef enum Parameter:
    VERSION = 1
    MAX_FRAME = 2
    MAX_MESSAGE = 3
    CHANNEL_LIMIT = 4
    SESSION_LIMIT = 5
    MAX_CHANNELS = 6
    KEEPALIVE = 7
    RESUME = 8
    META = 9
    AUTH = 10
    TICKET = 11
    REPLAY_LIMIT = 12

cdef enum Field:                    # typed fields of OPEN
    DEADLINE = 1
    TRACEPARENT = 2

cdef uint64_t LARGEST_LIMIT = <uint64_t>1 << 53
cdef object LONGEST_DEADLINE = 1 << 53      # ms: 285,000 years
cdef uint64_t LARGEST_NUMBER = (<uint64_t>1 << 63) - 1          # what a varint holds

cdef tuple MODES = ("rw", "r", "w")


# Reading

cdef int take_number(const char **at, const char *end, uint64_t *value, int truncated) noexcept nogil:
    """Read a varint at `at` and move past it; `truncated` is the code to say when the bytes do not suffice."""
    cdef int size = read_varint(at[0], end, MAX_VARINT_BYTES, value)
    if size < 0:
        return _wire.BAD_VARINT
    at[0] += size
    return _wire.NO_ERROR if size else truncated


cdef int take_block(const char **at, const char *end, const char **block, size_t *size, int truncated) noexcept nogil:
    """Read `size, bytes` at `at` and move past it."""
    cdef uint64_t length = 0
    cdef int code = take_number(at, end, &length, truncated)
    if code:
        return code
    if length > <uint64_t>(end - at[0]):
        return truncated
    block[0] = at[0]
    size[0] = length
    at[0] += length
    return _wire.NO_ERROR


cdef int take_text(const char **at, const char *end, size_t *size, int truncated) noexcept nogil:
    cdef const char *text = NULL
    cdef int code = take_block(at, end, &text, size, truncated)
    if code == _wire.NO_ERROR and not text_valid(text, size[0]):
        return _wire.BAD_UTF8
    return code


cdef int take_pairs(const char **at, const char *end, int truncated) noexcept nogil:
    cdef uint64_t count = 0
    cdef size_t size = 0
    cdef int code = take_number(at, end, &count, truncated)
    if count > _wire.MAX_PAIRS:                                 # each costs ten times its bytes once it is a dict's
        return truncated
    while code == _wire.NO_ERROR and count:
        code = take_text(at, end, &size, truncated)             # key
        if code == _wire.NO_ERROR:
            code = take_text(at, end, &size, truncated)         # value
        count -= 1
    return code


cdef int whole_number(const char *at, size_t size, uint64_t low, uint64_t high, uint64_t *value) noexcept nogil:
    """A varint that fills its block exactly and lies from `low` to `high`."""
    cdef const char *end = at + size
    cdef int code = take_number(&at, end, value, _wire.BAD_PARAMETER)
    if code == _wire.NO_ERROR and (at != end or not low <= value[0] <= high):
        return _wire.BAD_PARAMETER
    return code


cdef int read_version(const char *at, size_t size, bint hello, parameters_t *to) noexcept nogil:
    cdef const char *end = at + size
    cdef int code = take_number(&at, end, &to.version_low, _wire.BAD_PARAMETER)
    if code == _wire.NO_ERROR and hello:
        code = take_number(&at, end, &to.version_high, _wire.BAD_PARAMETER)
    else:
        to.version_high = to.version_low
    if code == _wire.NO_ERROR and (at != end or to.version_low > to.version_high):
        return _wire.BAD_PARAMETER
    return code


cdef int read_parameter(uint64_t id, const char *at, size_t size, bint hello, parameters_t *to) noexcept nogil:
    cdef const char *start = at
    cdef int code
    if id == VERSION:
        return read_version(at, size, hello, to)
    if id == MAX_FRAME:
        return whole_number(at, size, 16_384, 16_777_216, &to.max_frame)
    if id == MAX_MESSAGE:
        return whole_number(at, size, 1_024, <uint64_t>1 << 40, &to.max_message)
    if id == CHANNEL_LIMIT:
        return whole_number(at, size, 0, LARGEST_LIMIT, &to.channel_limit)
    if id == SESSION_LIMIT:
        return whole_number(at, size, 0, LARGEST_LIMIT, &to.session_limit)
    if id == MAX_CHANNELS:
        return whole_number(at, size, 0, LARGEST_LIMIT, &to.max_channels)
    if id == KEEPALIVE:
        return whole_number(at, size, 0, LARGEST_NUMBER, &to.keepalive)
    if id == RESUME:
        return whole_number(at, size, 0, LARGEST_NUMBER, &to.resume)
    if id == META:
        code = take_pairs(&at, start + size, _wire.BAD_PARAMETER)
        if code == _wire.NO_ERROR and at != start + size:
            return _wire.BAD_PARAMETER
        to.meta, to.meta_size = start, size
        return code
    if id == AUTH and hello:
        to.auth, to.auth_size = at, size
    elif id == TICKET:
        to.ticket, to.ticket_size = at, size
    elif id == REPLAY_LIMIT:
        return whole_number(at, size, 0, LARGEST_LIMIT, &to.replay_limit)
    return _wire.NO_ERROR


cdef int read_parameters(const char *at, const char *end, bint hello, parameters_t *parameters) noexcept nogil:
    cdef uint64_t id = 0, least = 0
    cdef const char *value = NULL
    cdef size_t size = 0
    cdef bint versioned = False
    cdef int code
    memset(parameters, 0, sizeof(parameters_t))
    parameters.max_frame = 65_536
    parameters.max_message = 1_048_576
    parameters.channel_limit = 262_144
    parameters.session_limit = 262_144
    parameters.max_channels = 1_024
    while at < end:
        code = take_number(&at, end, &id, _wire.BAD_FRAME)
        if code == _wire.NO_ERROR:
            code = take_block(&at, end, &value, &size, _wire.BAD_FRAME)
        if code == _wire.NO_ERROR and id < least:
            code = _wire.BAD_PARAMETER
        if code == _wire.NO_ERROR:
            code = read_parameter(id, value, size, hello, parameters)
        if code:
            return code
        least = id + 1
        versioned = versioned or id == VERSION
    return _wire.NO_ERROR if versioned else _wire.BAD_PARAMETER


cdef int check_open(const char *at, size_t size, opening_t *opening) noexcept nogil:
    cdef const char *end = at + size
    cdef const char *value = NULL
    cdef uint64_t id = 0
    cdef size_t length = 0
    cdef unsigned char flags
    cdef int code
    if size == 0 or size > _wire.MAX_OPEN:
        return _wire.BAD_OPEN
    flags = <unsigned char>at[0]
    opening.mode = flags & 3
    opening.priority = flags >> 2 & 3
    if flags & 0xf0 or opening.mode == 3:
        return _wire.BAD_OPEN
    at += 1
    code = take_text(&at, end, &length, _wire.BAD_OPEN)
    if code == _wire.NO_ERROR and length > _wire.MAX_NAME:
        return _wire.BAD_OPEN
    if code == _wire.NO_ERROR:
        code = take_pairs(&at, end, _wire.BAD_OPEN)
    while code == _wire.NO_ERROR and at < end:
        code = take_number(&at, end, &id, _wire.BAD_OPEN)
        if code == _wire.NO_ERROR:
            code = take_block(&at, end, &value, &length, _wire.BAD_OPEN)
        if code == _wire.NO_ERROR and id == DEADLINE:
            code = whole_number(value, length, 0, LARGEST_NUMBER, &id)
            if code == _wire.BAD_PARAMETER:
                code = _wire.BAD_OPEN
        elif code == _wire.NO_ERROR and id == TRACEPARENT and not text_valid(value, length):
            code = _wire.BAD_UTF8
    return code


# Writing, and making Python objects of what was checked

cdef bytes number(uint64_t value):
    cdef char place[10]
    return place[:write_varint(place, value) - place]


cdef bytes block(bytes data):
    return number(len(data)) + data


cdef bytes encode_pairs(dict meta):
    if not meta:
        return b"\0"
    if len(meta) > _wire.MAX_PAIRS:
        raise ValueError(f"meta of {len(meta)} pairs is over the limit of {_wire.MAX_PAIRS}")
    cdef list parts = [number(len(meta))]
    for key, value in meta.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"meta maps str to str, not {key!r} to {value!r}")
        parts.append(block((<str>key).encode()))
        parts.append(block((<str>value).encode()))
    return b"".join(parts)


cdef bytes encode_parameters(parameters_t *parameters, bint hello, dict meta, bytes auth, bytes ticket):
    cdef list parts = [number(VERSION)]
    version = number(parameters.version_low)
    parts.append(block(version + number(parameters.version_high) if hello else version))
    for id, value in (
        (MAX_FRAME, parameters.max_frame),
        (MAX_MESSAGE, parameters.max_message),
        (CHANNEL_LIMIT, parameters.channel_limit),
        (SESSION_LIMIT, parameters.session_limit),
        (MAX_CHANNELS, parameters.max_channels),
        (KEEPALIVE, parameters.keepalive),
        (RESUME, parameters.resume),
    ):
        if id == RESUME and not value:
            continue
        parts.append(number(id))
        parts.append(block(number(value)))
    if meta:
        parts.append(number(META))
        parts.append(block(encode_pairs(meta)))
    if hello and auth:
        parts.append(number(AUTH))
        parts.append(block(auth))
    if parameters.resume:
        parts.append(number(TICKET))
        parts.append(block(ticket))
        parts.append(number(REPLAY_LIMIT))
        parts.append(block(number(parameters.replay_limit)))
    return b"".join(parts)


cdef dict decode_pairs(const char *at, size_t size):
    cdef const char *end = at + size
    cdef uint64_t count = 0
    cdef const char *key = NULL
    cdef const char *value = NULL
    cdef size_t key_size = 0, value_size = 0
    cdef dict meta = {}
    if size:
        take_number(&at, end, &count, 0)
    while count:
        take_block(&at, end, &key, &key_size, 0)
        take_block(&at, end, &value, &value_size, 0)
        meta[key[:key_size].decode()] = value[:value_size].decode()
        count -= 1
    return meta


cdef bytes encode_open(str name, dict meta, int mode, int priority, object deadline_ms, object traceparent):
    """The payload of an OPEN; `ValueError` names the number and the limit when it is too large."""
    cdef bytes text = name.encode()
    if len(text) > _wire.MAX_NAME:
        raise ValueError(f"channel name of {len(text)} bytes is over the limit of {_wire.MAX_NAME}")
    parts = [bytes((mode | priority << 2,)), block(text), encode_pairs(meta)]
    if deadline_ms is not None:
        parts += number(DEADLINE), block(number(deadline_ms if deadline_ms < LONGEST_DEADLINE else LONGEST_DEADLINE))
    if traceparent is not None:
        parts += number(TRACEPARENT), block(traceparent.encode())
    payload = b"".join(parts)
    if len(payload) > _wire.MAX_OPEN:
        raise ValueError(f"name and meta of channel {name!r} take {len(payload):,} bytes, over the limit of {_wire.MAX_OPEN:,}")
    return payload


cdef tuple decode_open(const char *at, size_t size):
    """What an OPEN said; its pairs as they came: a dict of many small ones is twenty times as large."""
    cdef const char *end = at + size
    cdef const char *pairs
    cdef const char *value = NULL
    cdef size_t length = 0
    cdef uint64_t id = 0, deadline = 0
    cdef int flags = <unsigned char>at[0]
    deadline_ms = traceparent = None
    at += 1
    take_block(&at, end, &value, &length, 0)
    name = value[:length].decode()
    pairs = at
    take_pairs(&at, end, 0)
    meta = pairs[: at - pairs]
    while at < end:
        take_number(&at, end, &id, 0)
        take_block(&at, end, &value, &length, 0)
        if id == DEADLINE:
            read_varint(value, value + length, MAX_VARINT_BYTES, &deadline)
            deadline_ms = deadline
        elif id == TRACEPARENT:
            traceparent = value[:length].decode()
    return name, meta, MODES[flags & 3], flags >> 2 & 3, deadline_ms, traceparent
