"""Programs that tests start as processes of their own, and kill, stop and fork.

    python tests/adversity/peers.py server uvloop '{"port": 0}'

Each takes commands and tells what happens: a JSON list a line, on stdin and stdout. `Peer` is a test's handle.
They end when their stdin does, so that none outlives the test.
"""

import asyncio
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for `support`, as pytest does

from support import frames, loops

from muxtcp import Channel, Config, Session, SessionLost, State, StateInfo, connect, constant, serve
from muxtcp._engine import Position
from muxtcp.resumption import RESUME, RESUME_CONFIRM, RESUME_FAILED, RESUME_OK, Failed, Ticket, Why

PATIENCE = 30.0  # seconds that a test waits for a line: only one that hangs gets there
KEPT: list[asyncio.Task[None]] = []  # or the collector takes them
PAGE = os.sysconf("SC_PAGE_SIZE")


def tell(*words: Any) -> None:
    print(json.dumps(words), flush=True)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def commands() -> asyncio.Queue[list[Any]]:
    """What comes on stdin; its end ends the program."""
    queue: asyncio.Queue[list[Any]] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(os.dup(0)))

    async def read() -> None:
        while line := await lines.readline():
            queue.put_nowait(json.loads(line))
        os._exit(0)

    KEPT.append(loop.create_task(read()))
    return queue


# --- server -----------------------------------------------------------------------------------------------------------


async def server(*, port: int, host: str = "127.0.0.1", config: dict[str, Any] | None = None, **options: Any) -> None:
    """Answers each message with itself; tells ["listening", port], and what came on each channel when it is over."""

    async def handler(channel: Channel) -> None:
        count = 0
        try:
            if channel.name == "sleeper":  # what comes on it stays unread
                await channel.session.wait_closed()
            async for message in channel:
                count += 1
                if channel.name == "echo":
                    await channel.send(message)
        finally:
            if channel.name != "sleeper":
                tell("over", channel.name, count)

    inbox = await commands()
    async with serve(handler, host, port, config=Config(**config or {}), **options) as server:
        tell("listening", server.sockets[0].getsockname()[1])
        while True:
            match await inbox.get():
                case ["state"]:
                    parking = server.parking
                    tell("state", len(server.sessions), server.counters, len(parking), parking.cost, resident())


# --- client -----------------------------------------------------------------------------------------------------------


async def client(*, port: int, host: str = "127.0.0.1", config: dict[str, Any] | None = None, **options: Any) -> None:
    """One session after the other, as `async for` gives them; commands work on two channels, "echo" and "sink"."""
    inbox = await commands()

    def on_state(state: State, info: StateInfo) -> None:
        tell(state.value, *([info.gap, info.replayed] if state is State.RESUMED else []))

    connector = connect(
        host,
        port,
        config=Config(**config or {}),
        on_state=on_state,
        backoff=constant(0.05),
        **{"resume": 30.0} | options,
    )
    async for session in connector:
        try:
            await talk(session, inbox)
        except SessionLost as lost:
            tell("session lost", *(lost.sent or ()))


async def talk(session: Session, inbox: asyncio.Queue[list[Any]]) -> None:
    """Obey until the session is over."""
    obeying = asyncio.create_task(obey(session, inbox))
    await session.wait_closed()
    obeying.cancel()
    await asyncio.gather(obeying, return_exceptions=True)
    assert session.exception is not None
    raise session.exception


async def obey(session: Session, inbox: asyncio.Queue[list[Any]]) -> None:
    echo, sink = await session.open("echo"), await session.open("sink")
    count = 0
    while True:
        match await inbox.get():
            case ["echo", more]:  # numbers go out, and come back
                sending = asyncio.create_task(echo.send_many([n.to_bytes(8) for n in range(count, count + more)]))
                for number in range(count, count + more):
                    message = await echo.recv()
                    assert message == number.to_bytes(8), f"{message!r} in place of message {number}"
                await sending
                count += more
                tell("echoed", count)
            case ["flush", more]:
                await sink.send_many([b"flushed"] * more)
                await sink.flush()
                tell("flushed", more)
            case ["put", more]:  # accepted, whatever becomes of it
                await sink.send_many([b"put"] * more)
                tell("put", more)
            case ["wait", more]:  # there is no connection: nothing is accepted
                tell("accepted", sum(sink.send_nowait(b"waits") for _ in range(more)))
            case ["ticket"]:
                tell("ticket", *ticket_of(session))
            case ["fork"]:
                fork(session)


def ticket_of(session: Session) -> list[Any]:
    ticket = session.ticket
    parts = [part.hex() for part in (ticket.id, ticket.incarnation, ticket.secret, ticket.limits)]
    return [parts, ticket.generation, list(session.engine.position)]


def fork(session: Session) -> None:
    """A copy of this process tries to carry the session on."""
    child = os.fork()
    if child == 0:
        try:
            session.ticket.ask(session.engine.position)
        except Failed as failure:
            tell("child refused", failure.why.name)
        else:
            tell("child asked")
        os._exit(0)
    os.waitpid(child, 0)


# --- racer ------------------------------------------------------------------------------------------------------------


async def racer(*, port: int, ticket: list[Any], attempts: int = 20) -> None:
    """Holds a copy of a session's ticket, and wants the session: tells each answer, and what came of it."""
    parts, generation, position = ticket
    name, incarnation, secret, limits = map(bytes.fromhex, parts)
    own = Ticket(name, incarnation, secret, generation=generation, limits=limits)
    inbox = await commands()
    tell("ready")
    await inbox.get()
    for _ in range(attempts):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(frames.PREFACE + frames.record(RESUME, own.ask(Position(*position))))
        kind, fields = await next_record(reader, preface=True)
        if kind == RESUME_FAILED:
            why = Failed.read(fields).why
            tell("refused", why.name)
            if why is not Why.BUSY:
                return
        else:
            assert kind == RESUME_OK
            own.check(fields)
            writer.write(frames.record(RESUME_CONFIRM, own.proof()))
            tell("has it")
            with suppress(OSError, EOFError):
                while True:
                    await next_record(reader)  # whatever is not of channel 0 fails
            tell("lost it")
        writer.close()


async def next_record(reader: asyncio.StreamReader, *, preface: bool = False) -> tuple[int, bytes]:
    if preface:
        assert await reader.readexactly(len(frames.PREFACE)) == frames.PREFACE
    size = await read_varint(reader)
    body = await reader.readexactly(size)
    assert body[0] >> 3 == 0, "a frame of a channel has come"
    return body[1], body[2:]


async def read_varint(reader: asyncio.StreamReader) -> int:
    value = shift = 0
    while (byte := (await reader.readexactly(1))[0]) >= 0x80:
        value |= (byte & 0x7F) << shift
        shift += 7
    return value | byte << shift


# --- the test's side --------------------------------------------------------------------------------------------------


class Peer:
    """One of the programs above, for the length of a `with` block; killed at its end.

    Args:
        role: its name.
        loop: "asyncio" or "uvloop".
        prefix: a command that runs it, such as `ip netns exec name`.
        environment: variables that it has beside those of this process.
        options: what its function takes.
    """

    program = __file__

    def __init__(
        self, role: str, loop: str, *prefix: str, environment: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        command = [*prefix, sys.executable, self.program, role, loop, json.dumps(options)]
        everything = os.environ | dict(environment or {})
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=everything)
        assert self.process.stdout is not None
        self.output = self.process.stdout.fileno()
        self.unread = b""

    def tell(self, *words: Any) -> None:
        """Give a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> list[Any]:
        """The next that it tells. Raises TimeoutError, and EOFError when it has ended."""
        return first_of(self)[1]

    def until(self, *words: str) -> list[Any]:
        """Pass over what it tells, up to something that begins with one of these words."""
        while (heard := self.hear())[0] not in words:
            pass
        return heard

    def ask(self, *words: Any, answer: str) -> list[Any]:
        """Give a command, and wait for an answer that begins so; the rest of it."""
        self.tell(*words)
        return self.until(answer)[1:]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


def first_of(*peers: Peer) -> tuple[Peer, list[Any]]:
    """Which of them tells something next, and what."""
    by_place = {peer.output: peer for peer in peers}
    while not (speaking := [peer for peer in peers if b"\n" in peer.unread]):
        ready, _, _ = select.select(list(by_place), [], [], PATIENCE)
        if not ready:
            raise TimeoutError(f"heard nothing for {PATIENCE:g} s")
        more = os.read(ready[0], 65_536)
        if not more:
            raise EOFError(f"a process ended with {by_place[ready[0]].process.wait()}")
        by_place[ready[0]].unread += more
    line, _, speaking[0].unread = speaking[0].unread.partition(b"\n")
    return speaking[0], json.loads(line)


ROLES = {"server": server, "client": client, "racer": racer}


def play(roles: dict[str, Callable[..., Coroutine[Any, Any, None]]]) -> None:
    """Run the one that the command line names."""
    role, loop, options = sys.argv[1:]
    with loops.runner(loop) as runner:
        runner.run(roles[role](**json.loads(options)))


if __name__ == "__main__":
    play(ROLES)
