"""Who may send next: fair inside a priority, the higher priority first, and nobody starves."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxtcp import _schedule

QUANTUM = 16_384
priorities = st.integers(0, 3)
sizes = st.sampled_from([1_000, 1_024, 5_000, 16_384])  # what the engine writes at once while others wait: one fragment


def bytes_sent(channels: list[tuple[int, int, int]], turns: int) -> Counter[int]:
    size = {number: size for number, _, size in channels}
    sent: Counter[int] = Counter()
    for number in _schedule.order(channels, turns):
        sent[number] += size[number]
    return sent


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_equals_share_equally(count: int) -> None:
    sent = bytes_sent([(number, 2, 1_000) for number in range(1, count + 1)], count * 170)
    assert max(sent.values()) - min(sent[number] for number in range(1, count + 1)) <= 2 * QUANTUM


@given(st.lists(sizes, min_size=2, max_size=6), priorities)
def test_shares_are_of_bytes_and_not_of_messages(sizes: list[int], priority: int) -> None:
    channels = [(number, priority, size) for number, size in enumerate(sizes, 1)]
    sent = bytes_sent(channels, 20_000)
    assert max(sent.values()) - min(sent[number] for number, _, _ in channels) <= 2 * (QUANTUM + max(sizes))


def test_the_higher_priority_goes_first() -> None:
    assert _schedule.order([(1, 3, 100), (2, 2, 100), (3, 1, 100), (4, 0, 100)], 1) == [4]


@given(st.lists(st.tuples(priorities, sizes), min_size=1, max_size=8))
def test_nobody_starves(kinds: list[tuple[int, int]]) -> None:
    channels = [(number, priority, size) for number, (priority, size) in enumerate(kinds, 1)]
    assert bytes_sent(channels, 40_000).keys() == {number for number, _, _ in channels}


def test_each_priority_gets_four_times_the_next() -> None:
    sent = bytes_sent([(number, number, 1_024) for number in range(4)], 34_000)
    for higher in range(3):
        assert sent[higher] == pytest.approx(4 * sent[higher + 1], rel=0.05)
