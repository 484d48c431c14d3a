"""The nine feeds of a small harbour: what each is called, its rhythm, and how large its messages are."""

import itertools
import math
import struct
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

from muxtcp import Priority

Rhythm = Callable[[Random], Iterator[float]]  # seconds from each message to the next


def steady(rate: float) -> Rhythm:
    """`rate` messages a second, evenly."""
    return lambda dice: itertools.repeat(1 / rate)


def by_chance(rate: float) -> Rhythm:
    """`rate` messages a second on average, each independent of the others (a Poisson process)."""
    return lambda dice: iter(lambda: dice.expovariate(rate), None)


def bursts(count: int, pause: float) -> Rhythm:
    """`count` messages at once, every `pause` seconds."""
    return lambda dice: itertools.cycle([pause] + [0.0] * (count - 1))


def swelling(low: float, high: float, period: float) -> Rhythm:
    """A rate that swings between `low` and `high` messages a second, once in `period` seconds."""

    def delays(dice: Random) -> Iterator[float]:
        at = dice.uniform(0, period)
        while True:
            rate = low + (high - low) * (1 + math.sin(2 * math.pi * at / period)) / 2
            at += 1 / rate
            yield 1 / rate

    return delays


class Feed(NamedTuple):
    """One source of numbers."""

    name: str
    rhythm: Rhythm
    size: tuple[int, int]  # bytes of a message, least and most; drawn anew for each
    priority: Priority = Priority.NORMAL


HEARTBEAT = "heartbeat"

FEEDS = {
    feed.name: feed
    for feed in (
        Feed(HEARTBEAT, steady(4), (24, 24), Priority.URGENT),
        Feed("storm-alarm", by_chance(0.5), (80, 400), Priority.HIGH),
        Feed("wind-vane", steady(10), (32, 32)),
        Feed("tide-gauge", steady(1), (48, 48)),
        Feed("seismograph", steady(100), (64, 64)),
        Feed("ship-positions", bursts(40, 2.0), (120, 180)),
        Feed("gull-counter", swelling(2, 60, 8.0), (28, 28)),
        Feed("lighthouse-cam", steady(12), (18_000, 42_000), Priority.BULK),
        Feed("night-archive", bursts(8, 1.0), (200_000, 400_000), Priority.BULK),
    )
}


class Sample(NamedTuple):
    """What a message says: the rest of it is padding."""

    number: int  # 0, 1, 2, ... on each channel: a missing or doubled message shows
    sent_at: float  # seconds since the epoch by the sender's clock
    reading: float  # the random number


_HEADER = struct.Struct("!Qdd")


def encode(sample: Sample, size: int) -> bytes:
    """A message of `size` bytes; at least the 24 of the sample."""
    return _HEADER.pack(*sample).ljust(size, b"\0")


def decode(message: bytes) -> Sample:
    """The sample in a message.

    Raises:
        ValueError: The message is too short to hold one.
    """
    if len(message) < _HEADER.size:
        raise ValueError(f"a sample needs {_HEADER.size} bytes, the message has {len(message)}")
    return Sample._make(_HEADER.unpack_from(message))
