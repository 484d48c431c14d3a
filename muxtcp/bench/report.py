"""The table and the JSON document."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

import muxtcp

from .judge import Entry, Kind, Row, Verdict
from .peers import Peer
from .runner import Settings
from .stage import LEVELS
from .workloads import Measure

COLUMNS = ("", "workload", "value", "ratio", "target", "CPU %", "CPU each")
NUMERIC = ("value", "ratio", "CPU %", "CPU each")

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
    """The lines of the table, under `COLUMNS`: each workload, and what it is compared with, the best peer first.

    A ratio is ours to theirs, and the target that refers to it stands in the same line.
    """
    lines: list[Line] = []
    for row in rows:
        measure, workload = row.workload.measure, row.workload
        ours = f"{_value(row.ours, measure)} {measure.unit}"
        elsewhere = [v for v in row.verdicts if not any(_is_of(v, entry) for entry in row.others)]
        verdicts = ", ".join(_judgement(verdict, measure) for verdict in elsewhere)
        lines.append((workload.id, workload.title, ours, "", verdicts, _busy(row.ours), _each(row.ours)))
        lines += [
            (
                "",
                f"  {entry.kind.value}: {entry.label}",
                _value(entry, measure),
                f"{row.ratio(entry).median:.2f}",
                ", ".join(_judgement(verdict, measure) for verdict in row.verdicts if _is_of(verdict, entry)),
                _busy(entry),
                _each(entry),
            )
            for entry in row.others
        ]
    return lines


def _is_of(verdict: Verdict, entry: Entry) -> bool:
    """Whether a bound is a ratio to this entry."""
    return verdict.bound.of in {entry.id or entry.label, "floor" if entry.kind is Kind.FLOOR else ""}


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


def _value(entry: Entry, measure: Measure) -> str:
    named = zip(measure.asides, entry.asides, strict=False)  # a peer may not report them
    asides = ", ".join(f"{name} {digits(value)} {unit}" for (name, unit), value in named)
    spread = f" ±{entry.value.spread:.0%}" if len(entry.value.rounds) > 1 else ""
    return digits(entry.value.median) + spread + (f" ({asides})" if asides else "")


def digits(value: float) -> str:
    """A figure with as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _judgement(verdict: Verdict, measure: Measure) -> str:
    """`>= 1.5 met`; what is not a ratio to something in the same line says of what it is, and how much that is."""
    bound = verdict.bound
    outcome = {True: "met", False: "MISSED", None: "?"}[verdict.met]
    sign = ">=" if measure.more_is_better else "<="
    match bound.of:
        case "floor":
            of = ""
        case "value":
            of = f" {measure.unit}"
        case _:
            of = f" x {bound.of}" + ("" if verdict.reached is None else f", is {verdict.reached:.2f}")
    return f"{sign} {digits(bound.limit)}{of} {outcome}"


def _busy(entry: Entry) -> str:
    return " + ".join(f"{share:.0%}".rstrip("%") for share in entry.busy or ())


def _each(entry: Entry) -> str:
    """CPU of both sides for each message, round trip or open."""
    if entry.each is None:
        return ""
    return f"{entry.each * 1e9:.0f} ns" if entry.each < 1e-6 else f"{digits(entry.each * 1e6)} µs"


def document(
    rows: Sequence[Row], settings: Settings, machine: Json, peers: Sequence[Peer], noise: Sequence[str]
) -> Json:
    """Everything that was measured, and on what: the content of the JSON file."""
    return {
        "muxtcp": muxtcp.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "noise": list(noise),
        "settings": asdict(settings),
        "peers": {peer.id: {"label": peer.label, "version": peer.version} for peer in peers},
        "workloads": [_row(row) for row in rows],
    }


def _row(row: Row) -> Json:
    workload, measure = row.workload, row.workload.measure
    return {
        "id": workload.id,
        "title": workload.title,
        "unit": measure.unit,
        "more_is_better": measure.more_is_better,
        "placement": workload.placement.value,
        "ours": _entry(row.ours, measure),
        "others": [{**_entry(entry, measure), "ratio": row.ratio(entry).median} for entry in row.others],
        "best_peer": row.best_peer and row.best_peer.id,
        "targets": [
            {**asdict(verdict.bound), "reached": verdict.reached, "met": verdict.met} for verdict in row.verdicts
        ],
    }


def _entry(entry: Entry, measure: Measure) -> Json:
    asides = {name: value for (name, _), value in zip(measure.asides, entry.asides, strict=False)}
    return {
        "contestant": entry.label,
        "kind": entry.kind.name.lower(),
        "id": entry.id,
        "value": entry.value.median,
        "spread": entry.value.spread,
        "rounds": entry.value.rounds,
        **asides,
        "latency_us": dict(zip(map(str, LEVELS), entry.curve, strict=False)),
        "cpu": entry.busy and dict(zip(("client", "server"), entry.busy, strict=True)),
        "cpu_each_ns": entry.each and entry.each * 1e9,
    }
