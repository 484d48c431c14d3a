"""ChannelHost: what a channel needs of its session."""

from asyncio import AbstractEventLoop

from muxtcp._engine import Engine

class ChannelHost:
    """What a channel needs of its session."""

    @property
    def engine(self) -> Engine: ...
    @property
    def loop(self) -> AbstractEventLoop:
        """In whose thread the session lives: from others, `asyncio.run_coroutine_threadsafe(..., session.loop)`."""

    def _check_thread(self) -> None:
        """Raises RuntimeError in any other thread."""

    def _opens_too_soon(self) -> bool:
        """Count an open in this turn's share; True when that is used up, and the turn has to be waited for."""
