"""What other threads than the event loop's may ask for."""

from asyncio import AbstractEventLoop, run_coroutine_threadsafe
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any


class _Unmade(Coroutine[Any, Any, None]):
    """The coroutine of `make()`, made when it is first run: a loop that closes before may drop it unseen."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._make = make
        self._made: Coroutine[Any, Any, None] | None = None

    def send(self, value: Any) -> Any:
        if self._made is None:
            self._made = self._make()
        return self._made.send(value)

    def throw(self, *exception: Any) -> Any:
        if self._made is None:
            return super().throw(*exception)
        return self._made.throw(*exception)

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    def __await__(self) -> Any:
        raise TypeError("it is run as a task")


def run_in(loop: AbstractEventLoop, make: Callable[[], Coroutine[Any, Any, None]]) -> Future[None]:
    """Run the coroutine of `make()`, which is called in the loop too. Raises RuntimeError when the loop is closed."""
    return run_coroutine_threadsafe(_Unmade(make), loop)
