"""The benchmark: `python -m muxtcp.bench`.

Two processes talk over loopback, each on its own CPU, and every figure is set beside a *floor*: what raw uvloop, with
no library in between, reaches on the same machine in the same round. Absolute rates differ from machine to machine; the
ratios travel.

    workloads.py   what is measured, against which floor, and which ratio is asked of it
    stage.py       what a contestant is, and what it is given inside its child process
    floors.py      the contestants without muxtcp: raw uvloop protocols
    ours.py        the contestants on muxtcp's public API; lives.py: a million channels
    peers.py       the contestants by others: programs in any language, described in bench/README.md
    runner.py      children, pinning, rounds
    judge.py       medians, ratios, targets
    machine.py     what it was measured on, and whether that was quiet enough
    report.py      the table, the JSON document; compare.py: beside an earlier one; plot.py: drawn
    micro.py       the steps of one message alone, in nanoseconds and instructions
    progress.py    a bar on a terminal, plain lines elsewhere
    _child.py      the process that plays one side

To add a workload, append a `Workload` to `workloads.WORKLOADS`; to add a contestant or a floor, write a frozen
dataclass derived from `stage.TwoSides` with its two sides and name it in a workload.
"""
