"""Who may send next, as a Python function for the tests of fairness."""

def order(channels: list[tuple[int, int, int]], turns: int) -> list[int]:
    """Let channels `(id, priority, message size)` that always have something to send take turns; the ids that sent."""
