"""Delays between attempts: each strategy is a callable that gives a fresh, endless iterator of seconds.

    connect("tcp://db:7777", backoff=exponential(0.1, 30))
    connect("tcp://db:7777", backoff=lambda: iter([0.0, 1.0, 5.0]))  # any callable; its end is the last attempt

Jitter is on by default: after a server restarts, clients without it come back all at the same moments (and with it, at
`jitter=1.0`, the whole delay is random: "full jitter").
"""

import random as _random
from collections.abc import Callable, Iterator

Backoff = Callable[[], Iterator[float]]
Random = Callable[[], float]  # as random.random: from 0.0 up to, not including, 1.0

LONGEST_STAY = 300.0  # seconds: a server that asks for more is not believed, or it could silence a client for ever


def exponential(
    initial: float = 0.1,
    maximum: float = 10.0,
    *,
    factor: float = 2.0,
    jitter: float = 1.0,
    random: Random = _random.random,
) -> Backoff:
    """Multiply the delay by `factor` each time.

    Args:
        initial: first delay in seconds, before jitter.
        maximum: no delay is longer.
        factor: at least 1.
        jitter: part of each delay that is random, 0 to 1: a delay d becomes one between d * (1 - jitter) and d.
        random: where the randomness comes from.

    Raises:
        ValueError: lists everything that is out of range.

    Example:
        >>> delays = exponential(0.1, 1.0, jitter=0)()
        >>> [next(delays) for _ in range(5)]
        [0.1, 0.2, 0.4, 0.8, 1.0]
    """
    _check(initial=initial, maximum=maximum, factor=factor, jitter=jitter)

    def ceilings() -> Iterator[float]:
        delay = initial
        while True:
            yield delay
            delay = min(delay * factor, maximum)

    return _jittered(ceilings, jitter, random)


def fibonacci(
    initial: float = 0.1, maximum: float = 10.0, *, jitter: float = 1.0, random: Random = _random.random
) -> Backoff:
    """Each delay is the sum of the two before it: slower to grow than doubling.

    The arguments are those of `exponential`.

    Example:
        >>> delays = fibonacci(1, 10, jitter=0)()
        >>> [next(delays) for _ in range(7)]
        [1, 1, 2, 3, 5, 8, 10]
    """
    _check(initial=initial, maximum=maximum, jitter=jitter)

    def ceilings() -> Iterator[float]:
        delay, following = initial, initial
        while True:
            yield delay
            delay, following = following, min(delay + following, maximum)

    return _jittered(ceilings, jitter, random)


def constant(delay: float = 1.0, *, jitter: float = 1.0, random: Random = _random.random) -> Backoff:
    """Every delay is the same, before jitter.

    Example:
        >>> delays = constant(5.0, jitter=0)()
        >>> next(delays), next(delays)
        (5.0, 5.0)
    """
    return exponential(delay, delay, factor=1.0, jitter=jitter, random=random)


def stay_away(asked: float, *, random: Random = _random.random) -> float:
    """Seconds that a client waits, on top of its own delay, because the server asked it to (`retry_after`).

    At least what was asked for, which is believed up to `LONGEST_STAY`, and as much again at random: a server refuses
    many in the same instant, and they shall not come back in one.

    Example:
        >>> stay_away(2.0, random=lambda: 0.5), stay_away(1e9, random=lambda: 0.0)
        (3.0, 300.0)
    """
    return min(asked, LONGEST_STAY) * (1.0 + random())


def _jittered(ceilings: Backoff, jitter: float, random: Random) -> Backoff:
    """The same delays, each shortened by a random share of `jitter`."""

    def delays() -> Iterator[float]:
        return (ceiling * (1.0 - jitter * random()) if jitter else ceiling for ceiling in ceilings())

    return delays


def _check(*, initial: float, maximum: float, factor: float = 1.0, jitter: float) -> None:
    """One ValueError that lists everything wrong with the arguments of a strategy."""
    checks = {
        f"the first delay is {initial}, not 0 or more": initial >= 0,
        f"maximum is {maximum}, below the first delay of {initial}": maximum >= initial,
        f"factor is {factor}, not 1 or more": factor >= 1,
        f"jitter is {jitter}, not between 0 and 1": 0 <= jitter <= 1,
    }
    findings = [finding for finding, holds in checks.items() if not holds]
    if findings:
        raise ValueError("bad backoff: " + "; ".join(findings))
