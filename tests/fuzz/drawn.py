"""Chance drawn from an input, so that whoever changes the bytes changes what happens."""

import random
import zlib
from collections.abc import Sequence
from typing import Any


class Drawn(random.Random):
    """A `Random` whose numbers are the bytes of `data`, one for a small choice; then those of a seed made of them.

    The end of the bytes is the end of what an input decides: a target looks at `left`.
    """

    def __new__(cls, data: bytes) -> "Drawn":
        return super().__new__(cls, 0)

    def __init__(self, data: bytes) -> None:
        super().__init__(zlib.crc32(data))
        self.data, self.at = data, 0

    @property
    def left(self) -> bool:
        return self.at < len(self.data)

    def random(self) -> float:
        return self.number(2) / 65_536 if self.left else super().random()

    def getrandbits(self, bits: int, /) -> int:
        return self.number(-(-bits // 8)) & (1 << bits) - 1 if self.left else super().getrandbits(bits)

    def choice(self, options: Sequence[Any]) -> Any:
        """One byte, where Random takes as many as it needs for one that fits."""
        return options[self.number(1) % len(options)] if self.left else super().choice(options)

    def number(self, size: int) -> int:
        self.at += size
        return int.from_bytes(self.data[self.at - size : self.at], "little")
