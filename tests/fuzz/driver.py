"""Runs a target on one input after the other: guided by coverage where atheris is installed, else by chance alone."""

import itertools
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from hashlib import sha256
from importlib import import_module
from pathlib import Path

from fuzz.mutate import LONGEST, Mutator

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in (HERE / "targets").glob("*.py"))


class Target:
    """One module of `targets`: `one(data)` raises for what must not happen, `seeds()` are inputs to begin with."""

    def __init__(self, name: str) -> None:
        module = import_module(f"fuzz.targets.{name}")
        self.name = name
        self.one: Callable[[bytes], None] = module.one
        self.seeds: Callable[[], Iterator[bytes]] = module.seeds
        self.change: Mutator = module.change

    def inputs(self, corpus: Path | None = None) -> list[bytes]:
        """The seeds, and what the corpus keeps."""
        kept = corpus if corpus is not None else HERE / "corpus" / self.name
        return [*self.seeds(), *(path.read_bytes() for path in sorted(kept.glob("*")))]


class Finding(Exception):
    """An input that the target does not pass."""

    def __init__(self, name: str, data: bytes, run: int) -> None:
        super().__init__(f"run {run} of {name}, {len(data)} bytes: {data[:40].hex(' ')}")
        self.data, self.run = data, run


def by_chance(target: Target, inputs: list[bytes], seed: int) -> Iterator[bytes]:
    """Endless: the inputs, then changes of them, and of what came out of these. The same for the same seed."""
    chance = random.Random(seed)
    yield from inputs
    last = chance.choice(inputs)
    while True:
        # A change on top of a change goes deeper, a fresh start keeps it from going astray.
        base = last if chance.randrange(4) == 0 else chance.choice(inputs)
        last = target.change(base, chance.choice(inputs), chance)
        yield last


def run(target: Target, inputs: Iterator[bytes], most: int | None = None, until: float | None = None) -> int:
    """How many runs there were; raises `Finding`.

    Args:
        target: what runs.
        inputs: one for each run.
        most: runs; None: as long as there are inputs.
        until: of `time.monotonic()`; looked at every 100 runs.
    """
    number = 0
    for number, data in enumerate(itertools.islice(inputs, most), 1):
        try:
            target.one(data)
        except Exception as error:
            raise Finding(target.name, data, number) from error
        if until is not None and number % 100 == 0 and time.monotonic() > until:
            break
    return number


def keep(finding: Finding, folder: Path) -> Path:
    """Write the input down, named by what it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"crash-{sha256(finding.data).hexdigest()[:16]}"
    path.write_bytes(finding.data)
    return path


def guided(name: str, corpus: Path, arguments: list[str], seed: int) -> None:
    """libFuzzer by way of atheris, with our changes beside its own; does not return.

    It adds to `corpus` what reaches new code. The compiled rooms count if they were built for it (see docs/testing.md).
    """
    import atheris

    with atheris.instrument_imports(include=["muxtcp"]):
        target = Target(name)
    chance = random.Random(seed)
    inputs = target.inputs()
    corpus.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (corpus / sha256(data).hexdigest()[:16]).write_bytes(data)

    def change(data: bytes, most: int, seed: int) -> bytes:
        chance.seed(seed)
        if chance.randrange(2):
            return atheris.Mutate(data, most)
        return target.change(data, chance.choice(inputs), chance)[:most]

    options = [f"-max_len={LONGEST}", f"-seed={seed}", *arguments, str(corpus)]
    atheris.Setup([sys.argv[0], *options], target.one, custom_mutator=change)
    atheris.Fuzz()


def explain(target: Target, data: bytes) -> bool:
    """Run one input and print what comes of it; whether it passed."""
    try:
        target.one(data)
    except Exception:
        traceback.print_exc()
        return False
    return True
