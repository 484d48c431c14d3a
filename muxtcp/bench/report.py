"""The table and the JSON document."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import muxtcp

from .judge import Entry, Row, Verdict
from .runner import Settings
from .workloads import Measure

COLUMNS = ("", "workload", "muxtcp", "floor", "ratio", "now", "target", "CPU %", "floor's")
NUMERIC = COLUMNS[2:]

Line = tuple[str, ...]
Json = dict[str, Any]


def show(rows: Sequence[Row], *, terminal: bool) -> None:
    """Print the table: drawn by rich where it is installed and stdout is a terminal, else in plain text."""
    lines = cells(rows)
    if terminal and find_spec("rich"):
        _draw(lines)
    else:
        print(plain(lines))


def cells(rows: Sequence[Row]) -> list[Line]:
    """The lines of the table, under `COLUMNS`; references follow their workload, without an id."""
    lines: list[Line] = []
    for row in rows:
        measure = row.workload.measure
        lines.append(
            (
                row.workload.id,
                row.workload.title,
                f"{_value(row.ours)} {measure.unit}",
                _value(row.floor),
                f"{row.ratio.median:.2f}",
                _judgement(row.milestone, measure),
                _judgement(row.target, measure),
                _busy(row.ours),
                _busy(row.floor),
            )
        )
        lines += [
            ("", f"  beside it: {reference.label}", "", _value(reference), "", "", "", "", _busy(reference))
            for reference in row.references
        ]
    return lines


def plain(lines: Sequence[Line]) -> str:
    """The table as text with aligned columns."""
    everything = [COLUMNS, *lines]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]

    def aligned(line: Line) -> str:
        columns = zip(COLUMNS, line, widths, strict=True)
        return "  ".join(
            cell.rjust(width) if header in NUMERIC else cell.ljust(width) for header, cell, width in columns
        )

    return "\n".join(aligned(line).rstrip() for line in everything)


def _draw(lines: Sequence[Line]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for header in COLUMNS:
        table.add_column(header, justify="right" if header in NUMERIC else "left")
    for line in lines:
        table.add_row(*(cell.replace("met", "[green]met[/]").replace("MISSED", "[red]MISSED[/]") for cell in line))
    Console().print(table)


def _value(entry: Entry) -> str:
    aside = "" if entry.aside is None else f" ({_digits(entry.aside)})"
    spread = f" ±{entry.value.spread:.0%}" if len(entry.value.rounds) > 1 else ""
    return _digits(entry.value.median) + aside + spread


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _judgement(verdict: Verdict | None, measure: Measure) -> str:
    """`>= 1.5 met`: a ratio to the floor; a bound of another kind says what it is of."""
    if verdict is None:
        return ""
    bound = verdict.bound
    limit = f"{bound.limit:,.0f}" if bound.limit >= 100 else f"{bound.limit:.3g}"
    of = {"floor": "", "value": f" {measure.unit}"}.get(bound.of, f" x {bound.of}")
    outcome = {True: "met", False: "MISSED", None: "?"}[verdict.met]
    return f"{'>=' if measure.more_is_better else '<='} {limit}{of} {outcome}"


def _busy(entry: Entry) -> str:
    if entry.cpu is None or entry.seconds is None:
        return ""
    return " + ".join(f"{cpu / seconds * 100:.0f}" for cpu, seconds in zip(entry.cpu, entry.seconds, strict=True))


def document(rows: Sequence[Row], settings: Settings) -> Json:
    """Everything that was measured, and on what: the content of the JSON file."""
    return {
        "muxtcp": muxtcp.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "settings": asdict(settings),
        "workloads": [_row(row) for row in rows],
    }


def _machine() -> Json:
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in facts if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],  # of the last minute, which may be our own
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "uvloop": version("uvloop"),
    }


def _row(row: Row) -> Json:
    measure = row.workload.measure
    return {
        "id": row.workload.id,
        "title": row.workload.title,
        "unit": measure.unit,
        "more_is_better": measure.more_is_better,
        "placement": row.workload.placement.value,
        **_entry(row.ours, measure),
        "floor": _entry(row.floor, measure),
        "ratio": row.ratio.median,
        "milestone": _verdict(row.milestone),
        "target": _verdict(row.target),
        "references": [_entry(reference, measure) for reference in row.references],
    }


def _entry(entry: Entry, measure: Measure) -> Json:
    document: Json = {
        "contestant": entry.label,
        "value": entry.value.median,
        "spread": entry.value.spread,
        "rounds": entry.value.rounds,
    }
    if measure.aside is not None:
        document[measure.aside] = entry.aside
    for name, sides in {"seconds": entry.seconds, "cpu_seconds": entry.cpu}.items():
        document[name] = sides and dict(zip(("client", "server"), sides, strict=True))
    return document


def _verdict(verdict: Verdict | None) -> Json | None:
    if verdict is None:
        return None
    return {**asdict(verdict.bound), "reached": verdict.reached, "met": verdict.met}
