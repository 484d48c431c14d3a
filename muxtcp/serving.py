"""Handlers: what a session does with the channels that the peer opens."""

import asyncio
import inspect
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

from muxtcp._channel import Channel
from muxtcp.errors import ChannelError, Code, EndOfStream, is_again
from muxtcp.isolation import Sparing, callback_failed
from muxtcp.lasting import Lasting

logger = Sparing(__name__)

TOLD_A_TURN = 64  # who wait for a session, of its end: the tasks that end of it take about a millisecond together

Handler = Callable[[Channel], Awaitable[None] | None]

# The channel whose handler runs, also in the tasks that it starts. Weak: some of those outlive the channel by far.
_serving: ContextVar[Callable[[], Channel | None]] = ContextVar("_serving", default=lambda: None)


def served_channel() -> Channel | None:
    """The channel whose handler is calling, if one is."""
    return _serving.get()()


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors of a group, such as a TaskGroup raises; an error that is none is its own only one."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


class Serving(Lasting):
    """A session that gives each channel of the peer to a handler, as a task of its own where it wants one."""

    def __init__(self, *args: Any, handler: Handler | None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._handler = handler
        self._services: dict[str, Handler] = {}  # by the name of the channel, in place of the handler
        self._tasks: set[asyncio.Task[None]] = set()
        self._going_away = False
        self._untold: list[Callable[[], object]] = []

    def _on_channel(self, channel: Channel) -> None:
        handler = self._services.get(channel.name, self._handler)
        if handler is None or self._going_away:
            channel._reset(Code.NOT_FOUND, f"no service {channel.name!r}")
            return
        try:
            running = handler(channel)
        except BaseException as error:
            self._handler_failed(channel, error)
            return
        if inspect.isawaitable(running):
            kept = channel if self._serve_as_task(channel) else None  # before the task, which may run and end at once
            name = f"handler of channel {channel.id} ({channel.name!r})"
            self._spawn(self._serve(channel, running), name, partial(self._served, kept, running))

    def _served(self, kept: Channel | None, running: Awaitable[None], task: asyncio.Task[None]) -> None:
        """A handler's task has ended, maybe before its first step: then the handler never began."""
        self._tasks.discard(task)
        if kept is not None:
            self._handler_returned(kept)
        if isinstance(running, Coroutine):
            running.close()

    async def _serve(self, channel: Channel, running: Awaitable[None]) -> None:
        """Await the handler; whatever it does, the channel ends with it and the session goes on."""
        _serving.set(weakref.ref(channel))
        try:
            await running
        except asyncio.CancelledError:
            channel._reset(Code.CANCELLED, "the handler was cancelled")
            raise
        except BaseException as error:
            errors = list(_leaves(error))
            here = id(self), channel.id
            own = all(isinstance(each, ChannelError) and (each._session, each.channel_id) == here for each in errors)
            if own and all(isinstance(each, EndOfStream) for each in errors):
                await channel.close()  # as after `async for`: what it sent still arrives
            elif own:
                channel._reset(Code.CANCELLED, "the handler gave up")
            elif self.exception is not None and all(map(self._tells_of_the_end, errors)):
                channel._reset(Code.CANCELLED, "the session is over")
            else:
                self._handler_failed(channel, error)
        else:
            await channel.close()

    def _tells_of_the_end(self, error: BaseException) -> bool:
        """Whether it says no more than that this session is over: what a handler met in another one is a failure."""
        if isinstance(error, ChannelError):
            return error._session == id(self)
        return is_again(error, self.exception)

    def _handler_failed(self, channel: Channel, error: BaseException) -> None:
        callback_failed(self.loop, logger, error, "the handler of channel %d (%r) failed", channel.id, channel.name)
        channel._reset(Code.INTERNAL, "the handler failed")

    def _on_ended(self, channels: list[Channel]) -> None:
        super()._on_ended(channels)
        tasks = self._tasks - {asyncio.current_task()}
        self._untold = [task.cancel for task in tasks] + [channel._tell_closed for channel in channels]
        self._tell_of_the_end()

    def _tell_of_the_end(self) -> None:
        """Cancel handlers, and wake who waits for channels, by portions: no peer makes a thousand tasks run at once."""
        now, self._untold = self._untold[:TOLD_A_TURN], self._untold[TOLD_A_TURN:]
        for tell in now:
            tell()
        if self._untold:
            self.loop.call_soon(self._tell_of_the_end)
        elif not self.connected:
            self._on_disconnected()

    def _spawn(
        self,
        coroutine: Coroutine[Any, Any, None],
        name: str,
        ended: Callable[[asyncio.Task[None]], object] | None = None,
    ) -> None:
        """Run a task of the session's, which `ended` takes out again: one callback, since each costs a handle."""
        task = self.loop.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(ended or self._tasks.discard)
