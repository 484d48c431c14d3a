"""The wire codec, seen through the engine: messages to bytes, bytes to messages. No round trip, no credit in return."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from muxtcp import codecs
from muxtcp._engine import Engine, EventKind

Connect = Callable[..., Any]

SIZES = {"64 B": (64, 1_000), "1 KiB": (1_024, 1_000), "64 KiB": (65_536, 50), "1 MiB": (1_048_576, 4)}


@pytest.fixture(params=SIZES)
def messages(request: pytest.FixtureRequest) -> list[bytes]:
    size, count = SIZES[request.param]
    return [bytes(size)] * count


def test_encode(benchmark: BenchmarkFixture, connected: Connect, wide: dict[str, int], messages: list[bytes]) -> None:
    def fresh() -> tuple[tuple[Engine, int], dict[str, object]]:
        client = connected(**wide).client
        return (client, client.open("bench")), {}

    def encode(client: Engine, channel: int) -> bytes:
        for message in messages:
            client.send(channel, message)
        return client.data_to_send()

    data = benchmark.pedantic(encode, setup=fresh, rounds=50)
    assert len(data) > sum(map(len, messages))


def test_decode(benchmark: BenchmarkFixture, connected: Connect, wide: dict[str, int], messages: list[bytes]) -> None:
    engines = connected(**wide)
    channel = engines.client.open("bench")
    for message in messages:
        assert engines.client.send(channel, message)
    data = engines.client.data_to_send()

    def fresh() -> tuple[tuple[Engine], dict[str, object]]:
        return (connected(**wide).server,), {}

    def decode(server: Engine) -> int:
        server.receive_data(data, 0.0)
        count = 0
        while event := server.next_event():
            count += event.kind == EventKind.MESSAGE
        return count

    assert benchmark.pedantic(decode, setup=fresh, rounds=50) == len(messages)


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_objects(benchmark: BenchmarkFixture, name: str) -> None:
    pytest.importorskip("msgspec", reason="the codecs for objects need the extra 'json'")
    codec = codecs.resolve(name)
    assert codec is not None
    thing = {"symbol": "MUX", "bid": 101.25, "ask": 101.5, "sizes": [100, 200, 300]}
    assert benchmark(lambda: codec.decode(codec.encode(thing))) == thing
