"""What one play needs: connections to the implementation, the user behind it, and words for what is not as expected."""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

from conformance.stand import Gone, Refusal, Role, Stand
from support.frames import Code, Frame, Kind, Record
from support.raw import RawPeer


class Unexpected(AssertionError):
    """The implementation did something else."""

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(f"expected {expected}; came {came}")
        self.expected, self.came = expected, came


def expect(came: object, expected: object, what: str = "") -> None:
    if came != expected:
        raise Unexpected(f"{what} {expected!r}".strip(), repr(came))


def ensure(condition: object, expected: str, came: object) -> None:
    if not condition:
        raise Unexpected(expected, repr(came))


async def fails(work: Awaitable[Any], *words: str) -> list[str]:
    """What was asked of the user cannot be done, for a reason that begins with these words."""
    try:
        came = await work
    except Refusal as refusal:
        expect(refusal.words[: len(words)], list(words), "a failure with")
        return refusal.words
    raise Unexpected(f"a failure {' '.join(words)}", f"success, {came!r}")


def pattern(number: int, size: int) -> bytes:
    """What the user sends as message of that number on a channel."""
    start = number % 251
    return (bytes(range(251)) * (size // 251 + 2))[start : start + size]


def cost(items: list[Frame]) -> int:
    """Of DATA and PART frames, in credit."""
    return sum(len(item.payload) + (64 if item.kind is Kind.DATA else 0) for item in items)


class User:
    """Who uses the implementation, in one session: does what only a user can, when it is told to."""

    def __init__(self, stand: Stand, name: str) -> None:
        self.stand, self.name = stand, name

    async def _ask(self, verb: str, *words: object) -> list[str]:
        return await self.stand.control.ask(verb, self.name, *words)

    async def open(self, name: str = "held", mode: str = "rw") -> int:
        """The new channel's number. Waits while the peer allows no more channels."""
        return int((await self._ask("open", name, mode))[0])

    async def send(self, channel: int, size: int, count: int = 1) -> None:
        """Send messages made by `pattern`. Waits for credit."""
        await self._ask("send", channel, size, count)

    async def reads(self, channel: int, message: bytes | None) -> None:
        """The next message is this one; None: there is none, for the peer has finished."""
        came = await self._ask("read", channel)
        expected = ["end"] if message is None else [str(len(message)), str(zlib.crc32(message))]
        expect(came, expected, "size and CRC-32 of the next message")

    async def read(self, channel: int) -> None:
        """Take a message, whatever it is."""
        await self._ask("read", channel)

    async def finish(self, channel: int) -> None:
        await self._ask("finish", channel)

    async def reset(self, channel: int, code: int) -> None:
        await self._ask("reset", channel, code)

    async def drop(self, channel: int) -> None:
        """Have no more use for the channel."""
        await self._ask("drop", channel)

    async def ping(self) -> None:
        """Waits for the answer."""
        await self._ask("ping")

    async def leave(self, code: int = 0, reason: str = "") -> None:
        """Say GOAWAY, and wait until the channels have ended."""
        await self._ask("leave", code, *([reason] if reason else []))

    async def close(self) -> None:
        """End the session in good order."""
        await self._ask("close")

    async def abort(self) -> None:
        """End it now."""
        await self._ask("abort")

    async def ended(self, *words: str) -> None:
        """The session is over, or soon will be, in this way."""
        expect((await self._ask("ended"))[: len(words)], list(words), "a session that ended as")


class Lab:
    """One play's connections. What it begins is ended with it."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.role: Role = stand.role
        self.peers: list[RawPeer] = []
        self.users: list[User] = []
        self.notes: list[str] = []  # what was only recommended, and was not done
        self.tasks: list[asyncio.Task[Any]] = []
        self.listener: asyncio.Server | None = None
        self.come: asyncio.Queue[RawPeer] = asyncio.Queue()
        self.port = 0
        self.over = False
        self.connecting: asyncio.Task[list[str]]

    @property
    def theirs(self) -> int:
        """The first channel that the implementation opens."""
        return 2 if self.role == "server" else 1

    @property
    def ours(self) -> int:
        """The first channel that the runner opens."""
        return 3 - self.theirs

    async def begin(self, **options: object) -> tuple[RawPeer, User]:
        """A connection for a new session, before the first byte; options as in docs/conformance.md, for the other side.

        Where the implementation is the client, `connecting` is its attempt.
        """
        user = User(self.stand, str(next(self.stand.sessions)))
        self.users.append(user)
        asked = tuple(f"{name}={value}" for name, value in sorted(options.items()))
        if self.role == "server":
            self.port = await self.stand.port_for(asked)
        else:
            if self.listener is None:
                self.listener = await asyncio.start_server(self._accept, self.stand.host, 0)
            port = self.listener.sockets[0].getsockname()[1]
            self.connecting = self.later(self.stand.control.ask("connect", user.name, port, *asked))
        return await self.dial(), user

    async def dial(self) -> RawPeer:
        """The next connection of the session that was begun last."""
        if self.role == "server":
            self.peers.append(await self.stand.dial(self.port))
        else:
            async with asyncio.timeout(self.stand.patience):
                self.peers.append(await self.come.get())
        return self.peers[-1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = self.stand.peer(reader, writer)
        if self.over:
            peer.end()
        else:
            self.come.put_nowait(peer)

    async def meet(self, said: dict[str, Any] | None = None, **options: object) -> tuple[RawPeer, User]:
        """A new session: the raw peer announced the parameters `said` and the name of the session."""
        peer, user = await self.begin(**options)
        await self.greet(peer, user, **(said or {}))
        return peer, user

    async def greet(self, peer: RawPeer, user: User, **said: Any) -> Frame:
        """Play a good handshake that tells the other side's user the name of the session."""
        told = await peer.greet(meta={"conformance": user.name}, **said)
        if self.role == "client":
            await self.connecting
        return told

    def later(self, work: Any) -> "asyncio.Task[Any]":
        """Do it beside the play, which may wait for it; it is cancelled with it."""
        self.tasks.append(asyncio.ensure_future(work))
        return self.tasks[-1]

    def should(self, condition: object, what: str) -> None:
        """Note that a recommendation is not followed, or fail where the stand is strict."""
        if not condition and self.stand.strict:
            raise Unexpected(what, "nothing of it, which is only recommended")
        if not condition:
            self.notes.append(f"not: {what}")

    async def goodbye(self, peer: RawPeer, code: Code) -> None:
        """The connection is closed, and the last word, if there is one, is a GOAWAY with the code."""
        await peer.rest()
        words = [item for item in peer.heard if item.record in (Record.GOAWAY, Record.END)]
        if words and words[-1].record is Record.END:
            words.pop()  # on a resumable session it follows
        self.should(words, f"a GOAWAY with {code.name}")
        if words:
            expect(Code(words[-1].fields["code"]).name, code.name, "a GOAWAY with")

    async def violated(self, peer: RawPeer, user: User, code: Code) -> None:
        """Both ends know that the peer broke the rules, and which one."""
        await self.goodbye(peer, code)
        await user.ended("violation", str(int(code)))

    async def end(self) -> None:
        self.over = True
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for user in self.users:
            with contextlib.suppress(Refusal, Gone, TimeoutError, OSError):  # it never came to be, or is over
                await user.abort()
        while not self.come.empty():
            self.peers.append(self.come.get_nowait())
        for peer in self.peers:
            peer.end()
        if self.listener is not None:
            self.listener.close()
            await self.listener.wait_closed()


@asynccontextmanager
async def lab(stand: Stand) -> AsyncIterator[Lab]:
    found = Lab(stand)
    try:
        yield found
    finally:
        await found.end()
