"""Runs a target on one input after the other: guided by coverage where atheris is installed, else by chance alone."""

import math
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from importlib import import_module
from mmap import mmap
from pathlib import Path
from struct import Struct

from fuzz.mutate import Mutator

HERE = Path(__file__).parent
LONGEST = 100_000  # bytes of an input
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


class Last:
    """The input that runs now, where another process sees it: a sanitizer ends the one that it finds something in."""

    HEAD = Struct("QQ")  # the number of the run, and the size of the input behind it

    def __init__(self) -> None:
        self.place = mmap(-1, self.HEAD.size + LONGEST)

    def note(self, number: int, data: bytes) -> None:
        self.place[: self.HEAD.size + len(data)] = self.HEAD.pack(number, len(data)) + data

    @property
    def number(self) -> int:
        return self.HEAD.unpack_from(self.place)[0]

    @property
    def data(self) -> bytes:
        return self.place[self.HEAD.size :][: self.HEAD.unpack_from(self.place)[1]]


def by_chance(target: Target, inputs: list[bytes], seed: int) -> Iterator[bytes]:
    """Endless: the inputs, then changes of them, and of what came out of these. The same for the same seed."""
    chance = random.Random(seed)
    yield from inputs
    last = chance.choice(inputs)
    while True:
        # A change on top of a change goes deeper, a fresh start keeps it from going astray.
        base = last if chance.randrange(4) == 0 else chance.choice(inputs)
        last = target.change(base, chance.choice(inputs), chance)[:LONGEST]
        yield last


def run(target: Target, inputs: Iterable[bytes], last: Last, until: float = math.inf) -> int:
    """How many runs there were.

    Args:
        target: what runs.
        inputs: one for each run.
        last: is told of each before it runs.
        until: of `time.monotonic()`; looked at every 100 runs.
    """
    number = 0
    for number, data in enumerate(inputs, 1):
        last.note(number, data)
        target.one(data)
        if number % 100 == 0 and time.monotonic() > until:
            break
    return number


def keep(data: bytes, folder: Path) -> Path:
    """Write an input down, named by what it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / sha256(data).hexdigest()[:16]
    path.write_bytes(data)
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
    for data in inputs:
        keep(data, corpus)

    def change(data: bytes, most: int, seed: int) -> bytes:
        chance.seed(seed)
        if chance.randrange(2):
            return atheris.Mutate(data, most)
        return target.change(data, chance.choice(inputs), chance)[:most]

    options = [f"-max_len={LONGEST}", f"-seed={seed}", *arguments, str(corpus)]
    atheris.Setup([sys.argv[0], *options], target.one, custom_mutator=change)
    atheris.Fuzz()
