"""Files and pipes as sources and sinks of messages, without ever holding up the event loop."""

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

from .usage import USAGE, Failure

PIECE = 65_536  # bytes that are read at once, and so the largest message that is not a line
STDIN, STDOUT = 0, 1


class Tally:
    """What has gone in one direction."""

    def __init__(self) -> None:
        self.messages = 0
        self.size = 0
        self._hash = hashlib.sha256()

    def add(self, data: bytes) -> None:
        """One more message, with what stands between it and the next."""
        self.messages += 1
        self.size += len(data)
        self._hash.update(data)

    def __str__(self) -> str:
        return f"{self.size:,} bytes in {self.messages:,} messages, sha256 {self._hash.hexdigest()}"


def open_source(path: Path | None) -> int:
    """The descriptor of a file to read; of standard input for None.

    Raises:
        Failure: it cannot be.
    """
    return STDIN if path is None else _opened(path, os.O_RDONLY, "read")


def open_sink(path: Path | None) -> int:
    """The descriptor of a file to write anew; of standard output for None.

    Raises:
        Failure: it cannot be.
    """
    return STDOUT if path is None else _opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "write")


def _opened(path: Path, flags: int, what: str) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise Failure(f"cannot {what} {path}: {error.strerror}", USAGE) from error


def size_of(source: int) -> int | None:
    """Bytes of a file; None for what has no size, as a pipe."""
    found = os.fstat(source)
    return found.st_size if stat.S_ISREG(found.st_mode) else None


async def pieces(source: int) -> AsyncIterator[bytes]:
    """What a file or pipe has, piece by piece, up to its end."""
    mode = os.fstat(source).st_mode
    # What can be waited for is read when something is there, so that nobody waits for the reading, but for its turn.
    waits = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(source)
    while True:
        if waits:
            await _readable(source)
            data = os.read(source, PIECE)
        else:
            data = await asyncio.to_thread(os.read, source, PIECE)
        if not data:
            return
        yield data


async def lines(source: int) -> AsyncIterator[bytes]:
    """The lines of a file or pipe, without their ends."""
    rest = b""
    async for data in pieces(source):
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest


async def _readable(source: int) -> None:
    loop = asyncio.get_running_loop()
    there: asyncio.Future[None] = loop.create_future()
    loop.add_reader(source, _done, there)
    try:
        await there
    finally:
        loop.remove_reader(source)


def _done(there: asyncio.Future[None]) -> None:
    if not there.done():
        there.set_result(None)


async def write(sink: int, data: bytes) -> None:
    """Write all of it; a pipe that is full holds up nobody but the caller.

    Raises:
        Failure: nobody reads any more, or the disk is full.
    """
    view = memoryview(data)
    try:
        while view:
            view = view[await asyncio.to_thread(os.write, sink, view) :]
    except OSError as error:
        raise Failure(f"cannot write what was received: {error.strerror}") from error
