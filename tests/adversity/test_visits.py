"""Whole lives of sessions in virtual time; more of them by hand: `python tests/adversity/visits.py --seeds 10000`."""

from collections import Counter

import pytest
from adversity import visits

# Found something: a channel that was opened on a session that had just ended.
FINDERS = [479]


@pytest.mark.parametrize("seeds", [FINDERS, range(40)], ids=["finders", "others"])
def test_each_conversation_ends(seeds: list[int]) -> None:
    totals = sum(map(visits.play, seeds), Counter())
    assert totals["messages"] > 10 * len(seeds)
    assert totals["breaks"] > 10 or len(seeds) < 10


def test_a_seed_goes_the_same_way_again() -> None:
    assert visits.play(7) == visits.play(7)
