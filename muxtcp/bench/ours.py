"""The contestants on muxtcp, in its default configuration, through its public API alone."""
# ruff: noqa: D102 -- the two sides and the label of a contestant are described in `Contestant`

import asyncio
from dataclasses import dataclass, replace
from itertools import cycle
from time import perf_counter

import muxtcp

from .stage import MemoryGauge, Stage, TwoSides, private_memory

IDLE = "idle"


def room(channels: int) -> muxtcp.Config:
    """The default configuration, with room for so many channels."""
    usual = muxtcp.Config()
    return replace(
        usual,
        max_channels=max(usual.max_channels, channels),
        accept_backlog=max(usual.accept_backlog, channels),
    )


class Ours(TwoSides):
    """A contestant of this library."""

    @property
    def label(self) -> str:
        return "muxtcp"


@dataclass(frozen=True, kw_only=True)
class Flood(Ours):
    """Messages one way, in turn over `channels`: `await send` on one side, `async for` on the other."""

    size: int
    channels: int
    idle: int = 0  # further channels that are open meanwhile
    resume: float | None = None  # seconds for which the session would survive a broken connection
    tls: bool = False

    async def serve(self, stage: Stage) -> None:
        async def count(channel: muxtcp.Channel) -> None:
            await channel.recv()
            stage.begin()  # by now all channels are open
            async for _ in channel:
                stage.count += 1

        async with muxtcp.serve(count, sock=stage.listen(), config=room(self.open), ssl=stage.tls(self.tls)):
            await asyncio.Event().wait()

    async def drive(self, stage: Stage) -> None:
        message = bytes(self.size)
        async with muxtcp.connect(
            *stage.address, resume=self.resume, config=room(self.open), ssl=stage.tls(self.tls)
        ) as session:
            kept = [await session.open(IDLE) for _ in range(self.idle)]
            channels = [await session.open(f"channel {number}") for number in range(self.channels)]
            stage.begin()
            for channel in cycle(channels):
                await channel.send(message)
            del kept

    @property
    def label(self) -> str:
        return f"muxtcp, {self.open:,} channel{'s' * (self.open != 1)}"

    @property
    def open(self) -> int:
        """Channels, busy and idle."""
        return self.channels + self.idle


@dataclass(frozen=True, kw_only=True)
class BatchFlood(Flood):
    """A flood received with `batches()`."""

    async def serve(self, stage: Stage) -> None:
        async def count(channel: muxtcp.Channel) -> None:
            stage.begin()
            async for batch in channel.batches():
                stage.count += len(batch)

        async with muxtcp.serve(count, sock=stage.listen()):
            await asyncio.Event().wait()


@dataclass(frozen=True, kw_only=True)
class ListenerFlood(Flood):
    """A flood received by a listener."""

    async def serve(self, stage: Stage) -> None:
        class Count(muxtcp.ChannelListener):
            def on_message(self, channel: muxtcp.Channel, view: memoryview) -> None:
                stage.count += 1

        count = Count()

        def accept(channel: muxtcp.Channel) -> None:
            stage.begin()
            channel.listen(count)

        async with muxtcp.serve(accept, sock=stage.listen()):
            await asyncio.Event().wait()


@dataclass(frozen=True, kw_only=True)
class Echo(Ours):
    """Round trips, one outstanding on each of `channels`; a task per channel on both sides."""

    size: int
    channels: int
    tls: bool = False

    async def serve(self, stage: Stage) -> None:
        async def echo(channel: muxtcp.Channel) -> None:
            stage.begin()
            async for message in channel:
                await channel.send(message)

        async with muxtcp.serve(echo, sock=stage.listen(), ssl=stage.tls(self.tls)):
            await asyncio.Event().wait()

    async def drive(self, stage: Stage) -> None:
        message = bytes(self.size)
        timed = self.channels == 1

        async def play(channel: muxtcp.Channel) -> None:
            sent = perf_counter()
            while True:
                await channel.send(message)
                await channel.recv()
                stage.count += 1
                if timed:
                    now = perf_counter()
                    stage.latencies.append(now - sent)
                    sent = now

        context = stage.tls(self.tls)
        async with muxtcp.connect(*stage.address, ssl=context) as session, asyncio.TaskGroup() as group:
            stage.begin()
            for number in range(self.channels):
                group.create_task(play(await session.open(f"channel {number}")))


@dataclass(frozen=True, kw_only=True)
class ListenerEcho(Echo):
    """Round trips with listeners on both sides, and no task."""

    async def serve(self, stage: Stage) -> None:
        class Answer(muxtcp.ChannelListener):
            def on_message(self, channel: muxtcp.Channel, view: memoryview) -> None:
                channel.send_nowait(bytes(view))

        answer = Answer()

        def accept(channel: muxtcp.Channel) -> None:
            stage.begin()
            channel.listen(answer)

        async with muxtcp.serve(accept, sock=stage.listen()):
            await asyncio.Event().wait()

    async def drive(self, stage: Stage) -> None:
        message = bytes(self.size)
        timed = self.channels == 1

        class Play(muxtcp.ChannelListener):
            sent = perf_counter()

            def on_message(self, channel: muxtcp.Channel, view: memoryview) -> None:
                stage.count += 1
                if timed:
                    now = perf_counter()
                    stage.latencies.append(now - self.sent)
                    self.sent = now
                channel.send_nowait(message)

        play = Play()
        async with muxtcp.connect(*stage.address) as session:
            stage.begin()
            for number in range(self.channels):
                channel = await session.open(f"channel {number}")
                channel.listen(play)
                channel.send_nowait(message)
            await asyncio.Event().wait()


@dataclass(frozen=True, kw_only=True)
class Opens(Ours):
    """Whole conversations: open, one echo, close; `tasks` of them at once."""

    size: int
    tasks: int

    async def serve(self, stage: Stage) -> None:
        async def echo_once(channel: muxtcp.Channel) -> None:
            stage.begin()
            await channel.send(await channel.recv())

        async with muxtcp.serve(echo_once, sock=stage.listen()):
            await asyncio.Event().wait()

    async def drive(self, stage: Stage) -> None:
        message = bytes(self.size)

        async def converse(session: muxtcp.Session) -> None:
            while True:
                async with session.open("echo") as channel:
                    await channel.send(message)
                    await channel.recv()
                stage.count += 1

        async with muxtcp.connect(*stage.address) as session, asyncio.TaskGroup() as group:
            stage.begin()
            for _ in range(self.tasks):
                group.create_task(converse(session))


@dataclass(frozen=True, kw_only=True)
class IdleChannels(Ours):
    """Memory of one idle channel; the server serves it with a listener, or with a task when `tasks` is set."""

    channels: int
    tasks: bool
    settled: int = 100  # opened before the first reading, so that one-off costs are not counted

    @property
    def config(self) -> muxtcp.Config:
        return room(self.settled + self.channels)

    async def serve(self, stage: Stage) -> None:
        gauge = MemoryGauge(stage, settled=self.settled, counted=self.channels)
        listener = muxtcp.ChannelListener()

        async def wait_for_messages(channel: muxtcp.Channel) -> None:
            gauge.one_more()
            async for _ in channel:
                pass

        def accept(channel: muxtcp.Channel) -> None:
            channel.listen(listener)
            gauge.one_more()

        async with muxtcp.serve(wait_for_messages if self.tasks else accept, sock=stage.listen(), config=self.config):
            await asyncio.Event().wait()

    async def drive(self, stage: Stage) -> None:
        async with muxtcp.connect(*stage.address, config=self.config) as session:
            kept = [await session.open(IDLE) for _ in range(self.settled)]
            await session.ping()  # what the opening itself needed is sent and gone
            before = private_memory()
            kept += [await session.open(IDLE) for _ in range(self.channels)]
            await session.ping()
            stage.publish(bytes=(private_memory() - before) / self.channels)
            await asyncio.Event().wait()
