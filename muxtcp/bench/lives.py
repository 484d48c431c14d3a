"""Channels by the million: all opened, then one message each way on each, then all closed."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import ClassVar

import muxtcp

from .ours import Ours, room
from .stage import Stage, private_memory

MESSAGE = bytes(64)


def _config(channels: int) -> muxtcp.Config:
    """Patient: collecting garbage may stop a loop with millions of objects for longer than a peer may be silent."""
    return replace(room(channels), keepalive=None, write_timeout=3_600.0)


class _Answer(muxtcp.ChannelListener):
    """Answers each message; keeps the channels that the peer has finished, and sets `all_ended` at the last one."""

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.all_ended = asyncio.Event()
        self.ended: list[muxtcp.Channel] = []
        self.memory = 0  # bytes, while every channel was open

    def on_message(self, channel: muxtcp.Channel, view: memoryview) -> None:
        channel.send_nowait(MESSAGE)  # where it is refused, on_writable() follows

    def on_writable(self, channel: muxtcp.Channel) -> None:
        channel.send_nowait(MESSAGE)

    def on_eof(self, channel: muxtcp.Channel) -> None:
        if not self.ended:
            self.memory = private_memory()
        self.ended.append(channel)
        if len(self.ended) == self.channels:
            self.all_ended.set()


class _Count(muxtcp.ChannelListener):
    """Counts answers, and sets `all_answered` at the last one."""

    def __init__(self, channels: int) -> None:
        self.missing = channels
        self.all_answered = asyncio.Event()

    def on_message(self, channel: muxtcp.Channel, view: memoryview) -> None:
        self.missing -= 1
        if not self.missing:
            self.all_answered.set()


@dataclass(frozen=True, kw_only=True)
class Lives(Ours):
    """Three acts of `channels`, with listeners on both sides.

    Each side publishes the `bytes` per channel while all are open, and the client the seconds of each act.
    """

    patience: ClassVar[float] = 300.0
    channels: int

    @property
    def label(self) -> str:
        """How many."""
        return f"muxtcp, {self.channels:,} channels"

    async def serve(self, stage: Stage) -> None:  # noqa: D102 -- described in `TwoSides`
        before = private_memory()
        answer = _Answer(self.channels)
        async with muxtcp.serve(
            lambda channel: channel.listen(answer), sock=stage.listen(), config=_config(self.channels)
        ):
            await answer.all_ended.wait()
            while answer.ended:
                await answer.ended.pop().close()
            stage.publish(bytes=(answer.memory - before) / self.channels)
            await asyncio.Event().wait()

    async def drive(self, stage: Stage) -> None:  # noqa: D102
        seconds: dict[str, float] = {}

        @contextmanager
        def act(name: str) -> Iterator[None]:
            start = perf_counter()
            yield
            seconds[name] = perf_counter() - start

        before = private_memory()
        count = _Count(self.channels)
        channels: list[muxtcp.Channel] = []
        async with muxtcp.connect(*stage.address, config=_config(self.channels)) as session:
            with act("open"):
                for _ in range(self.channels):
                    channels.append(await session.open("life"))
                    channels[-1].listen(count)
                await session.ping()
            with act("exchange"):
                for channel in channels:
                    await channel.send(MESSAGE)
                await count.all_answered.wait()
            memory = private_memory()
            with act("close"):
                while channels:
                    await channels.pop().close()
                await session.ping()
            stage.publish(bytes=(memory - before) / self.channels, **seconds)
            await asyncio.Event().wait()
