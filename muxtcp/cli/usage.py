"""What the commands have in common: errors as one line and an exit code, logs and signals."""

import argparse
import asyncio
import logging
import os
import signal
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import muxtcp

FAILED, USAGE, CANNOT_LISTEN, REFUSED, NO_LINK = 1, 2, 3, 4, 5  # exit codes
EXIT_CODES = """
exit codes: 0 ended by SIGTERM or Ctrl-C, once what was open had finished; 1 failed; 2 bad usage; 3 cannot listen;
4 a token or certificate was refused, by either side; 5 no link, and given up
"""
TOLD = ("muxtcp.forward", "muxtcp.server", "muxtcp.cli")  # whose ordinary lines are worth a user's while

T = TypeVar("T")


class Failure(Exception):
    """The command ends with this line and exit code."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code


# Arguments


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; takes no word for another that begins like it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        self.exit(USAGE, f"{self.prog}: {message}; see --help\n")


def parsed_by(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A type for an argument whose parser explains itself in a ValueError."""

    def of(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return of


def seconds(text: str) -> float:
    """A duration."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return number


def count(text: str) -> int:
    """A number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


# Running


@contextmanager
def logged(handler: logging.Handler, *, verbose: bool) -> Iterator[None]:
    """Lines for what happens inside; with the time, unless systemd's journal adds it."""
    handler.setFormatter(
        logging.Formatter("%(message)s" if "JOURNAL_STREAM" in os.environ else "%(asctime)s %(message)s")
    )
    logger = logging.getLogger("muxtcp")
    handler.addFilter(lambda record: verbose or record.levelno > logging.INFO or record.name.startswith(TOLD))
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


async def until_signalled(
    work: Awaitable[None], drain: Callable[[], Coroutine[Any, Any, None]], abort: Callable[[], object]
) -> None:
    """Do the work until it is done. SIGTERM or Ctrl-C drains, which ends it; a second one aborts."""
    loop = asyncio.get_running_loop()
    draining: asyncio.Task[None] | None = None

    def signalled() -> None:
        nonlocal draining
        if draining is None:
            draining = loop.create_task(drain())
        else:
            abort()
            draining.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signalled)
    await work
    if draining is not None:
        await asyncio.wait([draining])


def run(work: Awaitable[None]) -> None:
    """Run to the end.

    Raises:
        Failure: for what a user can do something about.
    """

    async def whole() -> None:
        await work

    try:
        muxtcp.run(whole())
    except muxtcp.HandshakeError as error:
        refused = error.code in (muxtcp.Code.UNAUTHENTICATED, muxtcp.Code.FORBIDDEN)
        raise Failure(str(error), REFUSED if refused else NO_LINK) from error
    except ssl.SSLError as error:
        raise Failure(in_words(error), REFUSED) from error
    except muxtcp.ReconnectFailed as error:
        raise Failure(f"{error}: {in_words(error.__cause__)}", NO_LINK) from error
    except OSError as error:
        raise Failure(in_words(error), NO_LINK) from error


def in_words(error: BaseException | None) -> str:
    """An error without its number."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
