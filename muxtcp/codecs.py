"""Objects in place of bytes: how a session or a channel turns what the user sends into messages and back.

A codec is any object with `encode(obj) -> bytes` and `decode(bytes) -> obj`. Both peers choose for themselves; the
choice is not part of the protocol, so a codec belongs into the contract of a service as its name does.

    session = await connect("tcp://h:7777", codec="json")
    channel = await session.open("ticks", codec=codecs.msgpack(list[float]))   # decoded into that type, or an error

The `json` and `msgpack` codecs are those of msgspec and need the extra `muxtcp[json]`.
"""

from importlib import import_module
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Codec(Protocol):
    """What turns objects into messages and back.

    What `encode` raises reaches the caller of `send()`, and nothing was sent; what `decode` raises reaches the caller
    of `recv()` as the cause of a `CodecError`. In both cases the channel goes on.
    """

    def encode(self, obj: Any, /) -> bytes:
        """One object as one message."""

    def decode(self, message: bytes, /) -> Any:
        """The object in one message."""


class _Msgspec:
    """Encoder and decoder of one of msgspec's formats, made once: their bound methods are the codec."""

    __slots__ = ("decode", "encode")

    def __init__(self, form: str, expected: Any) -> None:
        try:
            module = import_module(f"msgspec.{form}")
        except ImportError as error:
            raise ImportError(f"the {form} codec needs msgspec: pip install 'muxtcp[json]'") from error
        self.encode = module.Encoder().encode
        self.decode = module.Decoder(expected).decode


def json(expected: Any = Any) -> Codec:
    """JSON in UTF-8.

    Args:
        expected: the type to decode into and to check against (anything msgspec knows: dataclasses, TypedDict,
        Struct...).

    Raises:
        ImportError: msgspec is missing.
        msgspec.DecodeError: from `decode`, for a message that is not JSON; its subclass ValidationError for one that is
            not `expected`. Like UnicodeDecodeError, for text that is not UTF-8, it is a ValueError.
        RecursionError: from `decode`, for a message that is nested deeper than Python's limit.
    """
    return _Msgspec("json", expected)


def msgpack(expected: Any = Any) -> Codec:
    """MessagePack: as `json` in every respect, but smaller, faster and with bytes."""
    return _Msgspec("msgpack", expected)


def resolve(codec: "str | Codec | None") -> Codec | None:
    """The codec that an option `codec=` means.

    Args:
        codec: None or "bytes" for none at all, "json", "msgpack", or an object with `encode` and `decode`.

    Raises:
        ValueError: an unknown name.
        TypeError: an object that is not a codec.
        ImportError: msgspec is missing.
    """
    match codec:
        case None | "bytes":
            return None
        case "json":
            return json()
        case "msgpack":
            return msgpack()
        case str():
            raise ValueError(
                f"unknown codec {codec!r}: it is bytes, json, msgpack, or an object with encode and decode"
            )
        case Codec():
            return codec
        case _:
            raise TypeError(f"not a codec: {codec!r} has no encode and decode")
