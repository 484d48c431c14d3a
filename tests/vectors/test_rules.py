"""Rules about what an engine does, which a list of bytes cannot tell: answers, ends, what is told once."""

import pytest
from support import frames
from support.frames import Code
from support.pair import IMPLEMENTATIONS, Alone
from support.parts import EventKind

from muxtcp.errors import LocalProtocolError

on_every_implementation = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)


def greeted(implementation: str, *, client: bool = False) -> Alone:
    alone = Alone(implementation, client=client)
    alone.greet()
    return alone


@on_every_implementation
def test_the_newest_ping_is_answered(implementation: str) -> None:
    alone = greeted(implementation)
    alone.feed(frames.ping(5) + frames.ping(3) + frames.ping(9))
    assert alone.written() == frames.pong(9)
    assert alone.written() == b""


@on_every_implementation
def test_a_pong_counts_once(implementation: str) -> None:
    alone = greeted(implementation)
    for n in (1, 2, 3):
        assert alone.engine.ping(0.0) == n
    assert alone.written()
    alone.feed(frames.pong(2) + frames.pong(2) + frames.pong(1) + frames.pong(3), now=0.5)
    assert [event.number for event in alone.seen(EventKind.PONG)] == [2, 3]
    assert alone.engine.rtt == pytest.approx(0.5)


@on_every_implementation
@pytest.mark.parametrize(
    ("mode", "finished", "answered"),
    [("rw", False, True), ("rw", True, False), ("r", False, True), ("r", True, False), ("w", False, False)],
)
def test_reset_is_answered_by_who_still_sends(implementation: str, mode: str, finished: bool, answered: bool) -> None:
    alone = greeted(implementation)
    alone.feed(frames.open(1, mode=mode))
    if finished:
        alone.engine.finish(1)
    alone.written()
    alone.feed(frames.reset(1, 0x1000, "why not"))
    ended = mode == "r" and finished  # both halves are over before the RESET, which comes too late
    told = alone.seen(EventKind.RESET)
    assert told == ([] if ended else [(EventKind.RESET, 1, b"", 0x1000, "why not", 0)])
    assert alone.written() == (frames.reset(1, Code.CANCELLED) if answered else b"")


@on_every_implementation
def test_two_resets_cross(implementation: str) -> None:
    """Each side's RESET ends the channel for the other: none is answered, none is told."""
    alone = greeted(implementation)
    alone.feed(frames.open(1))
    alone.engine.reset(1, Code.CANCELLED)
    assert alone.written() == frames.reset(1, Code.CANCELLED)
    alone.feed(frames.data(1, b"discarded") + frames.reset(1, 0x1000))
    assert [event.kind for event in alone.events] == [EventKind.OPENED]
    assert not [item for item in frames.take_frames(alone.written()) if item.channel]


@on_every_implementation
@pytest.mark.parametrize("client", [True, False], ids=["client", "server"])
@pytest.mark.parametrize(
    ("said", "we_left", "number", "code"),
    [
        (b"", False, 2, Code.NO_ERROR),
        (frames.ping(1)[:2], False, 2, Code.NO_ERROR),
        (frames.ping(1)[:2], True, 2, Code.NO_ERROR),
        (frames.goaway(0) + frames.ping(1)[:2], False, 2, Code.NO_ERROR),
        (frames.goaway(0), False, 1, Code.NO_ERROR),
        (frames.goaway(0, Code.INTERNAL, "oh"), False, 1, Code.INTERNAL),
        (b"", True, 0, Code.NO_ERROR),
    ],
    ids=["nothing", "in a frame", "in a frame after our GOAWAY", "in a frame after GOAWAY", "GOAWAY", "error", "ours"],
)
def test_end_and_loss(implementation: str, client: bool, said: bytes, we_left: bool, number: int, code: Code) -> None:
    alone = greeted(implementation, client=client)
    if we_left:
        alone.engine.go_away()
        alone.written()
    alone.feed(said)
    alone.engine.receive_eof(0.0)
    alone.take_events()
    assert alone.closed is not None
    assert (alone.closed.number, alone.closed.code) == (number, code)


@on_every_implementation
def test_nothing_comes_after_the_end(implementation: str) -> None:
    alone = greeted(implementation)
    alone.engine.close(Code.SHUTDOWN, "bye")
    alone.feed(frames.open(1) + frames.ping(1))
    assert [event.kind for event in alone.events] == [EventKind.CLOSED]
    assert alone.written() == frames.goaway(0, Code.SHUTDOWN, "bye")


@on_every_implementation
def test_after_goaway_nothing_is_opened(implementation: str) -> None:
    alone = greeted(implementation)
    alone.feed(frames.goaway(0))
    with pytest.raises((ValueError, LocalProtocolError)):
        alone.engine.open("late")
    assert alone.written() == b""
