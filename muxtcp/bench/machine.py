"""What the figures were measured on, and whether it was quiet enough to believe them."""

import os
import platform
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from .judge import Kind, Row
from .runner import Round
from .stage import TwoSides
from .workloads import Placement

# More than so much, and a figure says as much about the machine's other work as about what was measured.
WAITED = 0.05  # share of the time for which a process could have run and its CPU, which nothing else needs, was taken
SPREAD = 0.15  # half the range of a floor's rounds, which nobody changed in between
STOLEN = 0.02  # share of the CPUs' time that a hypervisor gave to others


def description() -> dict[str, Any]:
    """The machine and the programs, for the JSON document."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in facts if line.startswith("model name")]
    virtual = any(" hypervisor" in line for line in facts if line.startswith("flags"))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "virtual": virtual,
        "memory_gib": round(memory / 2**30, 1),
        "load": os.getloadavg()[0],  # of the last minute, which may be our own
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "uvloop": version("uvloop"),
        "openssl": ssl.OPENSSL_VERSION,
    }


def in_words(machine: dict[str, Any]) -> str:
    """The description in a line."""
    return (
        f"{machine['cpu']}, {machine['cpus']} CPUs{' of a virtual machine' * machine['virtual']}, "
        f"{machine['memory_gib']:g} GiB; {machine['system']}; {machine['python']}, uvloop {machine['uvloop']}"
    )


@dataclass(frozen=True)
class Times:
    """Ticks of all CPUs since the machine was started."""

    stolen: int
    total: int

    @classmethod
    def now(cls) -> "Times":
        """As the kernel counts them."""
        ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return cls(stolen=ticks[7], total=sum(ticks))

    def stolen_since(self, before: "Times") -> float:
        """Share of the time that was given to other machines."""
        return (self.stolen - before.stolen) / max(self.total - before.total, 1)


def noise(rounds: Sequence[Round], rows: Sequence[Row], stolen: float) -> list[str]:
    """What makes the figures hard to believe, a sentence each; empty on a quiet machine."""
    # Ours and the floors have one thread on a CPU of its own. (Several threads of a peer wait for each other.)
    waited = [
        side["waited"] / side["seconds"]
        for outcomes in rounds
        for match, outcome in outcomes.items()
        if isinstance(match.contestant, TwoSides) and match.placement is Placement.APART
        for side in (outcome.client, outcome.server)
        if "waited" in side
    ]
    spreads = [entry.value.spread for row in rows for entry in row.others if entry.kind is Kind.FLOOR]
    findings = {
        f"half of the measured processes waited for their CPU for {_share(waited)} of the time or more: something else "
        f"runs here": _median(waited) > WAITED,
        f"half of the floors varied by ±{_share(spreads)} or more from round to round": _median(spreads) > SPREAD,
        f"the hypervisor gave {stolen:.0%} of the time to other machines": stolen > STOLEN,
    }
    return [text for text, found in findings.items() if found]


def _median(shares: Sequence[float]) -> float:
    return median(shares) if shares else 0.0


def _share(shares: Sequence[float]) -> str:
    return f"{_median(shares):.0%}"
