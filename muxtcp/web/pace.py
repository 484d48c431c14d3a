"""Pace: how fast somebody may come."""

import asyncio


class Pace:
    """Lets `rate` steps a second pass, and as many at once after a pause; who is faster waits.

    Args:
        rate: steps a second, more than 0.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._loop = asyncio.get_running_loop()
        self._due = 0.0  # loop time at which all steps so far would have passed, had they kept the rate

    async def step(self) -> None:
        """Return when one more may pass."""
        now = self._loop.time()
        self._due = max(self._due, now - 1.0) + 1 / self._rate
        if self._due > now:
            await asyncio.sleep(self._due - now)
