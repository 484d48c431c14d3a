"""The states of a channel and the table of channels, as Python functions for tests."""

from typing import Final

STATES: Final[tuple[str, ...]]
STEPS: Final[tuple[str, ...]]
OUTCOMES: Final[tuple[str, ...]]

def transition(state: str, step: str) -> str:
    """What `step` leads to from `state`, all by name."""

def exercise(operations: list[tuple[str, int]]) -> list[bool]:
    """Run ("add" | "remove" | "find", id) operations on a table and return what each find saw."""
