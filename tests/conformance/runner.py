"""Plays, one after the other, against an implementation in a process of its own."""

import asyncio
import shlex
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from conformance.lab import Lab, Unexpected, lab
from conformance.plays import Play
from conformance.report import Result, transcript
from conformance.stand import Gone, Refusal, Role, Stand, Unsupported, client_stand, server_stand
from support.frames import Violation

SUBJECT = Path(__file__).with_name("subject.py")
QUIET = 0.05  # seconds without a byte that count as silence
LONGEST = 30.0  # seconds for one play
START = 30.0  # seconds for a client to come after its start


class Tried(NamedTuple):
    """What is to be tried; `stand()` may be called again when it has gone."""

    title: str
    role: Role
    stand: Callable[[], AbstractAsyncContextManager[Stand]]


def server(address: str, **how: Any) -> Tried:
    """A server that listens somewhere."""
    place = urlsplit(address)
    if place.scheme != "tcp" or place.hostname is None or place.port is None:
        raise SystemExit(f"{address!r} is not of the form tcp://host:port")
    return Tried(f"server {address}", "server", partial(server_stand, place.hostname, place.port, quiet=QUIET, **how))


def client(listen: str, command: str | None, **how: Any) -> Tried:
    """A client that a command, or somebody by hand, starts."""
    return Tried(f"client {command or ''}".strip(), "client", partial(_dialled, listen, command, **how))


def subject(role: Role, loop: str, program: Path | None = None, **how: Any) -> Tried:
    """muxtcp itself, in a process of its own."""
    command = [sys.executable, str(program or SUBJECT), "--loop", loop]
    if role == "client":
        text = shlex.join([*command, "--connect"]) + " {host}:{port}"
        stand = partial(_dialled, "127.0.0.1:0", text, **how)
    else:
        stand = partial(_served, command, **how)
    return Tried(f"muxtcp as a {role} on {loop}", role, stand)


@asynccontextmanager
async def _served(command: list[str], **how: Any) -> AsyncIterator[Stand]:
    process = await asyncio.create_subprocess_exec(*command, "--listen", "127.0.0.1:0", stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        if not line:
            raise Gone(f"{shlex.join(command)} did not start")
        place = urlsplit(line.split()[-1])
        async with server_stand(place.hostname or "", place.port or 0, quiet=QUIET, **how) as stand:
            yield stand
    finally:
        await _end(process)


@asynccontextmanager
async def _dialled(listen: str, command: str | None, **how: Any) -> AsyncIterator[Stand]:
    host, _, port = listen.rpartition(":")
    starting: list[asyncio.Task[asyncio.subprocess.Process]] = []

    def started(host: str, port: int) -> None:
        if command is None:
            print(f"waiting for a client on {host}:{port}", file=sys.stderr)
            return
        words = [word.format(host=host, port=port) for word in shlex.split(command)]
        starting.append(asyncio.ensure_future(asyncio.create_subprocess_exec(*words)))

    try:
        wait = START if command else None
        async with client_stand(host, int(port), started, wait=wait, quiet=QUIET, **how) as stand:
            yield stand
    finally:
        for process in starting:
            await _end(await process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    await process.wait()


async def play_all(it: Tried, plays: list[Play], *, verbose: bool) -> tuple[list[Result], float]:
    """The results, and how many seconds it took. Begins anew with an implementation that has gone in a play."""
    results: list[Result] = []
    began = time.monotonic()
    while len(results) < len(plays):
        done = len(results)
        async with it.stand() as stand:
            for play in plays[done:]:
                results.append(await tried(play, stand))
                if verbose:
                    print(f"{results[-1].verdict:<10}{play}", flush=True)
                if stand.control.over:
                    break
    return results, time.monotonic() - began


async def tried(play: Play, stand: Stand) -> Result:
    """One play."""
    async with lab(stand) as it:
        try:
            async with asyncio.timeout(LONGEST):
                await play.run(it)
        except Unsupported as error:
            return Result(play, "not tried", came=f"its test service does not know {str(error)!r}")
        except Unexpected as error:
            return failed(play, it, error.expected, error.came)
        except Violation as error:
            return failed(play, it, "what the rules allow", f"a violation, {error}")
        except EOFError:
            return failed(play, it, "something more", "the end of the stream")
        except (TimeoutError, Gone, Refusal, OSError, AssertionError) as error:
            return failed(play, it, "something else", f"{type(error).__name__} {error}".strip())
        except (LookupError, ValueError) as error:  # a play took an answer apart that has another form
            return failed(play, it, "an answer of another form", repr(error))
        return Result(play, "pass", notes=it.notes)


def failed(play: Play, it: Lab, expected: str, came: str) -> Result:
    return Result(play, "FAIL", expected, came, [transcript(peer) for peer in it.peers], it.notes)
