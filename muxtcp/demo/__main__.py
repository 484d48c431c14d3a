"""The command: see --help."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from importlib.util import find_spec
from typing import Any

import muxtcp

from .board import TICK, Board
from .client import follow
from .feeds import FEEDS
from .process import ServerFailed, ServerProcess
from .server import serve
from .views import Display, Lines, report

PORT = 7777
WEB_PORT = 8080
DOWNTIME = 0.5  # seconds that a killed server stays away: long enough to be seen
PAGE_DOWNTIME = 2.0  # the same on a page, where it was killed by hand

EXAMPLES = f"""
examples:
  python -m muxtcp.demo                             server and client, until Ctrl-C
  python -m muxtcp.demo --kill-every 5              kill the server every 5 s, and watch the channels go on
  python -m muxtcp.demo --break-every 3             cut the connection every 3 s: nothing is lost
  python -m muxtcp.demo --web                       the same as a page in a browser, with buttons to break things
  python -m muxtcp.demo --seconds 20 --json         no questions asked; a summary for a program
  python -m muxtcp.demo server --host 0.0.0.0       one machine ...
  python -m muxtcp.demo client --host 192.0.2.7     ... and another

Without a role both run here, on any free port; the port of a role alone is {PORT}. A client waits for its server for as
long as it takes. The heartbeat's age compares two clocks: across machines it includes their difference.

exit codes: 0 done, also by Ctrl-C; 1 failed, or messages were lost or doubled; 2 bad usage
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    options = _parse(argv)
    if options.role == "server":
        return _exit_code(_serve(options))
    board = Board(FEEDS)
    if failed := _exit_code(_until_signalled(_watch(options, board))):
        return failed
    print(json.dumps(board.summary()) if options.json else report(board))
    if board.gaps or board.doubled:
        return _complain(f"{board.gaps:,} messages lost and {board.doubled:,} doubled within a session")
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m muxtcp.demo",
        description="Nine named channels over one socket; they survive a cut connection and a killed server.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("role", nargs="?", choices=["server", "client"], help="only this side; default: both, in two processes")
    add("--host", default="127.0.0.1", help="where to listen or to connect (default %(default)s)")
    add("--port", type=_port, help=f"default {PORT} with a role, any free one without")
    add("--seconds", type=_seconds, metavar="N", help="end after N seconds; default: at Ctrl-C")
    add("--kill-every", type=_seconds, metavar="N", help="kill the server every N seconds and start it again")
    add("--break-every", type=_seconds, metavar="N", help="cut the TCP connection every N seconds; the session goes on")
    add("--web", action="store_true", help="serve a page, too, that shows the feeds and can kill the server")
    add("--web-port", type=_port, default=WEB_PORT, metavar="PORT", help="of the page (default %(default)s)")
    add("--json", action="store_true", help="a summary as one line of JSON on stdout; the rest goes to stderr")
    add("--plain", action="store_true", help="plain lines, also on a terminal")
    add("--until-stdin-ends", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.kill_every and options.role:
        parser.error(f"--kill-every needs both sides in one command; a {options.role} alone has no server to kill")
    if options.web and (options.role == "client" or options.kill_every):
        parser.error(
            "--web is the server's, and its page has a button that kills it: it goes with no client, no --kill-every"
        )
    if options.web and find_spec("websockets") is None:
        parser.error("--web needs the extra web: pip install 'muxtcp[web]'")
    if options.break_every and options.role == "server":
        parser.error("--break-every is the client's; a server alone cuts nothing")
    if options.json and options.role == "server":
        parser.error("--json is the client's summary; a server alone has none")
    if options.port is None:
        options.port = PORT if options.role else 0
    if options.port == 0 and options.role == "client":
        parser.error("a client needs the --port that its server listens on, not 0")
    return options


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def _exit_code(work: Coroutine[Any, Any, None]) -> int:
    """Run to the end: 0, or 1 after a line that says what failed."""
    try:
        muxtcp.run(work)
    except (ExceptionGroup, OSError, muxtcp.MuxError, ServerFailed) as error:
        cause: Exception = error
        while isinstance(cause, ExceptionGroup):
            cause = cause.exceptions[0]
        if isinstance(cause, ServerFailed):
            return 1  # it has said why itself
        if isinstance(cause, OSError | muxtcp.MuxError):
            return _complain(str(cause))
        raise
    return 0


def _complain(text: str) -> int:
    print(f"muxtcp.demo: {text}", file=sys.stderr)
    return 1


async def _until_signalled(work: Coroutine[Any, Any, None]) -> None:
    """Do the work until it is done, or until Ctrl-C or SIGTERM cancels it; it cleans up in both cases."""
    task = asyncio.create_task(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _within(seconds: float | None, *work: Coroutine[Any, Any, None]) -> None:
    """Do all the work at the same time, for so long."""
    try:
        async with asyncio.timeout(seconds) as limit, asyncio.TaskGroup() as group:
            for part in work:
                group.create_task(part)
    except TimeoutError:
        if not limit.expired():
            raise


async def _serve(options: argparse.Namespace) -> None:
    if options.until_stdin_ends:
        # Nothing is ever written to it, so that it can only be read when the parent is gone.
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), os._exit, 1)
    await _within(options.seconds, serve(options.host, options.port, options.web_port if options.web else None))


async def _watch(options: argparse.Namespace, board: Board) -> None:
    display = _display(options)
    if options.role == "client":
        await _within(
            options.seconds, _show(board, display), follow(board, options.host, options.port, options.break_every)
        )
        return
    async with ServerProcess(options.host, options.port, options.web_port if options.web else None) as server:
        work = [_show(board, display), follow(board, server.host, server.port, options.break_every)]
        if options.kill_every:
            work.append(_keep_killing(server, options.kill_every))
        if options.web:
            print(f"the page is at http://{server.host}:{server.web_port}/", file=sys.stderr, flush=True)
            work.append(_keep_alive(server))
        await _within(options.seconds, *work)


def _display(options: argparse.Namespace) -> Display:
    out = sys.stderr if options.json else sys.stdout
    if options.plain or not out.isatty() or find_spec("rich") is None:
        return Lines(out)
    from .live import LiveDisplay

    return LiveDisplay(out)


async def _show(board: Board, display: Display) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        with display:
            while True:
                board.tick(loop.time() - start)
                display.show(board)
                await asyncio.sleep(TICK)
    finally:
        board.tick(loop.time() - start)


async def _keep_killing(server: ServerProcess, every: float) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due += every
        await asyncio.sleep(due - loop.time())
        await server.kill()
        await asyncio.sleep(DOWNTIME)
        await server.start()


async def _keep_alive(server: ServerProcess) -> None:
    """Start the server again whenever the page has killed it."""
    while True:
        await server.wait()
        await asyncio.sleep(PAGE_DOWNTIME)
        await server.start()


if __name__ == "__main__":
    sys.exit(main())
