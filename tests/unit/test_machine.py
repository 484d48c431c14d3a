"""The incoming half: what a peer can make it keep, and what it bears."""

from typing import Any

from support import frames
from support.leftovers import allocated
from support.pair import Alone, Pair

LARGE = 12 << 20  # bytes, in one frame


def alone(**options: Any) -> Alone:
    side = Alone("engine", client=False, **options)
    side.greet()
    return side


def test_the_receive_buffer_is_small_again_after_a_large_frame() -> None:
    windows = dict.fromkeys(["channel_window", "session_window", "memory_limit"], 2 * LARGE)
    side = alone(max_frame=LARGE, max_message=LARGE, **windows)
    side.feed(frames.open(1))
    before = allocated()
    side.feed(frames.part(1, bytes(LARGE)))
    side.engine.reset(1, 2)  # what was put together is dropped
    side.feed(frames.ping(1))
    assert allocated() - before < LARGE / 4


def test_who_opens_and_resets_is_borne_up_to_a_rate() -> None:
    side = alone(glitch_burst=10, glitch_rate=0.0)
    for channel in range(1, 25, 2):
        assert side.closed is None or channel > 21
        side.feed(frames.open(channel) + frames.reset(channel))
    assert side.closed is not None
    assert side.closed.code == frames.Code.CALM


def test_a_reset_that_answers_or_refuses_is_no_oddity() -> None:
    patience = {"glitch_burst": 3, "glitch_rate": 0.0}
    pair = Pair.connected("engine", "engine", client_options=patience, server_options=patience)
    for _ in range(10):
        channel = pair.client.engine.open("")
        pair.pump()
        pair.server.engine.reset(channel, 0x10)
        pair.pump()
        for side in pair.sides:
            side.engine.release(channel)
    assert pair.client.closed is None
    assert pair.server.closed is None
