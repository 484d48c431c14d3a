"""Flow control: credit that is exceeded, overflowed, hoarded or never given back."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain

from adversity.attacks.wire import UNLIMITED, Wire, attack, repeated
from support import frames
from support.frames import Frame, Kind, Record

COST = 64  # of a message beside its bytes


class Purse:
    """The credit of a peer that keeps to it, on some channels of one session."""

    def __init__(self, wire: Wire, welcome: Frame) -> None:
        self.wire = wire
        wire.keeps = True
        self.initial = welcome.fields["channel_limit"]
        self.session = welcome.fields["session_limit"]
        self.limits: dict[int, int] = {}
        self.used: dict[int, int] = {}
        self.spent = 0

    def open(self, channel: int, name: str) -> None:
        self.limits[channel], self.used[channel] = self.initial, 0
        self.wire.say(frames.open(channel, name))

    def look(self) -> None:
        """Take the credit that has come."""
        for item in self.wire.news():
            if item.channel and item.kind is Kind.CREDIT:
                self.limits[item.channel] = item.fields["limit"]
            elif item.record is Record.SESSION_CREDIT:
                self.session = item.fields["limit"]

    def spend(self, channel: int, size: int, most: int = 8_192) -> int:
        """Send as many messages of that size as there is credit for; how many."""
        cost = size + COST
        room = min(self.limits[channel] - self.used[channel], self.session - self.spent)
        count = min(room // cost, most)
        if count:
            self.used[channel] += count * cost
            self.spent += count * cost
            self.wire.say(frames.data(channel, bytes(size)) * count)
        else:
            need = self.used[channel] + cost
            self.wire.say(
                frames.blocked(channel, self.limits[channel], need)
                if need > self.limits[channel]
                else frames.session_blocked(self.session, self.spent + cost)
            )
        return count


def pour(wire: Wire, name: str, size: int) -> Iterator[None]:
    """Messages of that size to a service, as fast as it takes them."""
    purse = Purse(wire, wire.greet(channel_limit=UNLIMITED, session_limit=UNLIMITED))
    channels = range(1, 17, 2)
    for channel in channels:
        purse.open(channel, name)
    while True:
        sent = [purse.spend(channel, size) for channel in channels]
        if not any(sent):
            wire.wait(writing=False)
        purse.look()
        yield


@attack(
    row="CPU monopoly: tiny messages at full speed, within all credit",
    learnt="any busy client",
    defence="bounded work per wake-up, then others have their turn",
    fields=("memory_limit",),
    sign="turns_cut_short",
)
def tiny_messages(wire: Wire) -> Iterator[None]:
    yield from pour(wire, "sink", 1)


@attack(
    row="head-of-line: bulk at full speed, within all credit",
    learnt="any busy client",
    defence="reads of at most 256 KiB; fragments and fair turns",
    fields=("max_frame", "memory_limit"),
    sign="messages_received",
)
def bulk(wire: Wire) -> Iterator[None]:
    yield from pour(wire, "sink", 65_000)


@attack(
    row="a reader that asks for everything at once, with limits of 2^53",
    learnt="CVE-2019-9517 the other way round: a sender that never has to wait",
    defence="what a session sends in one turn of the loop is bounded, then send() waits",
    fields=("send_buffer",),
    sign="turns_cut_short",
)
def greedy_reader(wire: Wire) -> Iterator[None]:
    wire.greet(channel_limit=UNLIMITED, session_limit=UNLIMITED)
    wire.say(frames.open(1, "source"))
    while True:
        wire.wait(writing=False)
        yield


@attack(
    row="hoard and release: messages pile up behind a reader that is held up, then it is let go",
    learnt="queues of tasks that never wait, as in asyncio's own streams",
    defence="recv() and send() give way to others after a bounded number of messages",
    fields=("memory_limit", "channel_window"),
    sign="turns_cut_short",
)
def hoard_and_release(wire: Wire) -> Iterator[None]:
    purse = Purse(wire, wire.greet(channel_limit=0, session_limit=UNLIMITED))
    channels = range(1, 129, 2)
    granted = 0
    for channel in channels:
        purse.open(channel, "echo")  # its first answer waits for credit
    while True:
        waits = 0
        while waits < 10:
            sent = [purse.spend(channel, 1) for channel in channels]
            waits = 0 if any(sent) else waits + 1
            wire.wait(writing=False)
            purse.look()
            yield
        granted += 1 << 40
        wire.say(b"".join(frames.credit(channel, granted) for channel in channels))


@attack(
    row="a reader that never reads",
    learnt="CVE-2019-9517",
    defence="the producer waits; a line that takes nothing at all is given up, as is one that acknowledges nothing",
    fields=("send_buffer", "high_water", "write_timeout", "user_timeout"),
    sign="TIMEOUT",
    config={"write_timeout": 0.2},
)
def deaf_reader(wire: Wire) -> Iterator[None]:
    wire.greet(channel_limit=UNLIMITED, session_limit=UNLIMITED)
    wire.deaf = True
    wire.say(*(frames.open(channel, "source") for channel in range(1, 65, 2)))
    while True:
        wire.say(frames.session_blocked(0, 0))
        wire.wait(writing=False)
        yield


@attack(
    row="mutual write deadlock: everything is sent, nothing is read",
    learnt="rust-yamux, four times",
    defence="reading never waits for writing; control is never behind data",
    fields=("send_buffer", "write_timeout"),
    sign="CREDIT_EXCEEDED",
)
def deadlock(wire: Wire) -> Iterator[None]:
    wire.greet(channel_limit=UNLIMITED, session_limit=UNLIMITED)
    wire.deaf = True
    wire.say(frames.open(1, "echo"))
    while True:
        wire.say(frames.data(1, bytes(16_000)))
        yield


@attack(
    row="owed replies: questions without end, and no answer is ever read",
    learnt="CVE-2024-22189, CVE-2023-49295",
    defence="replies are state, one of each kind, not a queue; announcing one need again and again is an oddity",
    fields=("write_timeout", "glitch_burst", "glitch_rate"),
    sign="CALM",
)
def owed_replies(wire: Wire) -> Iterator[None]:
    wire.greet(channel_limit=0)
    wire.deaf = True
    wire.say(frames.open(1, "source"), frames.open(3, "sink"))
    while True:
        wire.say(repeated(frames.ping(1) + frames.session_blocked(0, 2**52) + frames.blocked(3, 0, 2**52)))
        yield


@attack(
    row="window overflow",
    learnt="CVE-2026-31814",
    defence="limits are cumulative and 64 bits wide, capped at 2^53",
    fields=(),
    sign="LIMIT_OVERFLOW",
)
def window_overflow(wire: Wire) -> Iterator[None]:
    wire.greet()
    wire.say(frames.open(1, "sink"), frames.credit(1, UNLIMITED), frames.credit(1, UNLIMITED + 1))
    wire.linger()
    yield


@attack(
    row="a limit that goes back",
    learnt="HTTP/2 implementations with signed windows",
    defence="limits only grow",
    fields=(),
    sign="LIMIT_BACKWARDS",
)
def limit_backwards(wire: Wire) -> Iterator[None]:
    wire.greet()
    wire.say(frames.open(1, "source"), frames.credit(1, 1 << 30), frames.credit(1, 1 << 20))
    wire.linger()
    yield


@attack(
    row="a first frame that is too large",
    learnt="CVE-2026-32314",
    defence="judged by the header, before anything is stored and before any state is made",
    fields=("max_frame",),
    sign="FRAME_TOO_LARGE",
)
def large_first_frame(wire: Wire) -> Iterator[None]:
    wire.greet()
    wire.say(frames.varint(65_538) + frames.varint(1 << 3))
    wire.linger()
    yield


@attack(
    row="length lies: a frame that is announced and never comes",
    learnt="any parser",
    defence="one frame at a time, of at most max_frame, and within the credit that was granted",
    fields=("max_frame", "keepalive", "keepalive_timeout"),
    sign="keepalive_probes",
    config={"keepalive": 0.25, "keepalive_timeout": 0.5},
    wires=32,
)
def length_lies(wire: Wire) -> Iterator[None]:
    with ExitStack() as stack:
        for each in chain([wire], (stack.enter_context(wire.another()) for _ in range(31))):  # one at a time
            each.greet()
            each.say(frames.open(1, "sink"), frames.varint(65_000) + frames.varint(1 << 3), bytes(60_000))
            yield
        wire.linger()


@attack(
    row="varint lies",
    learnt="any parser",
    defence="the shortest form only; bounds before arithmetic",
    fields=(),
    sign="BAD_VARINT",
)
def varint_lies(wire: Wire) -> Iterator[None]:
    wire.greet()
    wire.say(frames.varint(1 << 40))
    wire.linger()
    yield
