"""Two engines under a user who does anything: a Hypothesis state machine with an oracle of its own.

Bytes travel in pieces of any size. At every moment what a channel delivered is a prefix of what was sent on it. When
all is said and carried, everything has arrived, nobody waits, credit and channels have come back.
"""

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support import frames
from support.frames import Kind, Record
from support.pair import IMPLEMENTATIONS, Pair, Side
from support.parts import Event, EventKind

MAX_CHANNELS = 3
SESSION_WINDOW = 65_536
OPTIONS = {
    "max_frame": 16_384,
    "max_message": 150_000,
    "channel_window": 32_768,
    "session_window": SESSION_WINDOW,
    "max_channels": MAX_CHANNELS,
}
# Within a window, beyond a frame, beyond the channel's window, beyond the session's.
SIZES = st.sampled_from([0, 1, 100, 5_000, 16_385, 40_000, 150_000])


@dataclass
class End:
    """What one side did and saw on one channel."""

    sends: bool
    receives: bool
    sent: list[bytes] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    unread: deque[int] = field(default_factory=deque)
    pending: bytes | None = None  # a send() that returned False, to be tried again
    writable: bool = False
    reset_by_us: bool = False
    reset_by_peer: bool = False
    lost: bool = False  # opened above the last channel of the peer's GOAWAY
    released: bool = False

    @property
    def aborted(self) -> bool:
        return self.reset_by_us or self.reset_by_peer or self.lost

    @property
    def over(self) -> bool:
        return self.aborted or not (self.sends or self.receives)


class User:
    """The user of one side; its channels by id."""

    def __init__(self, side: Side, parity: int) -> None:
        self.side, self.engine, self.parity = side, side.engine, parity
        self.ends: dict[int, End] = {}
        self.seen = 0
        self.may_open = True
        self.wants_open = False
        self.last_ping = self.last_pong = 0

    def look(self) -> None:
        """Take note of the events since the last look, and try again what they allow."""
        self.side.take_events()
        while self.seen < len(self.side.events):
            event = self.side.events[self.seen]
            self.seen += 1
            self.note(event)
        for channel, end in self.ends.items():  # only now: a RESET may have come right behind WRITABLE
            if end.writable and end.pending is not None:
                message, end.pending = end.pending, None
                self.send(channel, message)
            end.writable = False

    def note(self, event: Event) -> None:
        end = self.ends.get(event.channel)
        match event.kind:
            case EventKind.OPENED:
                mode = self.engine.opening(event.channel).mode
                self.ends[event.channel] = End(sends=mode != "w", receives=mode != "r")
            case EventKind.MESSAGE:
                assert end.receives
                assert not end.aborted
                end.received.append(event.data)
                end.unread.append(len(event.data))
            case EventKind.FINISHED:
                assert end.receives
                assert not end.aborted
                end.receives = False
            case EventKind.RESET:
                assert not end.aborted  # but maybe finished by us: the FINISH waits behind messages, which are now lost
                end.reset_by_peer, end.pending = True, None
            case EventKind.WRITABLE:
                assert end.pending is not None
                end.writable = True
            case EventKind.CAN_OPEN:
                assert self.wants_open
                self.wants_open = False
            case EventKind.PONG:
                assert event.number > self.last_pong
                self.last_pong = event.number
            case EventKind.GOING_AWAY:
                self.may_open = False
                for channel, ours in self.ends.items():
                    if channel % 2 == self.parity and channel > event.number:
                        ours.lost, ours.pending = True, None
            case EventKind.CLOSED:
                pytest.fail(f"nobody broke a rule, and yet: {event}")

    def send(self, channel: int, message: bytes) -> None:
        end = self.ends[channel]
        if self.engine.send(channel, message):
            end.sent.append(message)
        else:
            end.pending = message

    def choose(self, which: int, **wanted: Any) -> int | None:
        """One of the channels whose attributes are as wanted."""
        fitting = [
            channel
            for channel, end in self.ends.items()
            if all(getattr(end, name) == value for name, value in wanted.items())
        ]
        return fitting[which % len(fitting)] if fitting else None

    def read(self, channel: int) -> None:
        self.engine.consume(channel, self.ends[channel].unread.popleft())

    def read_all(self) -> None:
        for channel, end in self.ends.items():
            while end.unread and not end.released:
                self.read(channel)


class Sessions(RuleBasedStateMachine):
    """`client` and `server` name the implementations; each rule acts for the side that it draws."""

    def __init__(self, client: str, server: str) -> None:
        super().__init__()
        options: dict[str, Any] = {"consume": False, "client_options": OPTIONS, "server_options": OPTIONS}
        self.pair = Pair.connected(client, server, **options)
        self.users = (User(self.pair.client, 1), User(self.pair.server, 0))
        for user in self.users:
            user.seen = len(user.side.events)

    sides = st.integers(0, 1)
    which = st.integers(0, 20)
    modes = st.sampled_from(["rw", "rw", "r", "w"])
    carried = st.sampled_from([70_000, 5_000, 100, 5, 1])

    @initialize(modes=st.tuples(st.lists(modes, min_size=1, max_size=3), st.lists(modes, max_size=3)))
    def begin(self, modes: tuple[list[str], list[str]]) -> None:
        """Hypothesis leaves rules out, for variety; without channels there is nothing to see."""
        for side in range(2):
            for mode in modes[side]:
                self.open(side, mode, 2)
        self.pair.pump()
        self.look()

    def any_end(self, **wanted: Any) -> bool:
        return any(user.choose(0, **wanted) is not None for user in self.users)

    @precondition(lambda self: any(user.may_open and not user.wants_open for user in self.users))
    @rule(side=sides, mode=modes, priority=st.integers(0, 3))
    def open(self, side: int, mode: str, priority: int) -> None:
        user = self.users[side]
        if user.may_open:
            channel = user.engine.open(f"of {side}", mode=mode, priority=priority)
            if channel:
                assert channel not in user.ends
                user.ends[channel] = End(sends=mode != "r", receives=mode != "w")
            else:
                user.wants_open = True

    @precondition(lambda self: self.any_end(sends=True, aborted=False, pending=None))
    @rule(messages=st.lists(st.tuples(sides, which, SIZES), min_size=1, max_size=6), side=sides, carried=carried)
    def send(self, messages: list[tuple[int, int, int]], side: int, carried: int) -> None:
        for sender, which, size in messages:
            user = self.users[sender]
            channel = user.choose(which, sends=True, aborted=False, pending=None)
            if channel is not None:
                user.send(channel, bytes([len(user.ends[channel].sent) % 256]) * size)
        self.carry(side, carried)

    @precondition(lambda self: any(end.unread for user in self.users for end in user.ends.values()))
    @rule(side=sides, which=which)
    def consume(self, side: int, which: int) -> None:
        user = self.users[side]
        unread = [channel for channel, end in user.ends.items() if end.unread and not end.released]
        if unread:
            user.read(unread[which % len(unread)])

    @precondition(lambda self: self.any_end(sends=True, aborted=False))
    @rule(side=sides, which=which)
    def finish(self, side: int, which: int) -> None:
        user = self.users[side]
        channel = user.choose(which, sends=True, aborted=False)
        if channel is not None:
            user.engine.finish(channel)
            user.ends[channel].sends, user.ends[channel].pending = False, None

    @precondition(lambda self: self.any_end(over=False))
    @rule(side=sides, which=which)
    def reset(self, side: int, which: int) -> None:
        user = self.users[side]
        channel = user.choose(which, over=False)
        if channel is not None:
            user.engine.reset(channel, 0x1000, "enough")
            user.ends[channel].reset_by_us, user.ends[channel].pending = True, None

    @precondition(lambda self: self.any_end(over=True, released=False))
    @rule(side=sides, which=which)
    def release(self, side: int, which: int) -> None:
        """Also with unread messages: their credit must not be lost with them."""
        user = self.users[side]
        channel = user.choose(which, over=True, released=False)
        if channel is not None:
            user.engine.release(channel)
            user.ends[channel].released = True

    @rule(side=sides, size=carried)
    def carry(self, side: int, size: int) -> None:
        self.pair.carry(self.users[side].side, size)
        self.look()

    @rule(side=sides, seconds=st.sampled_from([0.001, 11.0]))
    def ping_and_tick(self, side: int, seconds: float) -> None:
        self.users[side].last_ping = self.users[side].engine.ping(self.pair.now)
        self.pair.advance(seconds)
        self.look()

    @precondition(lambda self: all(user.may_open and user.ends for user in self.users))
    @rule(side=sides, luck=st.integers(0, 4))
    def go_away(self, side: int, luck: int) -> None:
        if luck == 0:  # afterwards there is less to see
            self.users[side].engine.go_away(0x04, "bye")

    def look(self) -> None:
        for user in self.users:
            user.look()

    @invariant()
    def what_arrived_is_a_prefix_of_what_was_sent(self) -> None:
        for user, peer in itertools.permutations(self.users):
            for channel in user.ends.keys() & peer.ends.keys():
                received = peer.ends[channel].received
                assert received == user.ends[channel].sent[: len(received)]

    def settle(self) -> None:
        """Carry and consume everything until nothing moves any more."""
        before = None
        while before != (before := [(len(user.side.sent), len(user.side.events)) for user in self.users]):
            self.pair.pump()
            self.look()
            for user in self.users:
                user.read_all()
            self.pair.pump()

    def teardown(self) -> None:
        self.settle()
        for user, peer in itertools.permutations(self.users):
            self.check_that_nobody_waits(user, peer)
            self.check_that_everything_arrived(user, peer)
        self.finish_and_release_everything()
        for user, peer in itertools.permutations(self.users):
            self.check_that_all_came_back(user, peer)

    def check_that_nobody_waits(self, user: User, peer: User) -> None:
        assert user.last_pong >= user.last_ping  # an engine also asks by itself
        assert all(end.pending is None for end in user.ends.values())
        if user.wants_open and user.may_open:
            in_use = [end for channel, end in peer.ends.items()
                      if channel % 2 == user.parity and not (end.over and end.released)]  # fmt: skip
            assert len(in_use) == MAX_CHANNELS

    def check_that_everything_arrived(self, user: User, peer: User) -> None:
        for channel, end in user.ends.items():
            other = peer.ends.get(channel)
            if other is None:
                assert end.lost
            elif end.aborted or other.aborted:
                assert end.over
                assert other.over or other.lost
            else:
                assert other.received == end.sent
                assert other.receives == end.sends

    def finish_and_release_everything(self) -> None:
        for user in self.users:
            for channel, end in user.ends.items():
                if end.sends and not end.aborted:
                    user.engine.finish(channel)
                    end.sends = False
        self.settle()
        for user in self.users:
            for channel, end in user.ends.items():
                assert end.over
                if not end.released:
                    user.engine.release(channel)
        self.settle()

    def check_that_all_came_back(self, user: User, peer: User) -> None:
        """Every channel may be opened again, the session's credit is whole, and the largest message still passes."""
        spoken, heard = frames.take_frames(bytes(user.side.sent)), frames.take_frames(bytes(peer.side.sent))
        limit = max([SESSION_WINDOW, *(f.fields["limit"] for f in heard if f.record is Record.SESSION_CREDIT)])
        assert limit - sum(map(cost, spoken)) >= SESSION_WINDOW // 2
        if user.may_open:
            opened = [user.engine.open("again") for _ in range(MAX_CHANNELS)]
            assert all(opened)
            user.ends |= {channel: End(sends=True, receives=True) for channel in opened}
            for channel in opened:
                user.send(channel, bytes(OPTIONS["max_message"]))
            self.settle()
            assert all(peer.ends[channel].received == user.ends[channel].sent != [] for channel in opened)


def cost(frame: frames.Frame) -> int:
    if frame.channel == 0 or frame.kind not in (Kind.DATA, Kind.PART):
        return 0
    return len(frame.payload) + (64 if frame.kind is Kind.DATA else 0)


@pytest.mark.parametrize(("client", "server"), list(itertools.product(IMPLEMENTATIONS, repeat=2)))
def test_sessions(client: str, server: str) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Sessions(client, server),
        settings=settings(
            max_examples=40,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
