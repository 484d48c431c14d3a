import doctest
from collections.abc import Callable
from itertools import islice

import pytest

from muxtcp import backoff
from muxtcp.backoff import Backoff, constant, exponential, fibonacci

STRATEGIES = [exponential, fibonacci, constant]


def first(count: int, strategy: Backoff) -> list[float]:
    return list(islice(strategy(), count))


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(backoff).failed == 0


def test_without_jitter() -> None:
    assert first(6, exponential(1, 20, factor=3, jitter=0)) == [1, 3, 9, 20, 20, 20]
    assert first(6, fibonacci(2, 20, jitter=0)) == [2, 2, 4, 6, 10, 16]
    assert first(3, constant(4, jitter=0)) == [4, 4, 4]


def test_never_overflows() -> None:
    assert first(5000, exponential(0.1, 1e300, jitter=0))[-1] == 1e300
    assert first(5000, fibonacci(0.1, 1e300, jitter=0))[-1] == 1e300


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_call_starts_anew(strategy: Callable[..., Backoff]) -> None:
    delays = strategy(jitter=0)
    assert first(3, delays) == first(3, delays)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_jitter_takes_away_up_to_its_share(strategy: Callable[..., Backoff]) -> None:
    plain = first(9, strategy(jitter=0))
    assert first(9, strategy(jitter=0.5, random=lambda: 0.0)) == plain
    assert first(9, strategy(jitter=0.5, random=lambda: 1.0)) == [delay / 2 for delay in plain]
    assert first(9, strategy(random=lambda: 1.0)) == [0.0] * 9, "jitter is full unless told otherwise"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_error_lists_every_finding(strategy: Callable[..., Backoff]) -> None:
    with pytest.raises(ValueError, match="bad backoff: the first delay is -1, not 0 or more; jitter is 2, not between"):
        strategy(-1, jitter=2)


def test_ranges_of_the_rest() -> None:
    with pytest.raises(ValueError, match=r"maximum is 1, below the first delay of 2; factor is 0.5, not 1 or more"):
        exponential(2, 1, factor=0.5)
