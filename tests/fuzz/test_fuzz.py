"""Every input that is kept passes, changes of them by chance pass, and a mistake is found and can be seen again."""

from pathlib import Path

import pytest
from fuzz import driver
from fuzz.driver import Finding, Target
from fuzz.targets import stream

# So many that each target takes about a second.
RUNS = {"stream": 3_000, "wire": 4_000, "payloads": 2_000, "handshake": 2_000, "operations": 700, "codecs": 300,
        "sessions": 60, "breaks": 120}  # fmt: skip


@pytest.mark.parametrize("name", driver.NAMES)
def test_what_is_kept_passes(name: str) -> None:
    target = Target(name)
    inputs = target.inputs()
    assert driver.run(target, iter(inputs)) == len(inputs) > 0


@pytest.mark.parametrize("name", driver.NAMES)
def test_changes_pass(name: str) -> None:
    target = Target(name)
    assert driver.run(target, driver.by_chance(target, target.inputs(), seed=7), RUNS[name]) == RUNS[name]


def test_the_same_seed_gives_the_same_inputs() -> None:
    target = Target("stream")
    first, second = (
        [data for data, _ in zip(driver.by_chance(target, target.inputs(), seed=3), range(500), strict=False)]
        for _ in range(2)
    )
    assert first == second
    assert len(set(first)) > 400


def test_a_mistake_is_found_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The user's side believes that nobody resets a channel."""
    target = Target("stream")

    def one(data: bytes) -> None:
        stream.one(data)
        ear = stream.Ear(stream.Setup(data[0] if data else 0))
        ear.feed(data[stream.HEAD :])
        assert not any(event.kind is stream.EventKind.RESET for event in ear.events)

    monkeypatch.setattr(target, "one", one)
    with pytest.raises(Finding) as found:
        driver.run(target, driver.by_chance(target, target.inputs(), seed=1), 10_000)
    kept = driver.keep(found.value, tmp_path)
    assert not driver.explain(target, kept.read_bytes())
    assert driver.explain(Target("stream"), kept.read_bytes())
