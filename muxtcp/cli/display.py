"""What a terminal shows of a tunnel while it runs; needs rich."""

import logging
import time
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from .tunnels import Status

STYLES = {"connected": "bold green", "serving": "bold green", "reconnecting": "bold red", "draining": "bold yellow"}
SHOWN = 20  # rows


class Display:
    """Takes over the lines below the prompt; log lines scroll by above."""

    def __init__(self, out: TextIO) -> None:
        self._console = Console(file=out)
        self._live = Live(console=self._console, auto_refresh=False)
        self._began = time.monotonic()
        self.handler = _Above(self._console)

    def __enter__(self) -> "Display":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, status: "Status") -> None:
        """The status as it is now."""
        self._live.update(picture(status, time.monotonic() - self._began), refresh=True)


class _Above(logging.Handler):
    """Log lines, above what is redrawn."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        self._console.print(escape(self.format(record)), style=style, highlight=False, soft_wrap=True)


class Bars:
    """How far a transfer is: what was sent, out of how much where that is known, and what was received."""

    def __init__(self, out: TextIO) -> None:
        columns = "{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
        self._progress = Progress(*columns, console=Console(file=out), auto_refresh=False, transient=True)
        self._sent = self._progress.add_task("sent", total=None)
        self._received = self._progress.add_task("received", total=None)

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, total: int | None, sent: int, received: int) -> None:
        """Bytes so far."""
        self._progress.update(self._sent, total=total, completed=sent)
        self._progress.update(self._received, completed=received)
        self._progress.refresh()


def picture(status: "Status", seconds: float) -> RenderableType:
    """A line for the link, a table of what goes through it."""
    head = Text.assemble(
        status.title,
        "  ",
        (status.state, STYLES.get(status.state, "bold yellow")),
        f"  {clock(seconds)}  {status.facts}",
    )
    head.truncate(200, overflow="ellipsis")
    table = Table(expand=False)
    table.add_column("forwarding", no_wrap=True)
    for name in ("open", "opened", "failed", "out/s", "in/s", "out", "in"):
        table.add_column(name, justify="right", no_wrap=True, min_width=6)
    rows = sorted(status.rows, key=lambda row: row.open, reverse=True) if len(status.rows) > SHOWN else status.rows
    for row in rows[:SHOWN]:
        rates = [f"{amount(rate)}/s" for rate in row.rates]
        totals = [amount(row.outward), amount(row.inward)]
        table.add_row(escape(row.name), f"{row.open:,}", f"{row.opened:,}", f"{row.failed:,}", *rates, *totals)
    if len(rows) > SHOWN:
        table.add_row(f"... and {len(rows) - SHOWN:,} more", style="dim")
    return Group(head, table)


def amount(size: float) -> str:
    """Bytes in the unit that suits them: "823 B", "1.3 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1_000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1_000
    return f"{size:.1f} TB"


def clock(seconds: float) -> str:
    """A duration as "0:12:05"."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
