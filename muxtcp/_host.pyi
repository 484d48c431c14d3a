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

    def _gives_way(self) -> bool:
        """Whether the share of this turn of the loop is used up."""
