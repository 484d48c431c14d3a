"""`muxtcp call` and `muxtcp serve`: a small netcat for channels, for trying things out."""

import argparse
import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Awaitable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import muxtcp

from .files import Tally, lines, open_sink, open_source, pieces, size_of, write
from .peers import Door, add_dialling, add_serving, dialled
from .usage import CANNOT_LISTEN, EXIT_CODES, USAGE, Failure, in_words, logged, parsed_by, run, until_signalled

CALL = f"""
examples:
  muxtcp call host:7777 echo                                   what you type, and what comes back
  muxtcp call host:7777 upload -i big.iso --checksum           send a file; a progress bar on a terminal
  muxtcp call host:7777 log --lines < /dev/null | grep ERROR   each message as a line
{EXIT_CODES}"""
SERVE = f"""
examples:
  muxtcp serve 127.0.0.1:7777 -o received.iso --checksum       receive a file from `muxtcp call`
  muxtcp serve 127.0.0.1:7777 --echo                           send back what comes, until Ctrl-C
  tail -f app.log | muxtcp serve 127.0.0.1:7777 log --lines    each line as a message

Without --echo or --keep it ends after one channel; while that is open, others are refused.
{EXIT_CODES}"""

logger = logging.getLogger(__name__)


def add_call(commands: Any) -> None:
    """The words of `muxtcp call`."""
    parser = _command(commands, "call", "open one channel: send what is read, print what comes", CALL)
    add_dialling(parser, "address")
    parser.add_argument("name", help="of the channel")
    parser.add_argument("--meta", type=parsed_by(_pair), action="append", default=[], metavar="KEY=VALUE",
                        help="told with the name; many are possible")  # fmt: skip
    _add_common(parser)
    parser.set_defaults(run=_call)


def add_serve(commands: Any) -> None:
    """The words of `muxtcp serve`."""
    parser = _command(commands, "serve", "serve channels: send what is read, print what comes", SERVE)
    add_serving(parser)
    parser.add_argument("name", nargs="?", help="of the channels that are served; default: any")
    parser.add_argument("--echo", action="store_true", help="send back what comes, on any number of channels")
    parser.add_argument("--keep", action="store_true", help="go on after the first channel, one after the other")
    _add_common(parser)
    parser.set_defaults(run=_serve)


def _command(commands: Any, name: str, help: str, epilog: str) -> argparse.ArgumentParser:  # noqa: A002
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-i", "--input", type=Path, metavar="FILE", help="what to send; default: standard input")
    add("-o", "--output", type=Path, metavar="FILE", help="where what comes is written; default: standard output")
    add("--lines", action="store_true", help="a line is a message and a message a line; default: bytes as they come")
    add("--checksum", action="store_true", help="tell SHA-256 and size of what was sent and received, at the end")
    add("--plain", action="store_true", help="no progress bar, also on a terminal")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"{text!r} is not KEY=VALUE")
    return key, value


# What both do with a channel


async def _exchange(channel: muxtcp.Channel, source: int, sink: int, options: argparse.Namespace) -> None:
    """Send what the source has and write what comes, at the same time, until both have ended."""
    sent, received = Tally(), Tally()
    end = b"\n" if options.lines else b""

    async def give() -> None:
        async for message in lines(source) if options.lines else pieces(source):
            await channel.send(message)
            sent.add(message + end)
        await channel.send_eof()

    async def take() -> None:
        async for batch in channel.batches():
            for message in batch:
                received.add(message + end)
            await write(sink, b"".join(message + end for message in batch))

    with _progress(options, size_of(source), sent, received):
        giving = asyncio.create_task(give())
        try:
            await take()
            if os.isatty(source):  # nobody should have to press Ctrl-D when the other side has said everything
                giving.cancel()
            await asyncio.wait([giving])
            if not giving.cancelled():
                giving.result()
        finally:
            giving.cancel()
            await asyncio.wait([giving])
    if options.checksum:
        print(f"sent {sent}\nreceived {received}", file=sys.stderr)


@contextlib.contextmanager
def _progress(options: argparse.Namespace, size: int | None, sent: Tally, received: Tally) -> Iterator[None]:
    """Two bars on a terminal, for as long as there is something to wait for."""
    if options.plain or not sys.stderr.isatty() or os.isatty(0) or find_spec("rich") is None:
        yield
        return
    from .display import Bars

    with Bars(sys.stderr) as bars:

        async def keep_showing() -> None:
            while True:
                bars.show(size, sent.size, received.size)
                await asyncio.sleep(0.2)

        showing = asyncio.create_task(keep_showing())
        try:
            yield
        finally:
            showing.cancel()


@contextlib.contextmanager
def _open_files(options: argparse.Namespace) -> Iterator[tuple[int, int]]:
    source = open_source(options.input)
    try:
        sink = open_sink(options.output)
        try:
            yield source, sink
        finally:
            if options.output:
                os.close(sink)
    finally:
        if options.input:
            os.close(source)


# muxtcp call


def _call(options: argparse.Namespace) -> None:
    run(_calling(options))


async def _calling(options: argparse.Namespace) -> None:
    connect = dialled(options, options.address)
    with _open_files(options) as (source, sink), logged(logging.StreamHandler(sys.stderr), verbose=options.verbose):
        async with connect() as session:
            try:
                async with session.open(options.name, meta=dict(options.meta)) as channel:
                    await _exchange(channel, source, sink, options)
            except muxtcp.MuxError as error:
                raise Failure(str(error)) from error
            except ValueError as error:
                raise Failure(str(error), USAGE) from error


# muxtcp serve


def _serve(options: argparse.Namespace) -> None:
    if options.echo and (options.input or options.output):
        raise Failure("--echo sends back what comes: it goes with neither --input nor --output", USAGE)
    run(_serving(options, Door(options)))


async def _serving(options: argparse.Namespace, door: Door) -> None:
    with _open_files(options) as files, logged(logging.StreamHandler(sys.stderr), verbose=options.verbose):
        service = _Service(options, *files)
        server = door.serve(service.handler)

        async def drain() -> None:
            await server.drain()
            service.end()

        def abort() -> None:
            for session in list(server.sessions):
                session.abort("the server was stopped")

        try:
            await server
        except OSError as error:
            raise Failure(in_words(error), CANNOT_LISTEN) from error
        try:
            logger.info("serving on %s", " and ".join(server.addresses))
            await until_signalled(service.ended, drain, abort)
        finally:
            await server.close()


async def _echo(channel: muxtcp.Channel) -> None:
    async for message in channel:
        await channel.send(message)


class _Service:
    """What is done with the channels of clients: one after the other, or with `--echo` all at once."""

    def __init__(self, options: argparse.Namespace, source: int, sink: int) -> None:
        self._options = options
        self._source = source
        self._sink = sink
        self._taken = False  # by a channel that is open, or by the only one that there was to be
        self._exchanging: asyncio.Task[None] | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self, failure: Exception | None = None) -> None:
        """Nothing more is served."""
        if self.ended.done():
            return
        if failure is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(Failure(str(failure)))

    def handler(self, channel: muxtcp.Channel) -> Awaitable[None] | None:
        """Serve a channel, or refuse it."""
        if self._options.name not in (None, channel.name):
            return channel.refuse(muxtcp.Code.NOT_FOUND, f"no service {channel.name!r}")
        if self._options.echo:
            return _echo(channel)
        if self._taken:
            return channel.refuse(muxtcp.Code.BUSY, "one channel at a time")
        self._taken = True
        # Not as a handler's task, which ends with the session: what has arrived by then is still to be written.
        self._exchanging = asyncio.create_task(self._serve(channel))
        return None

    async def _serve(self, channel: muxtcp.Channel) -> None:
        failure: Exception | None = None
        try:
            await _exchange(channel, self._source, self._sink, self._options)
        except (Failure, muxtcp.MuxError) as error:
            await channel.reset()
            failure = error
        if self._options.keep:
            self._taken = False
            if failure is not None:
                logger.warning("%s", failure)
        else:
            await channel.close()
            self.end(failure)
