"""Random schedules: nothing is lost, doubled or reordered, whatever breaks when; and no mistake is overlooked."""

import re

import pytest
from simulate.mutants import MUTANTS
from simulate.runs import Totals, run
from simulate.wire import Broken
from simulate.world import World

BREAKS = 25_000  # for each seed; 200,000 in all
MOST = 600  # schedules that a mutant may survive
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))]


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost(seed: int) -> None:
    totals = Totals()
    for _ in totals.run(f"quick{seed}", BREAKS):
        pass
    assert totals.missing == []
    assert totals.resumptions > BREAKS / 5
    assert totals.messages > BREAKS


def test_a_schedule_is_the_same_each_time() -> None:
    first, second = (run("again") for _ in range(2))
    assert (first.seen, first.messages, first.now) == (second.seen, second.messages, second.now)
    assert [side.frames for side in first.sides] == [side.frames for side in second.sides]


def test_a_failure_says_how_to_see_it_again() -> None:
    class Fails(World):
        def step(self) -> None:
            raise Broken

    with pytest.raises(Broken) as failure:
        run("quick0/7", Fails)
    assert failure.value.__notes__ == ["to see it again: python tests/simulate --schedule quick0/7"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mistake_is_seen(mutant: type[World]) -> None:
    with pytest.raises(Broken) as seen:
        for number in range(MOST):
            run(f"mutant/{number}", mutant)
    assert re.search(MUTANTS[mutant], str(seen.value))
