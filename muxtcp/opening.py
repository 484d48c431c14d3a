"""Opening: a channel that is being opened."""

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any

from muxtcp._channel import Channel


class Opening(Coroutine[Any, Any, Channel]):
    """What `Session.open()` returns: await it for the channel, or enter it, which closes the channel at the end."""

    def __init__(self, coroutine: Coroutine[Any, Any, Channel]) -> None:
        self._coroutine = coroutine
        self._channel: Channel | None = None

    def __await__(self) -> Generator[Any, None, Channel]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """Go on, as a coroutine does."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """Go on with an exception, as a coroutine does."""
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """Give up, as a coroutine that nobody awaits."""
        self._coroutine.close()

    async def __aenter__(self) -> Channel:
        self._channel = await self._coroutine
        return self._channel

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._channel is not None
        await self._channel.__aexit__(kind, value, traceback)
