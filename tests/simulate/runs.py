"""Schedules, one after the other, and what they came to."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from simulate.world import SITUATIONS, World


def run(seed: str, world: type[World] = World, steps: int = 300) -> World:
    """One schedule. What fails says how to see it again."""
    try:
        simulated = world(seed)
        for _ in range(steps):
            simulated.step()
        simulated.finish()
    except Exception as error:
        error.add_note(f"to see it again: python tests/simulate --schedule {seed}")
        raise
    return simulated


@dataclass
class Totals:
    """What some schedules came to."""

    schedules: int = 0
    breaks: int = 0
    resumptions: int = 0
    messages: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def run(self, seed: str, breaks: int) -> Iterator[None]:
        """As many schedules as it takes for so many breaks; pauses after each."""
        while self.breaks < breaks:
            world = run(f"{seed}/{self.schedules}")
            self.schedules += 1
            self.breaks += world.breaks
            self.resumptions += world.resumptions
            self.messages += world.messages
            self.seen += world.seen
            yield

    @property
    def missing(self) -> list[str]:
        """Situations that never came about."""
        return [situation for situation in SITUATIONS if not self.seen[situation]]
