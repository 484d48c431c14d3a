"""Any message to a channel that decodes: an object, or an error that this `recv()` alone raises.

The first byte of an input chooses the codec and how it is received. The next message on the channel is decoded as if
nothing had been, and the session goes on.
"""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from fuzz import mutate

from muxtcp import Channel, CodecError, codecs
from muxtcp.testing import VirtualClockLoop, pair


class Point(msgspec.Struct):
    """Something to decode into."""

    x: int
    name: str = ""
    rest: dict[str, list[float]] = {}


CODECS = [
    (codecs.json(), msgspec.json.encode),
    (codecs.msgpack(), msgspec.msgpack.encode),
    (codecs.json(Point), msgspec.json.encode),
    (codecs.msgpack(Point), msgspec.msgpack.encode),
]
GOOD = {"x": 7, "name": "good", "rest": {"a": [1.5]}}
# ValueError: also the parent of msgspec's own.
ERRORS = (ValueError, RecursionError)


async def heard(codec: codecs.Codec, messages: list[bytes], *, batch: bool) -> list[Any]:
    """What a receiver sees of these messages, with errors in the place of objects."""

    async def serve(channel: Channel) -> None:
        for message in messages:
            await channel.send(message)

    seen: list[Any] = []
    async with pair(serve) as p:
        async with await p.client.open("decodes", codec=codec) as channel:
            batches = channel.batches()
            while len(seen) < len(messages):
                try:
                    seen += await anext(batches) if batch else [await channel.recv()]
                except CodecError as error:
                    seen.append(error.__cause__)
        assert await p.client.request("again", b"") == messages[0]
    return seen


def decoded(codec: codecs.Codec, message: bytes) -> Any:
    try:
        return codec.decode(message)
    except ERRORS as error:
        return error


def same(one: Any, other: Any) -> bool:
    """Also of what is equal to nothing: errors, and numbers that are none."""
    if isinstance(one, RecursionError) or isinstance(other, RecursionError):
        return True  # how deep a message may go depends on how deep its reader is
    try:
        return re.sub(" at 0x[0-9a-f]+", "", repr(one)) == re.sub(" at 0x[0-9a-f]+", "", repr(other))
    except RecursionError:
        return True


def one(data: bytes) -> None:
    if not data:
        return
    codec, encode = CODECS[data[0] % 4]
    messages = [data[1:], encode(GOOD)]
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        seen = runner.run(heard(codec, messages, batch=bool(data[0] & 4)))
    assert all(map(same, seen, [decoded(codec, message) for message in messages])), seen


def seeds() -> Iterator[bytes]:
    values = [None, True, 1.5, -7, 2**63, "é", [1, [2, {}]], GOOD, {"x": "no number"}, {"x": 1, "rest": {"a": ["b"]}}]
    for index, (_, encode) in enumerate(CODECS):
        for value in values:
            yield bytes([index]) + encode(value)
            yield bytes([index | 4]) + encode(value)[:-1]
    yield from (b"\0" + text for text in (b'"\xff"', b"[" * 5_000, b'"\\ud800"', b"1e999", b"{}{}", b"\xef\xbb\xbf1"))
    for text in (b"\xdd\xff\xff\xff\xff", b"\x91" * 5_000, b"\xa1\xff", b"\xc1", b"\xd7\xff" + bytes(8)):
        yield b"\1" + text


change = mutate.simple(1)
