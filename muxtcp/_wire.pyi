"""The wire's numbers and text as Python functions, for tests and tools."""

def varint(value: int) -> bytes:
    """Encode `value` (from 0, below 2^63) in its shortest form; ValueError outside of that."""

def read(data: bytes, most: int = ...) -> tuple[int | None, int]:
    """Decode a varint of at most `most` bytes (9 unless told) at the beginning of `data`.

    Returns:
        `(value, size)`, or `(None, 0)` when bytes are missing.

    Raises:
        ValueError: it is overlong or too long.
    """

def is_text(data: bytes) -> bool:
    """Whether `data` is what the wire calls text: valid UTF-8."""
