"""The board as text, and the display for where there is no terminal: lines that stay."""

from collections.abc import Sequence
from typing import Protocol, TextIO

from .board import Board

BARS = " ▁▂▃▄▅▆▇█"


class Display(Protocol):
    """Something that shows the board; a context manager, so that it can take over the terminal and give it back."""

    def __enter__(self) -> "Display": ...
    def __exit__(self, *exc_info: object) -> None: ...
    def show(self, board: Board) -> None:
        """The board as it is now."""


class Lines:
    """One line when the state changes, and one every second."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._shown: tuple[str, str] | None = None
        self._next = 0.0

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *exc_info: object) -> None: ...

    def show(self, board: Board) -> None:
        """The board as it is now."""
        state = board.state, board.detail
        if board.seconds >= self._next or state != self._shown:
            self._next = int(board.seconds) + 1.0
            self._shown = state
            print(status(board), file=self._out, flush=True)


def status(board: Board) -> str:
    """Everything that matters, in one line."""
    head = f"{board.seconds:6.1f} s  {board.state}"
    if board.state != "connected":
        return f"{head}: {board.detail}" if board.detail else head
    messages, size = board.rates
    return (
        f"{head}  {len(board.rows)} channels  {messages:,.0f} msg/s  {amount(size)}/s  "
        f"heartbeat {milliseconds(board.latency)}  {counts(board)}"
    )


def counts(board: Board) -> str:
    """What must be said of the run as a whole."""
    return f"reconnects {board.reconnects}  resumptions {board.resumptions}  gaps {board.gaps}  doubled {board.doubled}"


def report(board: Board) -> str:
    """The last words: one line for each channel."""
    lines = [f"{board.seconds:.1f} s, {board.sessions} session{'' if board.sessions == 1 else 's'}: {counts(board)}"]
    for name, row in board.rows.items():
        after = ", ".join(f"{messages:,}" for messages in row.per_session)
        lines.append(f"  {name:<16} {row.messages:>8,} messages {amount(row.bytes):>10}   by session: {after or '-'}")
    return "\n".join(lines)


def amount(size: float) -> str:
    """Bytes in the unit that suits them: "823 B", "1.3 MB"."""
    for unit in ("B", "kB", "MB"):
        if size < 1_000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1_000
    return f"{size:.1f} GB"


def milliseconds(seconds: float | None) -> str:
    """Seconds as "0.4 ms"; "-" for None."""
    return "-" if seconds is None else f"{seconds * 1_000:.1f} ms"


def sparkline(values: Sequence[int]) -> str:
    """Bars in proportion to the largest value; a value above 0 is never an empty one."""
    top = max(values, default=0)
    steps = len(BARS) - 1
    return "".join(BARS[-(-value * steps // top)] if top else BARS[0] for value in values)
