"""What fails on one channel stays there: nobody else is taken down by it, and nobody's log is filled with it.

Example:
    the handler of channel 1 ('feed') failed
    the handler of channel 19 ('feed') failed (and 8 more in the last 0.1 s)
    the handler of channel 8423 ('feed') failed (and 4,211 more in the last 60 s)
"""

import asyncio
import logging
import sys
import time
from dataclasses import dataclass
from traceback import walk_tb
from typing import Any, ClassVar

from muxtcp.errors import Code

PERIOD = 60.0  # seconds after which a cause that goes on is said again
STEP = 10  # until then it is said when it has happened this many times as often as before
CAUSES = 256  # that are told apart; beyond that the oldest is forgotten


@dataclass(slots=True)
class Cause:
    """Something that was said."""

    times: int = 0  # that it has happened
    said: int = 0  # how many that were when it was said last
    said_at: float = 0.0


class Sparing(logging.LoggerAdapter[logging.Logger]):
    """A logger for what peers and the user's callbacks can bring about as often as they like.

    Each cause is said at once, then the 10th time, the 100th and so on, and whenever its last line is older than
    `PERIOD`; each time with the number of those that were left out.

    A cause is a message before its arguments are filled in, with the kinds of exceptions among them and, for one with a
    traceback, where it began and ended. Nothing of that is a peer's choice, so there are no more causes than defects.
    """

    causes: ClassVar[dict[tuple[object, ...], Cause]] = {}  # of all loggers

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name), {})

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        """Say it, unless it was said lately."""
        if not self.isEnabledFor(level):
            return
        if options.get("exc_info") is True:
            options["exc_info"] = sys.exception()
        cause, now = self._cause((msg, *map(_kind, (*args, options.get("exc_info"))))), time.monotonic()
        cause.times += 1
        if cause.times < cause.said * STEP and now - cause.said_at < PERIOD:
            return
        left_out = cause.times - cause.said - 1
        if left_out:
            msg, args = f"{msg} (and %s more in the last %.1f s)", (*args, f"{left_out:,}", now - cause.said_at)
        cause.said, cause.said_at = cause.times, now
        self.logger.log(level, msg, *args, stacklevel=2, **options)

    def _cause(self, key: tuple[object, ...]) -> Cause:
        if key not in self.causes and len(self.causes) >= CAUSES:
            self.causes.pop(next(iter(tuple(self.causes))), None)  # unless another thread has just done it
        return self.causes.setdefault(key, Cause())


def _kind(value: object) -> object:
    """What tells one cause from another of the same message."""
    if not isinstance(value, BaseException):
        return None
    code = getattr(value, "code", None)
    lines = [(frame.f_code, line) for frame, line in walk_tb(value.__traceback__)]
    return type(value), code if isinstance(code, Code) else None, *lines[1:2], *lines[-1:]


def callback_failed(
    loop: asyncio.AbstractEventLoop, logger: Sparing, error: BaseException, what: str, *args: Any
) -> None:
    """A callback of the user's has raised: say so, and go on.

    `SystemExit` and `KeyboardInterrupt` leave the loop, as they do from the loop's own callbacks: but not through the
    callers of this, whose work is half done.
    """
    if isinstance(error, SystemExit | KeyboardInterrupt):
        loop.call_soon(_raise, error)
    else:
        logger.error(what, *args, exc_info=error)


def _raise(error: BaseException) -> None:
    raise error
