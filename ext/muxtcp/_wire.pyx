"""The wire's varints as Python functions, for tests and tools; the engine uses the inline ones of the `.pxd`."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE


def varint(value: int) -> bytes:
    """Encode `value` (from 0, below 2^63) in its shortest form.

    >>> varint(300).hex()
    'ac02'
    """
    cdef char place[10]
    if not 0 <= value < 1 << 63:
        raise ValueError(f"a varint holds values from 0 to 2^63 - 1, not {value}")
    return place[:write_varint(place, value) - place]


def read(bytes data not None, int most=MAX_VARINT_BYTES) -> tuple:
    """Decode a varint of at most `most` bytes at the beginning of `data`.

    Returns `(value, size)`; `(None, 0)` when bytes are missing. Raises `ValueError` for an overlong or too long one.
    """
    cdef uint64_t value = 0
    cdef const char *start = PyBytes_AS_STRING(data)
    cdef int size = read_varint(start, start + PyBytes_GET_SIZE(data), most, &value)
    if size < 0:
        raise ValueError(f"not a varint in shortest form of at most {most} bytes: {data[:most].hex(' ')}")
    return (value, size) if size else (None, 0)


def is_text(bytes data not None) -> bool:
    """Whether `data` is what the wire calls text: valid UTF-8."""
    return text_valid(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
