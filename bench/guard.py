"""Fails when a message costs more than it did: `python bench/guard.py`, and `--renew` after a change that is worth it.

Instructions are counted (by valgrind, as `python -m muxtcp.bench --micro` does), not seconds: the same build gives the
same figures on any machine of its architecture. The interpreter's own part depends on how it was built, so each
interpreter has a baseline of its own in `bench/instructions.json`; one without passes, and says so.
"""

import argparse
import json
import platform
import sys
from pathlib import Path

from muxtcp.bench import micro

BASELINES = Path(__file__).with_name("instructions.json")
ALLOWED = 1.10  # times the baseline


def interpreter() -> str:
    """What a baseline is of."""
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.python_compiler()}, "
        f"{platform.machine()}"
    )


def judge(counted: dict[str, float], baseline: dict[str, float]) -> tuple[list[str], bool]:
    """A line for each step, and whether all are within what is allowed."""
    lines, good = [], True
    for name, now in counted.items():
        before = baseline[name]
        change = f"{name:<8} {before:>7,.0f} -> {now:>7,.0f} instructions per message ({now / before - 1:+.1%})"
        if now > before * ALLOWED:
            change += f": MORE than {ALLOWED - 1:.0%} above the baseline"
            good = False
        lines.append(change)
    return lines, good


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 good, or renewed, or without a baseline; 1 too expensive, or valgrind failed."""
    parser = argparse.ArgumentParser(prog="python bench/guard.py", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--renew", action="store_true", help="make what is counted now this interpreter's baseline")
    options = parser.parse_args(argv)
    try:
        counted = micro.instructions()
    except OSError as error:
        print(f"bench/guard.py: {error}", file=sys.stderr)
        return 1
    baselines = json.loads(BASELINES.read_text())
    if options.renew:
        baselines[interpreter()] = {name: round(count) for name, count in counted.items()}
        BASELINES.write_text(json.dumps(dict(sorted(baselines.items())), indent=2) + "\n")
    baseline = baselines.get(interpreter())
    print(interpreter())
    if baseline is None:
        print("has no baseline yet, so nothing is guarded: python bench/guard.py --renew")
        return 0
    lines, good = judge(counted, baseline)
    print("\n".join(lines))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
