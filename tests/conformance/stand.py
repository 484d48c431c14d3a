"""The implementation under test, whoever wrote it, and the line on which it is told what its user is to do."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

from support import frames
from support.frames import Frame, Kind, Record
from support.raw import PATIENCE, RawPeer

Role = Literal["server", "client"]
ROLES: tuple[Role, Role] = ("server", "client")
CONTROL = "conformance/control"


class Refusal(Exception):
    """The user of the implementation could not do what was asked; the words say why."""

    def __init__(self, command: str, words: list[str]) -> None:
        super().__init__(f"{command!r} was answered with {' '.join(words)!r}")
        self.words = words


class Unsupported(Exception):
    """The implementation's test service cannot do that, so a play is not tried."""


class Gone(Exception):
    """The control session has ended, which no play asks for."""


class Control:
    """The control channel, over a session of its own. `ask()` may be called by several tasks at once.

    It looks at no limit: what it sends at once is far less than any implementation announces.
    """

    def __init__(self, peer: RawPeer) -> None:
        self.peer = peer
        self.channel = 1 if peer.client else 2
        self.numbers = itertools.count(1)
        self.answers: dict[str, asyncio.Future[list[str]]] = {}
        self.patience, peer.patience = peer.patience, None  # between two commands, silence is all right
        self.ping: int | None = None  # one that has not been answered
        self.reading: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        return self.reading is None or self.reading.done()

    async def begin(self) -> None:
        await self.peer.greet(channel_limit=frames.MAX_LIMIT, session_limit=frames.MAX_LIMIT)
        await self.peer.send(frames.open(self.channel, CONTROL))
        self.reading = asyncio.create_task(self._read())

    async def ask(self, *words: object) -> list[str]:
        """Give a command, and wait until it was carried out: the words of the answer."""
        number, command = str(next(self.numbers)), " ".join(map(str, words))
        answer = self.answers[number] = asyncio.get_running_loop().create_future()
        if self.over:
            raise Gone("the control session has ended")
        await self.peer.send(frames.data(self.channel, f"{number} {command}".encode()))
        try:
            async with asyncio.timeout(self.patience):
                verdict, *told = await answer
        except TimeoutError:
            raise TimeoutError(f"{command!r} was not answered within {self.patience:g} s") from None
        finally:
            del self.answers[number]
        if told == ["unsupported"]:
            raise Unsupported(command)
        if verdict != "ok":
            raise Refusal(command, told)
        return told

    async def _read(self) -> None:
        try:
            while True:
                self._take(await self.peer.frame())
                self.peer.heard.clear()
                self.peer.said.clear()
                if self.ping is not None:
                    await self.peer.send(frames.pong(self.ping))
                    self.ping = None
        except (EOFError, OSError, frames.Violation) as error:
            for answer in self.answers.values():
                if not answer.done():
                    answer.set_exception(Gone(f"the control session has ended: {error!r}"))

    def _take(self, frame: Frame) -> None:
        if frame.record is Record.PING:
            self.ping = frame.fields["n"]
        elif frame.kind is Kind.DATA and frame.channel == self.channel:
            number, *words = frame.payload.decode().split(" ")
            answer = self.answers.get(number)  # who asked may have been cancelled
            if answer is not None and not answer.done():
                answer.set_result(words)

    async def end(self) -> None:
        if self.reading is not None:
            self.reading.cancel()
            await asyncio.gather(self.reading, return_exceptions=True)
        self.peer.end()
        with contextlib.suppress(OSError):
            await self.peer.writer.wait_closed()


class Stand:
    """One implementation in one role, from the first play to the last.

    Attributes:
        role: which one the implementation under test plays.
        strict: whether what the specification only recommends counts, too.
        quiet, patience: as in `RawPeer`.
    """

    def __init__(self, role: Role, *, strict: bool, quiet: float, patience: float) -> None:
        self.role: Role = role
        self.strict, self.quiet, self.patience = strict, quiet, patience
        self.host, self.port = "", 0  # the server's, where the implementation is one
        self.control: Control
        self.sessions = itertools.count(1)
        self._ports: dict[tuple[str, ...], int] = {}

    def peer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> RawPeer:
        client = self.role == "server"
        return RawPeer(reader, writer, client=client, patience=self.patience, quiet=self.quiet)

    async def dial(self, port: int) -> RawPeer:
        async with asyncio.timeout(self.patience):
            return self.peer(*await asyncio.open_connection(self.host, port))

    async def port_for(self, options: tuple[str, ...]) -> int:
        """Where a server with these options listens."""
        if not options:
            return self.port
        if options not in self._ports:
            [port] = await self.control.ask("listen", *options)
            self._ports[options] = int(port)
        return self._ports[options]


@asynccontextmanager
async def server_stand(
    host: str, port: int, *, strict: bool = True, quiet: float = 0.0, patience: float = PATIENCE
) -> AsyncIterator[Stand]:
    """A stand for the server that listens there."""
    stand = Stand("server", strict=strict, quiet=quiet, patience=patience)
    stand.host, stand.port = host, port
    stand.control = Control(await stand.dial(port))
    try:
        await stand.control.begin()
        yield stand
    finally:
        await stand.control.end()


@asynccontextmanager
async def client_stand(
    host: str,
    port: int,
    started: Callable[[str, int], object],
    *,
    wait: float | None = PATIENCE,
    strict: bool = True,
    quiet: float = 0.0,
    patience: float = PATIENCE,
) -> AsyncIterator[Stand]:
    """A stand for a client, which dials once `started` was called with host and port; it may `wait` so many seconds."""
    stand = Stand("client", strict=strict, quiet=quiet, patience=patience)
    stand.host = host
    come: asyncio.Future[RawPeer] = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if come.done():
            writer.close()
        else:
            come.set_result(stand.peer(reader, writer))

    listener = await asyncio.start_server(accept, host, port)
    try:
        started(host, listener.sockets[0].getsockname()[1])
        async with asyncio.timeout(wait):
            stand.control = Control(await come)
        await stand.control.begin()
        try:
            yield stand
        finally:
            await stand.control.end()
    finally:
        listener.close()
        await listener.wait_closed()
