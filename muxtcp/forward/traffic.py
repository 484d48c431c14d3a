"""What has gone through, in numbers: for the display, the log and tests."""

from collections import deque
from dataclasses import dataclass, field

TICK = 0.5  # seconds between two looks
RATE_TICKS = 4  # a rate is that of the last 2 s


@dataclass
class Traffic:
    """The connections of one forwarding. `outward` is what this side's sockets gave, `inward` what they were given."""

    name: str
    opened: int = 0
    open: int = 0
    failed: int = 0
    """Connections that were refused, unreachable, reset or lost with the link."""
    outward: int = 0
    """Bytes."""
    inward: int = 0
    """Bytes."""
    _ticks: deque[tuple[int, int]] = field(default_factory=lambda: deque([(0, 0)], maxlen=RATE_TICKS + 1))

    def tick(self) -> None:
        """`TICK` seconds have passed."""
        self._ticks.append((self.outward, self.inward))

    @property
    def rates(self) -> tuple[float, float]:
        """Bytes per second, outward and inward."""
        (out_then, in_then), (out_now, in_now) = self._ticks[0], self._ticks[-1]
        seconds = max(1, len(self._ticks) - 1) * TICK
        return (out_now - out_then) / seconds, (in_now - in_then) / seconds


@dataclass
class Link:
    """The link to the other side, as the display and the log tell of it."""

    name: str
    state: str = "connecting"
    detail: str = ""
    sessions: int = 0
    resumptions: int = 0
    longest_gap: float = 0.0
    """Seconds that a session was without a connection."""
