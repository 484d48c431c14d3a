"""Where everything stands, for who looks for the reason why something does not go on."""

import asyncio
from collections.abc import Collection, Iterator
from typing import Any

from muxtcp import Session


def situation(sessions: Collection[Session]) -> str:
    """These sessions, their channels, and all tasks of the loop."""
    lines = []
    for session in sessions:
        lines.append(f"{session!r} {session.state.name} {session.stats()}")
        lines += [f"  {channel!r} {channel.stall} {channel.stats()}" for channel in session.channels]
    for task in asyncio.all_tasks():
        lines.append(f"{task.get_name()} {task.cancelling()}: {' > '.join(places(task.get_coro()))}")
    return "\n".join(lines)


def places(awaited: Any) -> Iterator[str]:
    """Where a coroutine stands, and what it awaits stands, and so on."""
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        yield f"{frame.f_code.co_name}:{frame.f_lineno}"
        awaited = awaited.cr_await
    yield repr(awaited)
