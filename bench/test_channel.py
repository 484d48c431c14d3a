"""Channels in memory: every way to send beside every way to receive, without a socket."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import muxtcp
from muxtcp.testing import pair

MESSAGE = bytes(64)
COUNT = 1_000  # messages per call; the receiver answers the last


async def iterate(channel: muxtcp.Channel) -> None:
    count = 0
    async for _ in channel:
        count += 1
        if count % COUNT == 0:
            await channel.send(b"")


async def receive(channel: muxtcp.Channel) -> None:
    while True:
        for _ in range(COUNT):
            await channel.recv()
        await channel.send(b"")


async def batches(channel: muxtcp.Channel) -> None:
    count = 0
    async for batch in channel.batches():
        count += len(batch)
        if count % COUNT == 0:
            await channel.send(b"")


def listener(channel: muxtcp.Channel) -> None:
    class Count(muxtcp.ChannelListener):
        count = 0

        def on_message(self, channel: muxtcp.Channel, view: memoryview) -> None:
            self.count += 1
            if self.count % COUNT == 0:
                channel.send_nowait(b"")

    channel.listen(Count())


async def send(channel: muxtcp.Channel) -> None:
    for _ in range(COUNT):
        await channel.send(MESSAGE)


async def send_many(channel: muxtcp.Channel) -> None:
    await channel.send_many([MESSAGE] * COUNT)


def measure(
    benchmark: BenchmarkFixture,
    runner: asyncio.Runner,
    handler: Callable[[muxtcp.Channel], Any],
    exchange: Callable[[muxtcp.Channel], Coroutine[Any, Any, None]],
) -> None:
    """Time `exchange` and the answer to it, on a channel that `handler` serves."""
    link = pair(handler)
    sessions = runner.run(link.__aenter__())
    try:
        channel = runner.run(_open(sessions.client))

        async def once() -> None:
            await exchange(channel)
            await channel.recv()

        benchmark(lambda: runner.run(once()))
    finally:
        runner.run(link.__aexit__(None, None, None))


async def _open(session: muxtcp.Session) -> muxtcp.Channel:
    return await session.open("bench")


@pytest.mark.parametrize("handler", [iterate, receive, batches, listener])
def test_receiving(
    benchmark: BenchmarkFixture, runner: asyncio.Runner, handler: Callable[[muxtcp.Channel], Any]
) -> None:
    measure(benchmark, runner, handler, send)


@pytest.mark.parametrize("exchange", [send, send_many])
def test_sending(
    benchmark: BenchmarkFixture,
    runner: asyncio.Runner,
    exchange: Callable[[muxtcp.Channel], Coroutine[Any, Any, None]],
) -> None:
    measure(benchmark, runner, batches, exchange)


async def echo(channel: muxtcp.Channel) -> None:
    async for message in channel:
        await channel.send(message)


async def ping(channel: muxtcp.Channel) -> None:
    await channel.send(MESSAGE)


def test_ping_pong(benchmark: BenchmarkFixture, runner: asyncio.Runner) -> None:
    measure(benchmark, runner, echo, ping)


def test_request(benchmark: BenchmarkFixture, runner: asyncio.Runner) -> None:
    """A whole conversation: open, one message, its answer, close."""
    link = pair(echo)
    sessions = runner.run(link.__aenter__())
    try:
        assert benchmark(lambda: runner.run(sessions.client.request("echo", MESSAGE))) == MESSAGE
    finally:
        runner.run(link.__aexit__(None, None, None))
