"""What is written is what is read, for every value of the protocol and every pair of implementations."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import frames, strategies
from support.frames import MAX_LIMIT, Kind, NeedMore
from support.pair import IMPLEMENTATIONS, Pair
from support.parts import EventKind

PAIRS = list(itertools.product(IMPLEMENTATIONS, repeat=2))
between_every_pair = pytest.mark.parametrize(("client", "server"), PAIRS)


@given(strategies.numbers)
def test_varint(number: int) -> None:
    written = frames.varint(number)
    assert frames.read_varint(written) == (number, len(written))
    for size in range(len(written)):
        with pytest.raises(NeedMore):
            frames.read_varint(written[:size])


@given(st.integers(1, 2**60 - 1), st.sampled_from(Kind), st.binary(max_size=100))
def test_frame(channel: int, kind: Kind, payload: bytes) -> None:
    written = frames.frame(channel, kind, payload)
    assert frames.take_frame(written) == ((channel, kind, payload), len(written))


@given(strategies.openings)
def test_open_payload(opening: dict[str, Any]) -> None:
    assert frames.read_open(frames.open_payload(**opening)) == opening


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "max_frame": st.integers(16_384, 16_777_216),
            "max_message": st.integers(1_024, 2**40),
            "channel_limit": st.integers(0, MAX_LIMIT),
            "session_limit": st.integers(0, MAX_LIMIT),
            "max_channels": st.integers(0, MAX_LIMIT),
            "keepalive": strategies.numbers,
            "meta": strategies.meta,
            "auth": st.binary(max_size=50),
            "ticket": st.binary(min_size=16, max_size=16),
            "replay_limit": st.integers(0, MAX_LIMIT),
        },
    )
)
def test_parameters(given_parameters: dict[str, Any]) -> None:
    frame, _ = frames.take_frame(frames.hello(**given_parameters))
    expected = {**frames.DEFAULTS, "meta": {}, "auth": b"", "ticket": b"", **given_parameters}
    assert frame.fields == {"record": "HELLO", "version": [1, 1], **expected}


@between_every_pair
@given(opening=strategies.openings)
def test_opening_arrives(client: str, server: str, opening: dict[str, Any]) -> None:
    pair = Pair.connected(client, server)
    for side in pair.sides:
        channel = side.engine.open(**opening)
        pair.pump()
        assert pair.other(side).engine.opening(channel)._asdict() == opening


@between_every_pair
@given(
    sizes=st.lists(strategies.sizes | st.integers(0, 300_000), min_size=1, max_size=5),
    chop=st.sampled_from(["whole", "random"]),
    seed=st.integers(0, 2**32),
)
def test_messages_arrive(client: str, server: str, sizes: list[int], chop: str, seed: int) -> None:
    """Also one that is larger than every window: credit grows to fit it."""
    pair = Pair.connected(client, server, chop=chop, seed=seed)
    for side in pair.sides:
        channel = side.engine.open("")
        messages = [pair.chance.randbytes(size) for size in sizes]
        for message in messages:
            while not side.engine.send(channel, message):
                side.events.clear()
                pair.pump()
                assert side.seen(EventKind.WRITABLE), "nobody may wait for ever"
            pair.pump()
        side.engine.reset(channel, 2, "é" * 100)
        pair.pump()
        assert pair.other(side).messages(channel) == messages
        assert pair.other(side).events[-1] == (EventKind.RESET, channel, b"", 2, "é" * 100, 0)
