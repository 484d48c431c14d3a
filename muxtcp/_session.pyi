"""SessionCore: gives the engine's events to channels, and its output to the connection."""

from asyncio import AbstractEventLoop, Future, Transport
from collections.abc import Callable

from muxtcp._channel import Channel
from muxtcp._engine import Engine
from muxtcp._host import ChannelHost
from muxtcp.codecs import Codec
from muxtcp.config import Config
from muxtcp.errors import SessionLost

class SessionCore(ChannelHost):
    """The compiled half of `muxtcp.session.Session`, which overrides the hooks and says what users call."""

    def __init__(self, engine: Engine, loop: AbstractEventLoop, config: Config, codec: Codec | None) -> None: ...
    @property
    def config(self) -> Config:
        """Limits and deadlines."""

    @property
    def codec(self) -> Codec | None:
        """For the channels that are opened without one of their own; None for bytes."""

    @property
    def transport(self) -> Transport | None:
        """Of the connection; None before it is there and after it is gone."""

    @property
    def forked(self) -> bool:
        """Whether this process is a fork's child, and the session its parent's: it is over here, and goes on there."""

    def _forked(self) -> None: ...
    @property
    def clock(self) -> Callable[[], float]:
        """Seconds, as `loop.time()` but finer."""

    @property
    def exception(self) -> Exception | None:
        """What ended the session, or None while it lives."""

    @property
    def not_awaited(self) -> set[int]:
        """Numbers of the channels that `_until_quiet()` does not wait for: their handlers are what waits."""

    @property
    def turns_cut_short(self) -> int:
        """How often it had used up its share of a turn of the loop, so that others had theirs first."""

    def attached_channels(self) -> list[Channel]: ...

    # Hooks
    def _on_hello(self) -> None: ...
    def _on_up(self) -> None: ...
    def _on_channel(self, channel: Channel) -> None: ...
    def _on_pong(self, n: int) -> None: ...
    def _on_ended(self, channels: list[Channel]) -> None: ...
    def _on_disconnected(self) -> None: ...
    def _on_resumption(self, record: int, fields: bytes) -> None: ...
    def _on_broken(self, cause: SessionLost) -> None: ...

    # For the subclass
    def _open(
        self,
        name: str,
        meta: dict[str, str] | None,
        mode: str,
        priority: int,
        codec: Codec | None,
        deadline: float | None,
        traceparent: str | None,
    ) -> Channel | None: ...
    async def _slot(self) -> None: ...
    def _turn(self) -> None: ...
    def _write_now(self) -> None: ...
    def _serve_as_task(self, channel: Channel) -> bool: ...
    def _handler_returned(self, channel: Channel) -> None: ...
    def _abort_connection(self) -> None: ...
    def _in_use(self) -> int: ...
    async def _until_quiet(self) -> None: ...
    def _leave_connection(self) -> Transport | None: ...
    def _take_connection(self, transport: Transport, frames: int) -> int: ...
    def _go_on(self, rest: bytes) -> None: ...
    def _give_up(self, cause: str, known: int | None = None) -> None: ...
    def _finish(self, exc: Exception) -> None: ...
    def _unwritten(self, channel: Channel) -> bool: ...
    progress: Future[None] | None
