"""The engine at work: two of them in memory, with the credit, the opens and the ends that real sessions have."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

Connect = Callable[..., Any]

MESSAGE = bytes(64)


@pytest.mark.parametrize("channels", [1, 100])
def test_echo(benchmark: BenchmarkFixture, connected: Connect, channels: int) -> None:
    """One message on each channel, there and back."""
    engines = connected(echo=True)
    ids = [engines.client.open("echo") for _ in range(channels)]

    def echo() -> int:
        for channel in ids:
            engines.client.send(channel, MESSAGE)
        return engines.exchange()

    assert benchmark(echo) == channels


def test_open_echo_close(benchmark: BenchmarkFixture, connected: Connect) -> None:
    engines = connected(echo=True)

    def converse() -> int:
        channel = engines.client.open("echo")
        assert channel
        engines.client.send(channel, MESSAGE)
        engines.client.finish(channel)
        return engines.exchange()

    assert benchmark(converse) == 1


@pytest.mark.parametrize("open_channels", [10, 1_000, 10_000])
def test_cost_beside_idle_channels(benchmark: BenchmarkFixture, connected: Connect, open_channels: int) -> None:
    """One hundred messages over ten channels that lie far apart: the number of the others must not matter."""
    engines = connected(max_channels=open_channels)
    ids = [engines.client.open("idle") for _ in range(open_channels)]
    engines.exchange()
    busy = ids[:: open_channels // 10] * 10

    def send() -> None:
        for channel in busy:
            engines.client.send(channel, MESSAGE)
        engines.exchange()

    benchmark(send)


@pytest.mark.parametrize("priorities", [[2], [0, 1, 2, 3]], ids=["one class", "four classes"])
def test_schedule(benchmark: BenchmarkFixture, connected: Connect, wide: dict[str, int], priorities: list[int]) -> None:
    """Sixteen channels with something to send each, taken 16 KiB at a time."""
    engines = connected(**wide)
    ids = [engines.client.open("bench", priority=priorities[number % len(priorities)]) for number in range(16)]
    message = bytes(4_096)

    def drain() -> None:
        for channel in ids * 4:
            engines.client.send(channel, message)
        while data := engines.client.data_to_send(16_384):
            engines.server.receive_data(data, 0.0)
            while event := engines.server.next_event():
                engines.serve(event)
        engines.exchange()

    benchmark(drain)
