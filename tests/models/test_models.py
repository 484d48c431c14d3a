"""The models hold in every state that they can reach; each mutant of them fails, for the reason that its rule is there.

Spin writes the search as a C program, `pan`. Searches are exhaustive: a run that was cut short, by its depth or by
memory, says so, and fails the test. `README.md` tells what is modelled, and how many states were searched.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DEPTH = 10_000  # steps: the longest run of a model has a few hundred
MEMORY = 900  # MB that a search may take
BOUND = 100.0  # seconds that only a search that got out of hand reaches

MISSING = [tool for tool in ("spin", "cc") if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (Debian: apt-get install spin gcc)"),
]

SAFETY = ("-DSAFETY", "-DNOCLAIM")  # assertions hold, and nothing stops before everything has arrived
LIVENESS = ("-DNOFAIR",)  # the claim `arrives`: it does arrive, and nothing goes round for ever instead

SIZES = {
    "resume": {
        "both directions": "",
        "three breaks": "TO_SERVER=2 TO_CLIENT=2 BREAKS=3",
        "longer log and pipe": "TO_SERVER=3 TO_CLIENT=2 LOG=3 PIPE=3 WINDOW=2",
        "ten frames, five breaks": "TO_SERVER=0 TO_CLIENT=10 BREAKS=5 COPIES=0",
    },
    "deadlock": {
        "one frame in the socket": "",
        "two frames in the socket": "SOCKET=2 PINGS=1",
        "no reserve in the log": "RESERVE=0",
    },
}
SMALL = {"resume": "TO_SERVER=2 TO_CLIENT=2", "deadlock": ""}  # the smallest sizes in which every rule is used
LIVE = [("resume", "both directions"), ("resume", "ten frames, five breaks"), ("deadlock", "one frame in the socket")]

# What pan says of the assertion that fails.
OUT_OF_ORDER = r"assertion violated \(number==\(at\[side\]\.delivered\+1\)\)"
RELEASED_TOO_EARLY = r"assertion violated \(at\[\d\]\.first<=at\[\(1-\d\)\]\.delivered\)"
IMPOSSIBLE_POSITION = r"assertion violated \(\(at\[\d\]\.first<=(number|claimed)\)&&"
UNSENT_ACKNOWLEDGED = r"assertion violated \(number<=at\[side\]\.cursor\)"
DISTURBED = r"assertion violated +!\(\(\(\(at\[0\]\.up&&at\[1\]\.up\)"
GIVEN_UP = r"assertion violated +!\(\(\(k==at\[0\]\.conn\)"
TOLD_A_STRANGER = r"assertion violated \(\d==\d\)"
STUCK = "invalid end state"

MUTANTS = {
    "resume": {
        "NO_FENCE": IMPOSSIBLE_POSITION,
        "NO_FENCE_CLIENT": IMPOSSIBLE_POSITION,
        "POSITION_BEFORE_FENCE": OUT_OF_ORDER,
        "EARLY_FRAMES": OUT_OF_ORDER,
        "POSITION_LESS": OUT_OF_ORDER,
        "POSITION_MORE": IMPOSSIBLE_POSITION,
        "POSITION_AS_TOLD": OUT_OF_ORDER,
        "ACK_MORE": UNSENT_ACKNOWLEDGED,
        "RELEASE_MORE": RELEASED_TOO_EARLY,
        "CUT_FRAME_COUNTS": RELEASED_TOO_EARLY,
        "REWIND_TO_OWN_ACK": OUT_OF_ORDER,
        "NO_REPLAY": STUCK,
        "NO_ACKS": STUCK,
        "LIMIT_ONCE": STUCK,
        "ANY_GENERATION": DISTURBED,
        "STALE_CONTINUATION": STUCK,
        "STALE_IS_FINAL": GIVEN_UP,
        "REPLAY_BEFORE_PROOF": TOLD_A_STRANGER,
    },
    "deadlock": dict.fromkeys(
        [
            "BLOCKING_WRITE",
            "READER_WRITES",
            "READING_WAITS_FOR_SLOT",
            "REPLAY_BEFORE_READING",
            "REPLIES_IN_LINE",
            "ACK_SEQUENCED",
        ],
        STUCK,
    ),
}


def run(*command: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=BOUND, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def search(
    model: str,
    switches: str,
    kind: tuple[str, ...],
    folder: Path,
    optimized: str = "-O2",
    depth: int = DEPTH,
    memory: int = MEMORY,
) -> str:
    """What pan prints of the model's states."""
    shutil.copy(HERE / f"{model}.pml", folder)
    run("spin", "-a", *(f"-D{switch}" for switch in switches.split()), f"{model}.pml", folder=folder)
    run("cc", optimized, "-w", "-DCOLLAPSE", f"-DMEMLIM={memory}", *kind, "-o", "pan", "pan.c", folder=folder)
    return run("./pan", f"-m{depth}", *(["-a"] if kind is LIVENESS else []), folder=folder)


def errors(verdict: str) -> int:
    found = re.search(r"errors: (\d+)$", verdict, re.MULTILINE)
    assert found, verdict
    return int(found[1])


def assert_holds(verdict: str) -> None:
    """No error, in a search that visited every state."""
    assert errors(verdict) == 0, verdict
    assert "Full statespace search" in verdict, verdict
    assert not re.search(r"not completed|search depth too small|out of memory|MEMLIM", verdict), verdict


@pytest.mark.parametrize("bound", [{"depth": 100}, {"memory": 140}], ids=["depth", "memory"])
def test_a_search_that_is_cut_short_does_not_pass(bound: dict[str, int], tmp_path: Path) -> None:
    verdict = search("deadlock", "", SAFETY, tmp_path, **bound)
    assert errors(verdict) == 0
    with pytest.raises(AssertionError):
        assert_holds(verdict)


def unreached(verdict: str) -> list[str]:
    """Statements of the processes that no run came to; the end of a loop that never ends is none."""
    sections = re.findall(r"^unreached in (proctype|init).*\n((?:\t.*\n)*)", verdict, re.MULTILINE)
    assert sections, verdict
    return [line for _, lines in sections for line in lines.splitlines() if "state " in line and '"-end-"' not in line]


@pytest.mark.parametrize(
    ("model", "sizes"),
    [pytest.param(model, sizes, id=f"{model}-{name}") for model in SIZES for name, sizes in SIZES[model].items()],
)
def test_a_model_holds(model: str, sizes: str, tmp_path: Path) -> None:
    assert_holds(search(model, sizes, SAFETY, tmp_path))


@pytest.mark.parametrize(("model", "name"), LIVE, ids=[f"{model}-{name}" for model, name in LIVE])
def test_everything_arrives_in_the_end(model: str, name: str, tmp_path: Path) -> None:
    verdict = search(model, SIZES[model][name], LIVENESS, tmp_path)
    assert_holds(verdict)
    assert re.search(r"never claim\s+\+ \(arrives\)", verdict), verdict
    assert re.search(r"acceptance\s+cycles\s+\+", verdict), verdict


@pytest.mark.parametrize("model", SMALL)
def test_no_statement_of_a_model_is_idle(model: str, tmp_path: Path) -> None:
    assert unreached(search(model, SMALL[model], SAFETY, tmp_path)) == []


@pytest.mark.parametrize(
    ("model", "mutant", "reason"),
    [
        pytest.param(model, mutant, reason, id=f"{model}-{mutant}")
        for model in MUTANTS
        for mutant, reason in MUTANTS[model].items()
    ],
)
def test_a_mutant_fails(model: str, mutant: str, reason: str, tmp_path: Path) -> None:
    verdict = search(model, mutant, SAFETY, tmp_path, optimized="-O0")
    assert errors(verdict) > 0
    assert re.search(rf"^pan:1: {reason}", verdict, re.MULTILINE), verdict


@pytest.mark.parametrize("model", MUTANTS)
def test_every_switch_of_a_model_is_tested(model: str) -> None:
    """A switch is what a model asks for and does not define itself; sizes have a default."""
    text = (HERE / f"{model}.pml").read_text()
    asked = set(re.findall(r"(?:#ifn?def |defined\()(\w+)", text))
    mutants = asked - set(re.findall(r"#define (\w+)", text))
    assert mutants == set(MUTANTS[model])
