"""What a peer may say after the handshake, rightly or wrongly: frames made by chance."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from support import frames
from support.frames import Code, Kind, Record

CHANNELS = [1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 2**60 - 2, 2**60 - 1]
# Around all that decides.
SIZES = [0, 1, 63, 64, 300, 1_023, 1_024, 5_000, 16_383, 16_384, 16_385, 19_936, 20_000, 20_001]
LIMITS = [0, 1_023, 1_024, 49_152, 98_304, 262_143, 262_144, 262_145, 300_000, 600_000, 2**30, 2**53, 2**53 + 1]
NUMBERS = [0, 1, 2, 3, 4, 7, 16, 127, 128, 255, 256, 300, 16_383, 16_384, 2**32, 2**53, 2**53 + 1, 2**62, 2**63 - 1]
TEXTS = ["", "a", "é" * 3, "x" * 127, "x" * 128, "x" * 255, "x" * 256, "\U0001f600"]


def any_frame(chance: random.Random) -> bytes:
    """One frame with a good form, whatever its sense may be."""
    return chance.choice(FRAMES)(chance)


def opening(chance: random.Random) -> dict[str, Any]:
    return {
        "name": chance.choice(TEXTS),
        "meta": {chance.choice(TEXTS): chance.choice(TEXTS) for _ in range(chance.choice([0, 0, 1, 3]))},
        "mode": chance.choice(frames.MODES),
        "priority": chance.choice(range(4)),
        "deadline_ms": chance.choice([None, *NUMBERS]),
        "traceparent": chance.choice([None, *TEXTS]),
    }


def good_frame(chance: random.Random, channels: Sequence[int]) -> bytes:
    """One frame that is most likely allowed on one of these channels."""
    channel = chance.choice(channels)
    match chance.choice(["data", "part", "part", "finish", "reset", "credit", "blocked", "session"]):
        case "data":
            return frames.data(channel, bytes(chance.choice([0, 100, 5_000, 16_384])))
        case "part":
            return frames.part(channel, bytes(chance.choice([1_024, 9_000, 16_384])))
        case "finish":
            return frames.finish(channel)
        case "reset":
            return frames.reset(channel, Code.CANCELLED, "enough")
        case "credit":
            return frames.credit(channel, chance.choice([262_144, 300_000, 2**20]))
        case "blocked":
            return frames.blocked(channel, 49_152, chance.choice([50_000, 69_216]))
        case _:
            return frames.session_credit(2**20) + frames.channel_credit(2_000) + frames.ping(7)


def said(kind: Kind, chance: random.Random) -> bytes:
    """A frame of this kind on some channel."""
    channel, number = chance.choice(CHANNELS), chance.choice(NUMBERS)
    match kind:
        case Kind.OPEN:
            return frames.open(channel, **opening(chance))
        case Kind.CREDIT:
            return frames.credit(channel, chance.choice(LIMITS))
        case Kind.FINISH:
            return frames.finish(channel)
        case Kind.RESET:
            return frames.reset(channel, number, chance.choice(TEXTS))
        case Kind.BLOCKED:
            return frames.blocked(channel, chance.choice(LIMITS), number)
        case _:
            return frames.frame(channel, kind, bytes(chance.choice(SIZES)))


def recorded(kind: Record, chance: random.Random) -> bytes:
    """A record of this type."""
    number, other = chance.choice(NUMBERS), chance.choice(NUMBERS)
    match kind:
        case Record.GOAWAY:
            return frames.goaway(chance.choice([0, 1, 2, 3, 4, 8, 2**53]), number, chance.choice(TEXTS))
        case Record.REFUSED:
            return frames.refused(number, other, chance.choice(TEXTS))
        case Record.SESSION_CREDIT | Record.CHANNEL_CREDIT:
            return frames.record(kind, frames.varint(chance.choice(LIMITS)))
        case Record.SESSION_BLOCKED:
            return frames.session_blocked(chance.choice(LIMITS), number)
        case Record.END:
            return frames.end()
        case Record.HELLO:
            return frames.hello(max_frame=chance.choice(SIZES), meta=opening(chance)["meta"])
        case Record.WELCOME:
            return frames.welcome(max_message=chance.choice(LIMITS), meta=opening(chance)["meta"])
        case _:
            return frames.record(kind, frames.varint(number))


# DATA and OPEN thrice: without channels and messages there is nothing to see.
KINDS = [Kind.OPEN, Kind.OPEN, Kind.DATA, Kind.DATA, *Kind]
FRAMES: list[Callable[[random.Random], bytes]] = [
    *(lambda chance, kind=kind: said(kind, chance) for kind in KINDS),
    *(lambda chance, kind=kind: recorded(kind, chance) for kind in Record),
]
