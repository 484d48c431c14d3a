"""Numbers and text of the wire, against Python's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxtcp import _wire

around_powers = st.builds(lambda bits, less: 2**bits - less, st.integers(1, 63), st.integers(1, 2))
numbers = st.integers(0, 2**63 - 1) | around_powers


@given(numbers)
def test_a_varint_is_read_back(value: int) -> None:
    written = _wire.varint(value)
    assert len(written) == max(1, -(-value.bit_length() // 7))
    assert _wire.read(written + b"\xff") == (value, len(written))


@given(numbers)
def test_every_prefix_of_a_varint_is_incomplete(value: int) -> None:
    written = _wire.varint(value)
    for size in range(len(written)):
        assert _wire.read(written[:size]) == (None, 0)


@given(st.binary(max_size=12), st.integers(1, 9))
def test_whatever_is_read_is_the_shortest_form(data: bytes, most: int) -> None:
    try:
        value, size = _wire.read(data, most)
    except ValueError:
        return
    if value is not None:
        assert size <= most
        assert _wire.varint(value) == data[:size]


@pytest.mark.parametrize("data", ["8000", "ff00", "ffffffffffffffffff01", "80808080808080808080"])
def test_overlong_varints_are_refused(data: str) -> None:
    with pytest.raises(ValueError, match="shortest form"):
        _wire.read(bytes.fromhex(data))


@pytest.mark.parametrize("value", [-1, 2**63])
def test_numbers_that_no_varint_holds(value: int) -> None:
    with pytest.raises(ValueError, match=str(value)):
        _wire.varint(value)


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_text_of_up_to_two_bytes_is_what_python_decodes() -> None:
    for first in range(256):
        assert _wire.is_text(bytes([first])) == is_utf8(bytes([first]))
        for second in range(256):
            assert _wire.is_text(bytes([first, second])) == is_utf8(bytes([first, second]))


# Bytes around every bound of the ranges that UTF-8 knows.
BOUNDS = (0x80, 0x90, 0xA0, 0xC0, 0xC2, 0xE0, 0xED, 0xF0, 0xF4, 0xF5)
bounds = st.sampled_from(sorted({bound - below for bound in BOUNDS for below in (0, 1)}))


@given(st.lists(bounds, max_size=6).map(bytes) | st.binary(max_size=12) | st.text(max_size=4).map(str.encode))
def test_text_is_what_python_decodes(data: bytes) -> None:
    assert _wire.is_text(data) == is_utf8(data)
