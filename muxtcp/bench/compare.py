"""A run beside an earlier one, from the JSON documents of both."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]

# Changes of less than the rounds of both runs varied are not told from noise; nor are those below this.
RESOLUTION = 0.03


class Change(NamedTuple):
    """How a workload of ours moved, as a ratio to its floor: that travels from one machine, and hour, to another."""

    id: str
    title: str
    before: float  # ratio to the floor
    after: float
    factor: float  # how many times as good: more than 1 is better, whichever way the figure counts
    doubt: float  # the factor would have to leave 1 by more than this to mean something

    @property
    def verdict(self) -> str:
        """In a word."""
        if abs(self.factor - 1) <= self.doubt:
            return "same"
        return "better" if self.factor > 1 else "WORSE"


def read(path: Path) -> Json:
    """An earlier document.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a document of this benchmark.
    """
    try:
        content: Json = json.loads(path.read_text())
        text(content, content)  # everything that a comparison looks at is there
    except (ValueError, KeyError, TypeError, StopIteration):
        raise ValueError(f"{path} was not written by `python -m muxtcp.bench --json`") from None
    return content


def changes(old: Json, new: Json) -> Iterator[Change]:
    """What both runs measured, workload by workload."""
    earlier = {row["id"]: row for row in old["workloads"]}
    for row in new["workloads"]:
        if before := earlier.get(row["id"]):
            then, now = _floor(before)["ratio"], _floor(row)["ratio"]
            if then and now:
                factor = now / then if row["more_is_better"] else then / now
                doubt = sum(entry["spread"] for entry in (row["ours"], before["ours"], _floor(row), _floor(before)))
                yield Change(row["id"], row["title"], then, now, factor, max(doubt, RESOLUTION))


def _floor(row: Json) -> Json:
    return next(entry for entry in row["others"] if entry["kind"] == "floor")


def text(old: Json, new: Json) -> str:
    """The comparison for a reader."""
    lines = [f"compared with {old['muxtcp']} of {old['date']}, as ratios to the floors of each run:"]
    if old["machine"]["cpu"] != new["machine"]["cpu"] or old["machine"]["python"] != new["machine"]["python"]:
        lines.append(f"  that was on {old['machine']['cpu']} with {old['machine']['python']}")
    found = list(changes(old, new))
    width = max((len(change.title) for change in found), default=0)
    lines += [
        f"  {change.id:<6} {change.title:<{width}}  {change.before:>6.2f} -> {change.after:>6.2f}  "
        f"{change.factor - 1:>+5.0%} (doubt ±{change.doubt:.0%})  {change.verdict}"
        for change in found
    ]
    return "\n".join(lines if found else [*lines, "  no workload is in both"])
