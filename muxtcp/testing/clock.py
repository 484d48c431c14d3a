"""VirtualClockLoop: an event loop that does not wait for time to pass."""

import asyncio
import selectors


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose `time()` starts at 0 and jumps to the next timer as soon as nothing is ready to run.

    Sleeping takes no time, and what happens when is the same in every run. The clock waits neither for sockets nor for
    threads or processes while a timer is set: their time is real. So use it with `Link` and `pair`.

    Args:
        limit: Virtual seconds that a test may take.
        patience: Real seconds to wait for a socket, signal or thread when every task waits and no timer is set.

    Raises:
        RuntimeError: Out of `run_until_complete()`. The clock would pass `limit`: something sets timers for ever and
            waits for nothing else. Or `patience` is over: every task waits for something that cannot happen.

    Example:
        with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
            runner.run(asyncio.sleep(3_000))
    """

    def __init__(self, *, limit: float = 3_600.0, patience: float = 1.0) -> None:
        self._clock = _JumpingSelector(limit, patience)
        super().__init__(self._clock)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._clock.now

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the executor's threads: they end in real time, when a virtual `timeout` is long over."""
        await super().shutdown_default_executor()


class _JumpingSelector(selectors.DefaultSelector):
    """Where the loop would wait for its next timer, the clock moves there instead."""

    def __init__(self, limit: float, patience: float) -> None:
        super().__init__()
        self.now = 0.0
        self._limit = limit
        self._patience = patience

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            ready = super().select(self._patience)
            if not ready:
                raise RuntimeError("every task waits, nothing is ready and no timer is set: this would last for ever")
            return ready
        ready = super().select(0)
        if not ready and timeout > 0:
            if self.now + timeout > self._limit:
                raise RuntimeError(f"the virtual clock would pass its limit of {self._limit:,.0f} s")
            self.now += timeout
        return ready
