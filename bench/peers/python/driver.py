"""What the drivers in Python share: the four plays, over channels that a peer opens and serves.

A driver says how its library connects, opens and accepts; `main(itself)` does the rest. A library whose natural way is
another one overrides the play in question.
"""

import asyncio
import contextlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from itertools import cycle, islice
from struct import Struct
from time import perf_counter
from typing import Any, Protocol

from muxtcp.bench._child import Side, perform
from muxtcp.bench.stage import Job, MemoryGauge, Stage, private_memory

HEADER = Struct("!I")
SENDS_PER_TURN = 64  # a library whose send() never waits would keep the loop, and its timers, from running
SETTLED = 100  # opened before the first reading of memory, so that one-off costs are not counted


class Ended(Exception):
    """The other side has closed the channel."""


class Channel(Protocol):
    """What is sent in one piece arrives in one piece. The methods are the library's own wherever it has such."""

    async def send(self, message: bytes) -> Any: ...

    async def recv(self) -> Any:
        """The next message. Raises Ended."""

    async def close(self) -> Any: ...


class Prefixed:
    """A channel on a reader and a writer as asyncio's, which asyncssh has as well: a length before each message."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, message: bytes) -> None:
        self.writer.write(HEADER.pack(len(message)) + message)
        await self.writer.drain()

    async def recv(self) -> bytes:
        try:
            (size,) = HEADER.unpack(await self.reader.readexactly(HEADER.size))
            return await self.reader.readexactly(size)
        except asyncio.IncompleteReadError:
            raise Ended from None


Open = Callable[[], Awaitable[Any]]
Handler = Callable[[Any], Awaitable[None]]


class Peer(ABC):
    """A library: how it listens, connects and opens, and what it then does is below."""

    def __init__(self, job: Job) -> None:
        self.size: int = job.arguments["size"]
        self.channels: int = job.arguments["channels"]

    @abstractmethod
    async def accept(self, stage: Stage, handler: Handler) -> None:
        """Listen on `stage.listen()`, and run `handler(channel)` for each channel that the other side opens."""

    @abstractmethod
    async def connect(self, stage: Stage) -> Open:
        """Connect to `stage.address`: a function that opens a channel, which is awaited."""

    # Messages one way, in turn over the channels

    async def serve_flood(self, stage: Stage) -> None:
        async def count(channel: Channel) -> None:
            recv = channel.recv
            await recv()
            stage.begin()
            while True:
                await recv()
                stage.count += 1

        await self.accept(stage, count)

    async def drive_flood(self, stage: Stage) -> None:
        open_channel = await self.connect(stage)
        channels = [await open_channel() for _ in range(self.channels)]
        message = bytes(self.size)
        stage.begin()
        sends = cycle([channel.send for channel in channels])
        while True:
            for send in islice(sends, SENDS_PER_TURN):
                await send(message)
            await asyncio.sleep(0)

    # Round trips, one outstanding on each channel

    async def serve_echo(self, stage: Stage) -> None:
        async def echo(channel: Channel) -> None:
            stage.begin()
            send, recv = channel.send, channel.recv
            while True:
                await send(await recv())

        await self.accept(stage, echo)

    async def drive_echo(self, stage: Stage) -> None:
        open_channel = await self.connect(stage)
        message, timed = bytes(self.size), self.channels == 1

        async def play(channel: Channel) -> None:
            send, recv = channel.send, channel.recv
            sent = perf_counter()
            while True:
                await send(message)
                await recv()
                stage.count += 1
                if timed:
                    now = perf_counter()
                    stage.latencies.append(now - sent)
                    sent = now

        channels = [await open_channel() for _ in range(self.channels)]
        stage.begin()
        async with asyncio.TaskGroup() as group:
            for channel in channels:
                group.create_task(play(channel))

    # Whole conversations: open, one echo, close; as many at once as there are channels

    async def serve_opens(self, stage: Stage) -> None:
        async def echo_once(channel: Channel) -> None:
            stage.begin()
            await channel.send(await channel.recv())
            await channel.close()

        await self.accept(stage, echo_once)

    async def drive_opens(self, stage: Stage) -> None:
        open_channel = await self.connect(stage)
        message = bytes(self.size)

        async def converse() -> None:
            while True:
                channel = await open_channel()
                await channel.send(message)
                await channel.recv()
                await channel.close()
                stage.count += 1

        stage.begin()
        async with asyncio.TaskGroup() as group:
            for _ in range(self.channels):
                group.create_task(converse())

    # Memory of an open channel on which nothing happens

    async def serve_idle(self, stage: Stage) -> None:
        gauge = MemoryGauge(stage, settled=SETTLED, counted=self.channels)

        async def wait(channel: Channel) -> None:
            gauge.one_more()
            await channel.recv()

        await self.accept(stage, wait)

    async def drive_idle(self, stage: Stage) -> None:
        open_channel = await self.connect(stage)

        async def open_some() -> list[Channel]:
            return await asyncio.gather(*(open_channel() for _ in range(SETTLED)))

        kept = [await open_some()]
        before = private_memory()
        kept += [await open_some() for _ in range(self.channels // SETTLED)]
        stage.publish(bytes=(private_memory() - before) / self.channels)
        await asyncio.Event().wait()

    # What drivers have in common

    async def run(self, handler: Handler, channel: Any) -> None:
        """Run a handler to the end of its channel."""
        with contextlib.suppress(Ended):
            await handler(channel)


def main(peer: type[Peer]) -> None:
    """Play the job that standard input gives."""

    def side(job: Job) -> Side:
        verb = "serve" if job.role == "server" else "drive"
        chosen: Side = getattr(peer(job), f"{verb}_{job.play}")
        return chosen

    sys.exit(perform(side))
