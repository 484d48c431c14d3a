"""The board in a terminal, redrawn in place; needs rich."""

from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .board import Board
from .feeds import FEEDS
from .views import amount, counts, milliseconds, sparkline

STYLES = {"connecting": "bold yellow", "connected": "bold green", "reconnecting": "bold red"}


class LiveDisplay:
    """Takes over the lines below the prompt and leaves the last picture there."""

    def __init__(self, out: TextIO) -> None:
        self._live = Live(console=Console(file=out), auto_refresh=False)

    def __enter__(self) -> "LiveDisplay":
        self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()

    def show(self, board: Board) -> None:
        """The board as it is now."""
        self._live.update(picture(board), refresh=True)


def picture(board: Board) -> RenderableType:
    """State, table, totals."""
    head = Text.assemble(f"{board.seconds:6.1f} s  ", (board.state, STYLES[board.state]), f"  {board.detail}")
    head.truncate(100, overflow="ellipsis")
    messages, size = board.rates
    foot = f"{messages:,.0f} msg/s  {amount(size)}/s  heartbeat {milliseconds(board.latency)}  {counts(board)}"
    return Group(head, _table(board), foot)


def _table(board: Board) -> Table:
    table = Table(expand=False)
    table.add_column("channel", no_wrap=True)
    table.add_column("priority")
    for title in ("number", "messages", "msg/s", "rate"):
        table.add_column(title, justify="right", no_wrap=True, min_width=8)
    table.add_column("messages over time", no_wrap=True)
    for name, row in board.rows.items():
        messages, size = row.rates
        table.add_row(
            name,
            FEEDS[name].priority.name.lower(),
            "-" if row.reading is None else f"{row.reading:.2f}",
            f"{row.messages:,}",
            f"{messages:,.1f}",
            f"{amount(size)}/s",
            sparkline(row.history),
            style="" if board.state == "connected" else "dim",
        )
    return table
