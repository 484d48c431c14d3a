"""The engine's limits, waits and timers, on virtual time, through its Python face."""

from functools import partial
from typing import Any

import pytest
from support import frames
from support.frames import Kind, Record
from support.pair import Alone, Pair, Side
from support.parts import EventKind

from muxtcp._engine import Engine, MemoryBudget
from muxtcp.errors import LocalProtocolError

SMALL = {"max_message": 20_000, "channel_window": 32_768, "session_window": 65_536, "memory_limit": 1_048_576}


def engines(latency: float = 0.0, *, consume: bool = True, server: Any = None, **options: Any) -> Pair:
    """Two connected engines that were made with `options`, the server's also with its own."""
    both: dict[str, Any] = SMALL | options
    return Pair.connected(
        "engine", "engine", latency=latency, consume=consume,
        client_options=both, server_options=both | (server or {}),
    )  # fmt: skip


def heard(side: Side, kind: Kind | Record) -> list[frames.Frame]:
    return [frame for frame in frames.take_frames(bytes(side.sent)) if kind in (frame.kind, frame.record)]


def fill(side: Side, channel: int, size: int) -> int:
    """Send until a message has to wait; how many did not."""
    count = 0
    while side.engine.send(channel, bytes(size)):
        count += 1
    return count


# Windows and credit


def test_a_window_grows_with_what_is_consumed_in_a_round_trip() -> None:
    pair = engines(latency=0.1)
    pair.client.engine.ping(pair.now)
    pair.server.engine.ping(pair.now)
    pair.pump()
    channel = pair.client.engine.open("")
    first = fill(pair.client, channel, 1_000)
    for _ in range(20):
        pair.pump()
        fill(pair.client, channel, 1_000)
    pair.pump()
    assert fill(pair.client, channel, 1_000) > 4 * first


def test_a_window_that_is_configured_as_large_as_all_memory_does_not_shrink_when_the_peer_is_blocked() -> None:
    limit = 65_536
    side = alone(max_message=20_000, channel_window=limit, session_window=limit, memory_limit=limit)
    side.feed(frames.open(1) + frames.data(1, bytes(16_320)) * 4)
    for _ in range(4):
        side.engine.consume(1, 16_320)
    side.written()
    side.feed(frames.blocked(1, limit, 2 * limit), now=1.0)
    side.feed(frames.data(1, bytes(16_320)) * 4)
    for _ in range(4):
        side.engine.consume(1, 16_320)
    written = frames.take_frames(side.written())
    assert [frame.fields for frame in written if frame.kind == Kind.CREDIT][-1] == {"limit": 3 * limit}


def test_what_was_granted_stays_inside_the_memory_limit() -> None:
    limit = 131_072
    pair = engines(latency=0.1, memory_limit=limit)
    channels = [pair.client.engine.open("") for _ in range(8)]
    for _ in range(30):
        for channel in channels:
            fill(pair.client, channel, 1_000)
        pair.pump()
    consumed = 0
    for frame in frames.take_frames(bytes(pair.client.sent)):
        consumed += len(frame.payload) + 64 if frame.kind is Kind.DATA and frame.channel else 0
    granted = heard(pair.server, Record.SESSION_CREDIT)[-1].fields["limit"]
    assert granted <= consumed + limit


@pytest.mark.parametrize("idle", [11.0, 60.0])
def test_a_window_that_shrank_takes_no_limit_back_and_still_lets_a_large_message_through(idle: float) -> None:
    pair = engines(latency=0.01, max_message=150_000)
    pair.client.engine.ping(pair.now)
    pair.server.engine.ping(pair.now)
    pair.pump()
    channel = pair.client.engine.open("")
    for _ in range(3):
        for _ in range(4):  # it may wait for the channel's credit, and then for the session's
            if pair.client.engine.send(channel, bytes(150_000)):
                break
            pair.pump()
        pair.advance(idle)
    assert pair.client.closed is None
    assert len(pair.server.messages(channel)) == 3


def test_an_idle_reader_does_not_hold_up_the_others() -> None:
    """One channel that nobody reads fills the session's window; the window grows within the memory limit."""
    pair = engines(consume=False)
    idle, busy = pair.client.engine.open("idle"), pair.client.engine.open("busy")
    fill(pair.client, idle, 1_000)
    other = pair.client.engine.open("idle too")
    fill(pair.client, other, 1_000)
    while pair.client.engine.send(busy, bytes(1_000)):
        pair.pump()
    pair.advance(1.0)
    assert pair.client.seen(EventKind.WRITABLE)[-1].channel
    assert pair.client.engine.send(busy, bytes(1_000))


def test_credit_of_what_was_never_written_comes_back() -> None:
    pair = engines(send_buffer=1_048_576)
    for _ in range(20):
        channel = pair.client.engine.open("")
        assert pair.client.engine.send(channel, bytes(20_000)), "an ending lost credit"
        pair.client.engine.reset(channel, 2)
        pair.client.engine.release(channel)
        pair.pump()


@pytest.mark.parametrize("scarce", ["channel_window", "session_window"])
def test_an_announcement_that_overtakes_queued_messages_is_believed(scarce: str) -> None:
    """What a sender needs counts messages behind the announcement; little of the window is used: not worth a grant."""
    windows = {"channel_window": 65_536, "session_window": 65_536} | {scarce: 32_768}
    pair = engines(max_message=30_000, memory_limit=windows["session_window"], **windows)
    channel = pair.client.engine.open("")
    pair.pump()
    assert pair.client.engine.send(channel, bytes(7_000))
    accepted = pair.client.engine.send(channel, bytes(30_000))
    assert accepted == (scarce == "session_window"), "credit of the session is taken when the message begins"
    pair.pump()
    assert len(heard(pair.client, Kind.BLOCKED if scarce == "channel_window" else Record.SESSION_BLOCKED)) == 1
    assert accepted or pair.client.engine.send(channel, bytes(30_000))
    pair.pump()
    assert pair.server.messages(channel) == [bytes(7_000), bytes(30_000)]


def test_who_needs_less_than_was_announced_is_granted_what_there_is() -> None:
    """The announcement counted a message that was then given up: the whole window is enough, but not for both."""
    window = dict.fromkeys(["channel_window", "session_window", "memory_limit"], 200_000)
    pair = engines(consume=False, max_message=199_900, **window)
    gives_up, waits = (pair.client.engine.open(name) for name in ("gives up", "waits"))
    for channel in (gives_up, waits):
        assert pair.client.engine.send(channel, bytes(199_900))
    begun = pair.client.engine.data_to_send(20_000)
    assert begun.count(frames.session_blocked(200_000, 2 * 199_964)) == 1
    pair.server.engine.receive_data(begun, pair.now)
    pair.client.engine.reset(gives_up, 2)
    pair.pump()
    pair.server.engine.release(gives_up)
    pair.pump()
    assert pair.server.messages(waits) == [bytes(199_900)]


def test_credit_of_the_session_goes_to_whose_turn_it_is() -> None:
    """A message of bulk has too little: what is urgent passes it, what is bulk as well does not, however small."""
    pair = engines(consume=False, session_window=32_768, memory_limit=32_768)
    used, first, second = (pair.client.engine.open(name, priority=3) for name in ("used", "first", "second"))
    urgent = pair.client.engine.open("urgent", priority=0)
    for channel, size in [(used, 20_000), (first, 15_000), (second, 100), (urgent, 100)]:
        assert pair.client.engine.send(channel, bytes(size))
        pair.pump()
    assert [event.channel for event in pair.server.seen(EventKind.MESSAGE)] == [used, urgent]
    pair.server.engine.consume(used, 20_000)
    pair.pump()
    assert [event.channel for event in pair.server.seen(EventKind.MESSAGE)] == [used, urgent, first, second]


def test_a_message_that_has_begun_goes_on_while_the_next_lacks_credit() -> None:
    """Credit for it was taken whole, and comes back only when it has come whole: to wait here would be for ever."""
    pair = engines(session_window=32_768, memory_limit=32_768, max_frame=16_384)
    channels = [pair.client.engine.open("") for _ in range(3)]
    for channel in channels:
        assert pair.client.engine.send(channel, bytes(20_000))
    pair.pump()
    assert [pair.server.messages(channel) for channel in channels] == [[bytes(20_000)]] * 3


def end_at_once(pair: Pair, channel: int) -> None:
    """Both sides are done with the client's channel, before the client has written anything more."""
    pair.client.engine.finish(channel)
    pair.client.engine.release(channel)
    pair.server.engine.reset(channel, 2)
    pair.client.engine.receive_data(pair.server.engine.data_to_send(), pair.now)
    pair.client.take_events()


def test_a_channel_that_waits_for_memory_may_end() -> None:
    """It ends while the queue is more than half full, so that the line stands still; those behind it get their turn."""
    pair = engines(consume=False, send_buffer=36_000)
    full, ends, next_one = (pair.client.engine.open(name) for name in ("full", "ends", "next"))
    pair.pump()
    assert pair.client.engine.send(full, bytes(20_000))
    assert not pair.client.engine.send(ends, bytes(19_000)), "no room in the queue"
    assert not pair.client.engine.send(next_one, bytes(9_000)), "behind the first"
    end_at_once(pair, ends)
    pair.pump()
    assert [event.channel for event in pair.client.seen(EventKind.WRITABLE)] == [next_one]
    assert pair.client.engine.send(next_one, bytes(9_000))
    pair.pump()
    assert pair.server.messages(next_one) == [bytes(9_000)]
    assert pair.client.closed is None


def test_a_channel_that_waits_for_credit_may_end() -> None:
    """It lacks the session's credit, and others wait behind it; they get their turn."""
    pair = engines(consume=False, session_window=32_768, memory_limit=32_768)
    used, ends, next_one = (pair.client.engine.open(name) for name in ("used", "ends", "next"))
    assert pair.client.engine.send(used, bytes(20_000))
    pair.pump()
    assert pair.client.engine.send(ends, bytes(15_000))
    assert pair.client.engine.send(next_one, bytes(5_000))
    pair.pump()
    assert pair.server.messages(next_one) == []
    end_at_once(pair, ends)
    pair.pump()
    assert pair.server.messages(ends) == []
    assert pair.server.messages(next_one) == [bytes(5_000)]
    assert pair.client.closed is None


def test_credit_and_room_are_not_swapped_for_ever() -> None:
    """One message fits the session's window and one the queue, and a sender needs both at once."""
    pair = engines(max_message=20_000, session_window=20_064, memory_limit=20_064, send_buffer=30_000)
    waiting = dict.fromkeys([pair.client.engine.open("") for _ in range(6)], 5)
    ready = list(waiting)
    for turn in range(200):
        for channel in ready:
            while waiting[channel] and pair.client.engine.send(channel, bytes(20_000)):
                waiting[channel] -= 1
        pair.client.events.clear()
        pair.carry(pair.sides[turn % 2], 1_000_000)  # room comes one turn, credit the next
        pair.client.take_events()
        ready = [event.channel for event in pair.client.seen(EventKind.WRITABLE)]
    assert not any(waiting.values())


def test_room_that_is_not_used_is_for_the_next_in_line() -> None:
    """Who was promised room for one message has a larger one by then."""
    pair = engines(send_buffer=8_192)
    full, first, second = (pair.client.engine.open(name) for name in ("full", "first", "second"))
    assert pair.client.engine.send(full, bytes(6_000))
    assert not pair.client.engine.send(first, bytes(5_000)), "no room in the queue"
    assert not pair.client.engine.send(second, bytes(5_000)), "no room in the queue"
    pair.pump()
    assert [event.channel for event in pair.client.seen(EventKind.WRITABLE)] == [first]
    assert not pair.client.engine.send(first, bytes(7_000))
    pair.pump()
    assert [event.channel for event in pair.client.seen(EventKind.WRITABLE)][:2] == [first, second]
    assert pair.client.engine.send(second, bytes(5_000))


@pytest.mark.parametrize("told", ["before the end", "after the end"])
def test_nobody_may_write_after_the_end(told: str) -> None:
    """What one channel gives up is promised to the next; the session is over, so that nobody is told."""
    pair = engines(consume=False, send_buffer=20_000)
    full, first, second = (pair.client.engine.open(name) for name in ("full", "first", "second"))
    assert pair.client.engine.send(full, bytes(9_000))
    assert not pair.client.engine.send(first, bytes(15_000)), "no room in the queue"
    assert not pair.client.engine.send(second, bytes(5_000)), "behind the first"
    if told == "before the end":
        pair.client.engine.give_up(first)
        pair.client.engine.close()
    else:
        pair.client.engine.close()
        pair.client.take_events()
        pair.client.engine.give_up(first)
    pair.client.take_events()
    assert pair.client.closed is not None
    assert pair.client.seen(EventKind.WRITABLE) == []


def test_who_gave_up_does_not_silence_the_next_who_waits() -> None:
    """A BLOCKED that nobody needed any more was not written; the next one at the same limit is (K-7)."""
    pair = engines(consume=False)
    channel = pair.client.engine.open("")
    pair.pump()
    fill(pair.client, channel, 5_000)
    pair.client.engine.give_up(channel)
    pair.pump()
    assert heard(pair.client, Kind.BLOCKED) == []
    assert not pair.client.engine.send(channel, bytes(20_000))
    pair.pump()
    assert len(heard(pair.client, Kind.BLOCKED)) == 1


def test_consuming_what_was_not_received_is_the_caller_s_mistake() -> None:
    pair = engines(consume=False)
    channel = pair.client.engine.open("")
    pair.client.engine.send(channel, b"four")
    pair.pump()
    for size in (-1, 5, 2**64):
        with pytest.raises(LocalProtocolError, match=str(size)):
            pair.server.engine.consume(channel, size)
    pair.server.engine.consume(channel, 4)


# Slots for channels


def test_a_slot_that_came_back_is_announced_when_it_is_the_last() -> None:
    pair = engines(max_channels=8)
    channels = [pair.client.engine.open("") for _ in range(8)]
    assert pair.client.engine.open("") == 0
    pair.pump()
    for side in pair.sides:
        side.engine.finish(channels[0])
    pair.pump()
    for side in pair.sides:
        side.engine.release(channels[0])
    pair.pump()
    assert pair.client.seen(EventKind.CAN_OPEN)
    assert pair.client.engine.open("")


def test_a_reason_is_cut_between_two_characters_and_an_opening_outlives_a_reset() -> None:
    pair = engines()
    channel = pair.client.engine.open("name", mode="w", meta={"a": "b"})
    pair.client.engine.reset(channel, 0x1000, "\N{EURO SIGN}" * 200)
    pair.pump()
    assert pair.server.closed is None
    assert pair.server.seen(EventKind.RESET)[0].reason == "\N{EURO SIGN}" * 85
    assert pair.server.engine.opening(channel)[:3] == ("name", {"a": "b"}, "w")


@pytest.mark.parametrize("code", [-1, 1 << 62])
def test_a_code_that_no_frame_holds(code: int) -> None:
    pair = engines()
    channel = pair.client.engine.open("")
    for command in (partial(pair.client.engine.reset, channel), pair.client.engine.go_away, pair.client.engine.close):
        with pytest.raises(ValueError, match=str(code)):
            command(code)


def test_the_longest_deadline() -> None:
    pair = engines()
    channel = pair.client.engine.open("", deadline_ms=1 << 70)
    pair.pump()
    assert pair.server.engine.opening(channel).deadline_ms == 1 << 53


def test_a_code_of_the_application_s_is_counted_by_its_number() -> None:
    pair = engines()
    pair.client.engine.close(0x1234)
    assert pair.client.engine.counters["0x1234"] == 1


# Time


def alone(**options: Any) -> Alone:
    side = Alone("engine", client=False, **options)
    side.greet()
    return side


def test_silence_is_asked_and_then_judged() -> None:
    side = alone(keepalive=10.0, keepalive_timeout=5.0)
    assert side.engine.next_timeout() == 10.0
    side.engine.handle_timeout(10.0)
    assert frames.take_frames(side.written())[0].record is Record.PING
    assert side.engine.next_timeout() == 15.0
    side.engine.handle_timeout(15.0)
    side.take_events()
    assert side.closed is not None
    assert side.closed.number == 2
    assert "15.0 s" in side.closed.reason


def test_a_late_timer_reads_first() -> None:
    """The loop was blocked for 30 s: what has arrived meanwhile decides, not the clock."""
    side = alone(keepalive=10.0, keepalive_timeout=5.0)
    side.engine.handle_timeout(10.0)
    side.engine.handle_timeout(45.0)
    side.take_events()
    assert side.closed is None
    side.feed(frames.ping(1), 45.01)
    side.engine.handle_timeout(45.1)
    side.take_events()
    assert side.closed is None
    assert side.engine.lag == 30.0


def test_a_miss_is_forgiven_while_the_queue_shrinks() -> None:
    side = alone(keepalive=10.0, keepalive_timeout=5.0)
    for now, unsent in [(10.0, 3_000), (15.0, 2_000), (20.0, 1_000)]:
        side.engine.unsent = unsent
        side.engine.handle_timeout(now)
        side.written()
        side.take_events()
        assert side.closed is None
    side.engine.handle_timeout(25.0)  # not a byte less
    side.take_events()
    assert side.closed is not None
    assert "1000 bytes unsent" in side.closed.reason


def test_parameters_that_were_refused_are_never_read() -> None:
    """Pairs that are announced and not there took time in proportion to their number."""
    announced = [(1, b"\x01\x01"), (9, frames.varint(2**62))]
    side = Alone("engine", client=False)
    side.feed(frames.PREFACE + frames.record(Record.HELLO, frames.fields(announced)))
    assert [event.code for event in side.events] == [frames.Code.BAD_PARAMETER]
    assert side.engine.peer is None


def test_a_handshake_has_its_time() -> None:
    side = Alone("engine", client=False, handshake_timeout=5.0)
    assert side.engine.next_timeout() == 5.0
    side.engine.handle_timeout(5.0)
    side.take_events()
    assert side.closed is not None
    assert side.closed.code == 0x23


def test_going_away_lets_open_channels_finish() -> None:
    pair = engines()
    channel = pair.client.engine.open("")
    pair.pump()
    pair.server.engine.go_away(4, "later")
    pair.pump()
    with pytest.raises(LocalProtocolError):
        pair.client.engine.open("")
    assert pair.client.engine.send(channel, b"still")
    assert pair.server.engine.send(channel, b"served")
    pair.pump()
    assert (pair.server.messages(channel), pair.client.messages(channel)) == ([b"still"], [b"served"])


# The process's budget


def test_sessions_take_from_the_budget_and_give_all_of_it_back() -> None:
    budget = MemoryBudget(10_000_000)
    pair = engines(latency=0.1, memory_limit=8_000_000, server={"budget": budget})
    pair.server.engine.ping(pair.now)
    channel = pair.client.engine.open("")
    for _ in range(12):
        fill(pair.client, channel, 10_000)
        pair.pump()
    assert SMALL["session_window"] < budget.used <= 8_000_000
    for engine in [Engine(client=False, budget=budget) for _ in range(2)]:
        assert engine.counters["frames_sent"] == 0
    del engine, pair
    assert budget.used == 0


def test_windows_grow_until_four_fifths_of_the_budget_are_used() -> None:
    budget = MemoryBudget(330_000)
    pair = engines(latency=0.1, server={"budget": budget})
    pair.server.engine.ping(pair.now)
    channel = pair.client.engine.open("")
    sent = 0
    for _ in range(20):
        sent += fill(pair.client, channel, 1_000)
        pair.pump()
    assert sent > 200
    assert 131_072 < budget.used <= 264_000


def test_an_alarm_that_is_called_off_by_the_one_before_it_is_not_sounded() -> None:
    budget = MemoryBudget(1)
    heard = []

    def first() -> None:
        heard.append("first")
        budget.call_when_over(None, second)

    def second() -> None:
        heard.append("second")

    engine = Engine(client=True, budget=budget)
    for callback in (first, second):
        budget.call_when_over(0.5, callback)
    budget.sound_alarm()
    budget.sound_alarm()
    assert heard == ["first"]
    del engine
