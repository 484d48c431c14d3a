"""One session over connections that break: the world of `tests/simulate`, whose chance is the input.

Its oracles watch: no message is lost, doubled or reordered, every byte that is sent again is the same, and what the
sides say of their messages' fate is true.
"""

import random
from collections.abc import Iterator

from fuzz import mutate
from fuzz.drawn import Drawn
from simulate.world import World

STEPS = 200


def one(data: bytes) -> None:
    chance = Drawn(data)
    world = World("drawn", chance)
    for _ in range(STEPS):
        if not chance.left:
            break
        world.step()
    world.finish()


def seeds() -> Iterator[bytes]:
    for number in range(24):
        yield random.Random(number).randbytes(100 + 20 * number)


change = mutate.of_choices(1_000)
