"""Bars and latency curves, from the JSON document of a run: what one would show in a talk."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .report import digits

Json = dict[str, Any]

COLOURS = {"ours": "#c8442b", "floor": "#9aa5b1", "reference": "#c3cad3", "peer": "#4a76a8"}
COLUMNS = 3
PANEL = (4.6, 3.0)  # inches
REFERENCES = 5  # times the best of the others, at most
# On the axis of a curve, 90, 99 and 99.9 % are equally far from each other: the tail is what one looks for.
TICKS = (50, 90, 99, 99.9)


def check(path: Path) -> None:
    """Whether `draw` could work.

    Raises:
        ValueError: the name ends with something else than .svg or .png, or matplotlib is missing.
    """
    if path.suffix not in {".svg", ".png"}:
        raise ValueError(f"a plot is .svg or .png, not {path.suffix or 'without a suffix'}: {path}")
    if find_spec("matplotlib") is None:
        raise ValueError("--plot needs matplotlib: pip install 'muxtcp[plot]'")


def draw(document: Json, path: Path) -> None:
    """One panel of bars for each rate that was measured beside others, one of curves for each latency."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams |= {"svg.hashsalt": "muxtcp", "svg.fonttype": "none", "font.size": 8, "axes.spines.top": False}
    from matplotlib import pyplot

    rows = [row for row in document["workloads"] if row["others"]]
    lines = -(-len(rows) // COLUMNS)
    figure, grid = pyplot.subplots(
        lines, COLUMNS, figsize=(PANEL[0] * COLUMNS, PANEL[1] * lines), squeeze=False, layout="constrained"
    )
    panels = [panel for line in grid for panel in line]
    for panel, row in zip(panels, rows, strict=False):
        (_curves if row["ours"]["latency_us"] and row["unit"] == "µs" else _bars)(panel, row)
    for panel in panels[len(rows) :]:
        panel.set_axis_off()
    machine = document["machine"]
    figure.suptitle(f"muxtcp {document['muxtcp']} on {machine['cpu']}, {machine['python']}")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _entries(row: Json) -> list[Json]:
    """Ours and the others, the best first."""
    return sorted([row["ours"], *row["others"]], key=lambda entry: entry["value"], reverse=row["more_is_better"])


def _bars(panel: Any, row: Json) -> None:
    # Bars are drawn from below. A reference that would squeeze all others into its first fifth is left out.
    most = max(entry["value"] for entry in _entries(row) if entry["kind"] != "reference")
    entries = [entry for entry in _entries(row)[::-1] if entry["value"] < REFERENCES * most]
    values = [entry["value"] for entry in entries]
    spreads = [entry["value"] * entry["spread"] for entry in entries]
    names = ["muxtcp" if entry["kind"] == "ours" else entry["contestant"] for entry in entries]
    places = range(len(entries))
    panel.barh(places, values, xerr=spreads, color=[COLOURS[entry["kind"]] for entry in entries], ecolor="#333333")
    panel.set_yticks(places, names)
    for place, value in zip(places, values, strict=True):
        panel.text(value, place, f" {digits(value)}", va="center")
    panel.set_title(f"{row['id']}: {row['title']}", loc="left", fontsize=8)
    panel.set_xlabel(f"{row['unit']}, {'more' if row['more_is_better'] else 'less'} is better")
    panel.margins(x=0.15)


def _curves(panel: Any, row: Json) -> None:
    for entry in _entries(row):
        levels = {float(level): value for level, value in entry["latency_us"].items()}
        shown = {_from_the_top(level): value for level, value in levels.items()}
        ours = entry["kind"] == "ours"
        panel.plot(
            list(shown),
            list(shown.values()),
            label="muxtcp" if ours else entry["contestant"],
            color=COLOURS["ours"] if ours else None,
            linewidth=2.5 if ours else 1,
            linestyle="--" if entry["kind"] == "floor" else "-",
        )
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xticks([_from_the_top(level) for level in TICKS], [f"{level:g} %" for level in TICKS])
    panel.minorticks_off()
    panel.set_title(f"{row['id']}: {row['title']}", loc="left", fontsize=8)
    panel.set_xlabel("of the round trips took at most")
    panel.set_ylabel("µs")
    panel.legend(fontsize=6)


def _from_the_top(level: float) -> float:
    return 100 / (100 - level)
