import sys
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from muxtcp import codecs

OBJECTS = [None, True, 1, -1.5, "grüße", [1, "two", None], {"a": {"b": []}}]


@pytest.mark.parametrize("name", ["json", "msgpack"])
@pytest.mark.parametrize("obj", OBJECTS, ids=repr)
def test_round_trip(name: str, obj: Any) -> None:
    codec = codecs.resolve(name)
    assert codec is not None
    message = codec.encode(obj)
    assert type(message) is bytes
    assert codec.decode(message) == obj


def test_known_encodings() -> None:
    assert codecs.json().encode({"a": [1, None]}) == b'{"a":[1,null]}'
    assert codecs.msgpack().encode({"a": [1, None]}) == b"\x81\xa1a\x92\x01\xc0"


@dataclass
class Tick:
    symbol: str
    price: float


@pytest.mark.parametrize("make", [codecs.json, codecs.msgpack])
def test_decodes_into_the_expected_type_or_says_why_not(make) -> None:
    codec = make(Tick)
    assert codec.decode(codec.encode(Tick("ABC", 1.5))) == Tick("ABC", 1.5)
    with pytest.raises(msgspec.ValidationError, match="missing required field `price`"):
        codec.decode(codec.encode({"symbol": "ABC"}))


@pytest.mark.parametrize(
    ("codec", "message", "error"),
    [
        (codecs.json(), b"{", msgspec.DecodeError),
        (codecs.json(), b'"\xff"', UnicodeDecodeError),
        (codecs.json(), b"[" * 100_000, RecursionError),
        (codecs.msgpack(), b"\xdd\xff\xff\xff\xff", msgspec.DecodeError),  # 2^32 - 1 elements are announced
        (codecs.msgpack(), b"\xa1\xff", UnicodeDecodeError),
        (codecs.msgpack(), b"\x91" * 100_000, RecursionError),
    ],
)
def test_what_does_not_decode(codec: codecs.Codec, message: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        codec.decode(message)


def test_no_codec_at_all() -> None:
    assert codecs.resolve(None) is None
    assert codecs.resolve("bytes") is None


def test_own_codec() -> None:
    class Upper:
        def encode(self, obj: str) -> bytes:
            return obj.upper().encode()

        def decode(self, message: bytes) -> str:
            return message.decode()

    own = Upper()
    assert codecs.resolve(own) is own


def test_what_is_no_codec() -> None:
    with pytest.raises(ValueError, match="unknown codec 'xml': it is bytes, json, msgpack, or an object with encode"):
        codecs.resolve("xml")
    with pytest.raises(TypeError, match="not a codec: 5 has no encode and decode"):
        codecs.resolve(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_missing_msgspec_names_the_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"msgspec.{name}", None)
    with pytest.raises(ImportError, match=rf"the {name} codec needs msgspec: pip install 'muxtcp\[json\]'"):
        codecs.resolve(name)
