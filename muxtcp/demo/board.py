"""What the client has seen so far: numbers in, facts out. It knows no clock, no socket and no terminal."""

import statistics
from collections import deque
from collections.abc import Iterable
from typing import Any

import muxtcp

from .feeds import HEARTBEAT, Sample

TICK = 0.25  # seconds of one point in a sparkline
POINTS = 32  # of a sparkline
RATE_TICKS = 8  # a rate is that of the last 2 s


class Row:
    """What has arrived on the channels of one name, over all sessions."""

    def __init__(self) -> None:
        self.per_session: list[int] = []  # messages
        self.bytes = 0
        self.gaps = 0  # messages skipped within a session
        self.doubled = 0  # messages that came again within a session
        self.reading: float | None = None  # the newest random number
        self._expected = 0
        self._ticks: deque[tuple[int, int]] = deque([(0, 0)] * POINTS, maxlen=POINTS)  # messages, bytes
        self._current = (0, 0)

    @property
    def messages(self) -> int:
        """In all sessions together."""
        return sum(self.per_session)

    def begin_session(self) -> None:
        """From here on numbers count from 0 again."""
        self.per_session.append(0)
        self._expected = 0

    def add(self, sample: Sample, size: int) -> None:
        """A message of `size` bytes has arrived."""
        self.per_session[-1] += 1
        self.bytes += size
        self.reading = sample.reading
        self._current = self._current[0] + 1, self._current[1] + size
        if sample.number < self._expected:
            self.doubled += 1
        else:
            self.gaps += sample.number - self._expected
            self._expected = sample.number + 1

    def tick(self) -> None:
        """`TICK` seconds have passed."""
        self._ticks.append(self._current)
        self._current = (0, 0)

    @property
    def rates(self) -> tuple[float, float]:
        """Messages and bytes per second, over the last `RATE_TICKS`."""
        recent = list(self._ticks)[-RATE_TICKS:]
        messages, size = map(sum, zip(*recent, strict=True))
        return messages / (RATE_TICKS * TICK), size / (RATE_TICKS * TICK)

    @property
    def history(self) -> list[int]:
        """Messages in each of the last `POINTS` ticks, oldest first."""
        return [messages for messages, size in self._ticks]


class Board:
    """All rows, and the state of the connection."""

    def __init__(self, names: Iterable[str]) -> None:
        self.rows = {name: Row() for name in names}
        self.seconds = 0.0  # since the start
        self.sessions = 0
        self.resumptions = 0  # of sessions whose connection broke
        self.longest_gap = 0.0  # seconds that a session was without one
        self.state = "connecting"  # then "connected" and "reconnecting" in turn
        self.detail = ""  # what happened, or happens next, in words
        self.latencies: deque[float] = deque(maxlen=100)  # of the newest heartbeats, in seconds

    @property
    def reconnects(self) -> int:
        """Sessions after the first."""
        return max(self.sessions - 1, 0)

    @property
    def gaps(self) -> int:
        """Messages that should have been there, of all rows."""
        return sum(row.gaps for row in self.rows.values())

    @property
    def doubled(self) -> int:
        """Messages that came more than once, of all rows."""
        return sum(row.doubled for row in self.rows.values())

    @property
    def rates(self) -> tuple[float, float]:
        """Messages and bytes per second, of all rows together."""
        messages, size = zip(*(row.rates for row in self.rows.values()), strict=True)
        return sum(messages), sum(size)

    @property
    def latency(self) -> float | None:
        """Median age of the newest heartbeats on arrival, in seconds; None before the first."""
        return statistics.median(self.latencies) if self.latencies else None

    def on_state(self, state: str, info: muxtcp.StateInfo) -> None:
        """What the connector tells of the connection."""
        match state:
            case "connected":
                self.sessions += 1
                self.state, self.detail = "connected", ""
                for row in self.rows.values():
                    row.begin_session()
            case "reconnecting" | "disconnected" | "lost":
                self.state = "reconnecting" if self.sessions else "connecting"
                self.detail = str(info.cause or "")
            case "resumed":
                assert info.gap is not None
                self.resumptions += 1
                self.longest_gap = max(self.longest_gap, info.gap)
                self.state, self.detail = "connected", ""
            case "waiting":
                self.detail = f"attempt {info.attempt + 1} in {info.delay:.1f} s: {info.cause}"

    def add(self, name: str, sample: Sample, size: int, now: float) -> None:
        """A message of `size` bytes has arrived on the channel `name`; `now` is seconds since the epoch."""
        self.rows[name].add(sample, size)
        if name == HEARTBEAT:
            self.latencies.append(now - sample.sent_at)

    def tick(self, seconds: float) -> None:
        """Another `TICK` seconds have passed, and `seconds` since the start."""
        self.seconds = seconds
        for row in self.rows.values():
            row.tick()

    def summary(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        return {
            "seconds": round(self.seconds, 1),
            "sessions": self.sessions,
            "reconnects": self.reconnects,
            "resumptions": self.resumptions,
            "longest_gap_ms": round(self.longest_gap * 1_000, 3),
            "gaps": self.gaps,
            "doubled": self.doubled,
            "heartbeat_ms": None if self.latency is None else round(self.latency * 1_000, 3),
            "streams": {
                name: {"messages": row.messages, "bytes": row.bytes, "after_reconnect": row.per_session[1:]}
                for name, row in self.rows.items()
            },
        }
