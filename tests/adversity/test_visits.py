"""Whole lives of sessions in virtual time; more of them by hand: `python tests/adversity/visits.py --seeds 10000`."""

from collections import Counter

import pytest
from adversity import visits


def test_each_conversation_ends() -> None:
    totals = sum(map(visits.play, range(40)), Counter())
    assert totals["messages"] > 400
    assert totals["breaks"] > 10


@pytest.mark.parametrize("seed", [pytest.param(479, id="opened on a session that had just ended")])
def test_what_was_found_once_is_found_no_more(seed: int) -> None:
    assert visits.play(seed)["messages"] > 10


def test_a_seed_goes_the_same_way_again() -> None:
    assert visits.play(7) == visits.play(7)
