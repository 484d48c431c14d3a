"""A peer that shares no code with the library: one end of a TCP connection, and the bytes of `frames`."""

import asyncio
from typing import Any, Literal, NamedTuple

from support import frames
from support.frames import PREFACE, Frame, Kind, NeedMore, Record

PATIENCE = 10.0  # seconds: only a test that hangs gets there
TURNS = 20  # of the loop: after them, what was going to be sent at once has been sent


class Said(NamedTuple):
    """One entry of what went over a connection, in the order in which the raw peer saw it."""

    by: Literal["peer", "subject"]
    data: bytes


class RawPeer:
    """One end of a TCP connection; `client` says which role it plays itself.

    Args:
        patience: seconds that it waits for bytes; None: for ever.
        quiet: seconds after which a silence is believed; 0.0: as soon as the loop, which the other side shares, has
            nothing to do.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        client: bool,
        patience: float | None = PATIENCE,
        quiet: float = 0.0,
    ) -> None:
        self.reader, self.writer, self.client = reader, writer, client
        self.patience, self.quiet = patience, quiet
        self.buffer = bytearray()
        self.heard: list[Frame] = []
        self.said: list[Said] = []
        self.greeted = False

    async def send(self, *pieces: bytes) -> None:
        self.said += [Said("peer", piece) for piece in pieces if piece]
        self.writer.write(b"".join(pieces))
        await self.writer.drain()

    async def more(self) -> None:
        """Wait for bytes; EOFError at the end of the stream."""
        async with asyncio.timeout(self.patience):
            data = await self.reader.read(65_536)
        if not data:
            raise EOFError
        self.said.append(Said("subject", data))
        self.buffer += data

    async def frame(self) -> Frame:
        """The next frame; the first one must have the preface before it."""
        while len(self.buffer) < len(PREFACE) and not self.greeted:
            await self.more()
        if not self.greeted:
            assert self.buffer.startswith(PREFACE), bytes(self.buffer[:80])
            del self.buffer[: len(PREFACE)]
            self.greeted = True
        while True:
            try:
                found, end = frames.take_frame(self.buffer)
            except NeedMore:
                await self.more()
            else:
                del self.buffer[:end]
                found.check()
                self.heard.append(found)
                return found

    async def until(self, what: Kind | Record, channel: int | None = None) -> Frame:
        """Read up to the next frame of that kind, or of that record."""
        while True:
            found = await self.frame()
            if isinstance(what, Record):
                if found.record is what:
                    return found
            elif found.channel != 0 and found.kind is what and channel in (None, found.channel):
                return found

    async def rest(self) -> list[Frame]:
        """Everything that it was ever sent, when the stream has ended; then it closes its own end, as peers do."""
        try:
            while True:
                await self.frame()
        except EOFError:
            assert not self.buffer, f"the stream ended inside a frame: {bytes(self.buffer[:80])}"
            self.end()
            return self.heard

    async def greet(self, **parameters: Any) -> Frame:
        """Play this side of a good handshake; the other side's record."""
        if self.client:
            await self.send(PREFACE, frames.hello(**parameters))
            return await self.until(Record.WELCOME)
        hello = await self.until(Record.HELLO)
        await self.send(PREFACE, frames.welcome(**parameters))
        return hello

    async def probe(self) -> list[Frame]:
        """Wait until the other side has read all that we sent, and we all that it said to it. What came in meanwhile.

        Twice, for a PONG overtakes what was written at the same time.
        """
        seen = len(self.heard)
        for n in (1, 2):
            await self.send(frames.ping(n))
            while (await self.until(Record.PONG)).fields["n"] != n:
                pass
        return [item for item in self.heard[seen:] if item.record is not Record.PONG]

    async def nothing(self) -> None:
        """Nothing more is sent to us, for as long as it would take to."""
        if self.quiet:
            try:
                async with asyncio.timeout(self.quiet):
                    await self.more()
            except TimeoutError:
                pass
        else:
            for _ in range(TURNS):
                await asyncio.sleep(0)
        assert not self.buffer, bytes(self.buffer[:80])
        assert not self.reader._buffer  # type: ignore[attr-defined]

    def on_channel(self, channel: int, *kinds: Kind) -> list[Frame]:
        return [item for item in self.heard if item.channel == channel and item.kind in (kinds or set(Kind))]

    def end(self) -> None:
        self.writer.close()
