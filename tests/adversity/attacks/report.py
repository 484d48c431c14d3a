"""The table of a run."""

from collections.abc import Iterable

from adversity.attacks.trial import Result
from rich.console import Console
from rich.table import Table

COLUMNS = {
    "attack": "left",
    "throughput": "right",
    "kept": "right",
    "p99 ms": "right",
    "memory MiB": "right",
    "attacker": "right",
    "seen": "left",
    "verdict": "left",
}


def cells(result: Result) -> list[str]:
    before, during, mib = result.before, result.during, 1 << 20
    return [
        result.attack.name,
        f"{before.capacity / 1e3:,.0f} -> {during.capacity / 1e3:,.0f} k/s",
        f"{result.kept:.0%}",
        f"{before.p99 * 1e3:.1f} -> {during.p99 * 1e3:.1f} of {result.longest * 1e3:.1f}",
        f"{result.grown / mib:.1f} of {result.allowed / mib:.0f}",
        f"{result.share:.0%} CPU, {result.connections:,} conn., {result.sent / mib:,.1f} MiB",
        f"{result.attack.sign} {result.seen.get(result.attack.sign, 0):,}",
        ", ".join(result.findings) or "held",
    ]


def show(results: Iterable[Result]) -> None:
    table = Table(title="another session, before and during each attack")
    for column, justify in COLUMNS.items():
        table.add_column(column, justify=justify)
    for result in results:
        table.add_row(*cells(result), style="red" if result.findings else None)
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a file is as wide as the table
    console.print(table)
