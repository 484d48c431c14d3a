"""Every input that is kept passes, changes of them by chance pass, and a mistake is found and can be seen again."""

from itertools import islice
from pathlib import Path

import pytest
from fuzz.driver import NAMES, Last, Target, by_chance, keep, run
from fuzz.targets import stream

# So many that each target takes about half a second.
RUNS = {"stream": 3_000, "wire": 4_000, "payloads": 1_500, "handshake": 2_000, "operations": 500, "codecs": 300,
        "sessions": 60, "breaks": 120}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_passes(name: str) -> None:
    target = Target(name)
    inputs = target.inputs()
    assert run(target, inputs, Last()) == len(inputs) > 0


@pytest.mark.parametrize("name", NAMES)
def test_changes_pass(name: str) -> None:
    target = Target(name)
    assert run(target, islice(by_chance(target, target.inputs(), seed=7), RUNS[name]), Last()) == RUNS[name]


def test_the_same_seed_gives_the_same_inputs() -> None:
    target = Target("stream")
    first, second = (list(islice(by_chance(target, target.inputs(), seed=3), 500)) for _ in range(2))
    assert first == second
    assert len(set(first)) > 400


def test_a_mistake_is_found_and_kept(tmp_path: Path) -> None:
    class Believes(stream.Ear):
        """That messages of two channels never follow each other."""

        def note(self, event: stream.Event) -> None:
            super().note(event)
            first, second = [None, None, *self.events][-2:]
            if first and first.kind is second.kind is stream.EventKind.MESSAGE and first.channel != second.channel:
                raise KeyError

    def one(data: bytes) -> None:
        if data:
            Believes(stream.Setup(data[0])).feed(data[stream.HEAD :])

    target, last = Target("stream"), Last()
    target.one = one
    with pytest.raises(KeyError):
        run(target, islice(by_chance(target, target.inputs(), seed=1), 20_000), last)
    kept = keep(last.data, tmp_path).read_bytes()
    with pytest.raises(KeyError):
        one(kept)
    stream.one(kept)
