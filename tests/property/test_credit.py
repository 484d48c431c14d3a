"""Credit and channels come back, whatever became of what they were spent on, and whoever waits for them goes on."""

import itertools
from typing import Any

import pytest
from support.pair import IMPLEMENTATIONS, Pair, Side
from support.parts import EventKind

OPTIONS = {"max_message": 150_000, "channel_window": 32_768, "session_window": 65_536, "max_channels": 3}
ROUNDS = 40  # so often that a leak of one message a round uses up every window

between_every_pair = pytest.mark.parametrize(
    ("client", "server", "opener"), list(itertools.product(IMPLEMENTATIONS, IMPLEMENTATIONS, ["client", "server"]))
)


def connected(client: str, server: str, opener: str, **options: Any) -> tuple[Pair, Side, Side]:
    pair = Pair.connected(client, server, client_options=OPTIONS, server_options=OPTIONS, **options)
    ours: Side = getattr(pair, opener)
    return pair, ours, pair.other(ours)


@between_every_pair
@pytest.mark.parametrize("size", [0, 20_000, 40_000, 150_000])
def test_many_channels_wait_for_one_session(client: str, server: str, opener: str, size: int) -> None:
    """Each message fits no window, and all wait at once: every one gets through in the end."""
    pair, ours, theirs = connected(client, server, opener)
    channels = [ours.engine.open("") for _ in range(3)]
    waiting = dict.fromkeys(channels, 5)
    ready = set(channels)
    while ready:
        for channel in ready:
            while waiting[channel] and ours.engine.send(channel, bytes(size)):
                waiting[channel] -= 1
        ours.events.clear()
        pair.pump()
        ready = {event.channel for event in ours.seen(EventKind.WRITABLE)}
    assert not any(waiting.values())
    assert [len(theirs.messages(channel)) for channel in channels] == [5, 5, 5]


@between_every_pair
@pytest.mark.parametrize("end", ["our reset", "their reset", "finish, unread", "their reset in a message"])
def test_no_ending_leaks(client: str, server: str, opener: str, end: str) -> None:
    """Open, send, end without reading, release: ever again."""
    pair, ours, theirs = connected(client, server, opener, consume=False)
    for _ in range(ROUNDS):
        channel = ours.engine.open("")
        assert channel, "a channel that has ended must give its place back"
        assert ours.engine.send(channel, bytes(30_000)), "an ending lost credit"
        match end:
            case "our reset":
                pair.pump()
                ours.engine.reset(channel, 2)
            case "their reset":
                pair.pump()
                theirs.engine.reset(channel, 2)
            case "their reset in a message":
                pair.carry(theirs, 20_000)
                theirs.engine.reset(channel, 2)
            case "finish, unread":
                ours.engine.finish(channel)
                pair.pump()
                theirs.engine.finish(channel)
        pair.pump()
        ours.engine.release(channel)
        theirs.engine.release(channel)
        pair.pump()
    assert ours.closed is None
    assert theirs.closed is None
