"""The incoming half: what a peer can make it keep, and what it bears."""

from typing import Any

import pytest
from support import frames
from support.frames import Record
from support.leftovers import allocated
from support.pair import Alone, Pair

from muxtcp._engine import MemoryBudget

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


def test_who_is_blocked_for_want_of_memory_is_looked_at_ever_more_rarely() -> None:
    budget = MemoryBudget(0)
    side = alone(max_message=20_000, keepalive=0.0, budget=budget)
    limit = 20_000 + 64
    side.feed(frames.open(1) + frames.data(1, bytes(20_000)) + frames.session_blocked(limit, limit + 100))
    looks = 0
    while (due := side.engine.next_timeout()) < 60.0:
        side.engine.handle_timeout(due)
        looks += 1
    assert looks < 70, "once a second, in the end"
    assert side.written() == b""
    budget.limit = None
    side.engine.handle_timeout(due)
    assert Record.SESSION_CREDIT in [frame.record for frame in frames.take_frames(side.written())]
    assert side.engine.next_timeout() > 120.0, "nobody is blocked"


def test_an_answer_to_a_ping_that_was_not_written_yet() -> None:
    side = alone()
    side.engine.ping(0.0)
    assert side.written() == frames.ping(1)
    side.engine.ping(0.0)
    side.feed(frames.pong(1))
    assert side.closed is None
    side.feed(frames.pong(2))
    assert side.closed is not None
    assert (side.closed.code, side.closed.reason) == (frames.Code.BAD_RECORD, "PONG 2; the last PING was 1")


def test_oddities_are_borne_up_to_a_rate() -> None:
    side = alone(glitch_burst=10, glitch_rate=1.0)
    for now in range(100):
        side.feed(frames.ping(1), float(now))
    assert side.closed is None
    for _ in range(12):
        side.feed(frames.ping(1), 100.0)
    assert side.closed is not None
    assert side.closed.code == 0x03


def test_a_ping_is_odd_when_nothing_came_since_the_one_before() -> None:
    side = alone()
    for expected in (0, 1, 2):
        side.feed(frames.ping(1))
        assert side.engine.counters["oddities"] == expected


@pytest.mark.parametrize("where", ["channel", "session"])
def test_an_announcement_is_odd_when_its_limit_was_announced_before(where: str) -> None:
    def said(limit: int, need: int) -> bytes:
        return frames.blocked(1, limit, need) if where == "channel" else frames.session_blocked(limit, need)

    side = alone()
    side.feed(frames.open(1))
    for limit, expected in ((0, 0), (500, 0), (500, 1), (501, 1), (0, 2), (501, 3)):
        side.feed(said(limit, limit + 1_000))
        assert side.engine.counters["oddities"] == expected
    assert side.closed is None


def test_who_opens_and_resets_is_borne_up_to_a_rate() -> None:
    side = alone(glitch_burst=10, glitch_rate=0.0)
    for channel in range(1, 25, 2):
        assert side.closed is None or channel > 21
        side.feed(frames.open(channel) + frames.reset(channel))
    assert side.closed is not None
    assert side.closed.code == frames.Code.CALM


def test_a_reset_of_what_was_answered_or_took_long_is_no_oddity() -> None:
    side = alone(glitch_burst=3, glitch_rate=0.0)
    for now, channel in enumerate(range(1, 25, 4)):
        side.feed(frames.open(channel) + frames.open(channel + 2), float(now))
        side.engine.send(channel, b"an answer")
        side.feed(frames.reset(channel), float(now))
        side.feed(frames.reset(channel + 2), now + 1.0)
    assert side.closed is None
    assert side.engine.counters["oddities"] == 0


def test_channels_that_end_in_order_make_up_for_as_many_that_do_not() -> None:
    side = alone(glitch_burst=3, glitch_rate=0.0)
    for channel in range(1, 81, 4):
        side.feed(frames.open(channel) + frames.reset(channel) + frames.open(channel + 2) + frames.finish(channel + 2))
        side.engine.finish(channel + 2)
        side.engine.data_to_send()
    assert side.closed is None
    assert side.engine.counters["oddities"] == 20


def test_what_we_refuse_makes_up_for_nothing() -> None:
    side = alone(glitch_burst=3, glitch_rate=0.0)
    for channel in range(1, 17, 4):
        side.feed(frames.open(channel))
        side.engine.reset(channel, frames.Code.NOT_FOUND)
        side.feed(frames.finish(channel) + frames.open(channel + 2) + frames.reset(channel + 2))
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
