"""Frames that cost the other side more than they cost to send."""

from collections.abc import Callable, Iterator
from itertools import count

from adversity.attacks.wire import UNLIMITED, Wire, attack, repeated
from support import frames

Piece = Callable[[int], bytes]  # the frames for a channel

OPENED = 4_096  # channels whose frames are made up in advance: beyond that they are made as they are sent
BATCH = 512


def openings(piece: Piece) -> list[bytes]:
    """The frames that `piece` makes for each of the first channels, in batches."""
    channels = range(1, 2 * OPENED, 2)
    return [b"".join(map(piece, channels[at : at + BATCH])) for at in range(0, OPENED, BATCH)]


def on_new_channels(wire: Wire, made: list[bytes], piece: Piece) -> Iterator[None]:
    """Say that of one channel after the other, for ever."""
    for batch in made:
        wire.say(batch)
        yield
    for first in count(2 * OPENED + 1, 2 * BATCH):
        wire.say(b"".join(map(piece, range(first, first + 2 * BATCH, 2))))
        yield


def opened_and_reset(channel: int) -> bytes:
    return frames.open(channel, "sink") + frames.reset(channel)


def refused(channel: int) -> bytes:
    return frames.open(channel, "nobody serves this") + frames.finish(channel)


def requested(channel: int) -> bytes:
    return frames.open(channel, "echo") + frames.data(channel, b"x") + frames.finish(channel)


MADE = {piece: openings(piece) for piece in (opened_and_reset, refused, requested)}


@attack(
    row="open and reset in a loop (rapid reset)",
    learnt="CVE-2023-44487",
    defence="a slot comes back when the channel is over and its handler has returned; channels that are reset at once "
    "and unanswered are oddities, forgiven by those that end in order",
    fields=("glitch_burst", "glitch_rate", "max_channels", "accept_backlog"),
    sign="CALM",
)
def rapid_reset(wire: Wire) -> Iterator[None]:
    wire.greet()
    yield from on_new_channels(wire, MADE[opened_and_reset], opened_and_reset)


@attack(
    row="make the other side reset (MadeYouReset)",
    learnt="CVE-2025-8671",
    defence="a violation ends the session, never a channel alone",
    fields=(),
    sign="DATA_AFTER_FINISH",
)
def made_to_reset(wire: Wire) -> Iterator[None]:
    wire.greet()
    for channel in range(1, 200, 2):
        wire.say(requested(channel))
    wire.say(frames.open(201, "sink") + frames.finish(201) + frames.data(201, b"after the end"))
    wire.linger()
    yield


@attack(
    row="make the other side refuse: a service that does not exist, asked for at full speed",
    learnt="CVE-2025-8671",
    defence="no task is started for it; few channels are taken in one wake-up, then others have their turn",
    fields=("accept_backlog", "max_channels"),
    sign="turns_cut_short",
)
def refusals(wire: Wire) -> Iterator[None]:
    wire.greet()
    yield from on_new_channels(wire, MADE[refused], refused)


@attack(
    row="requests at full speed",
    learnt="any busy client",
    defence="few channels are taken in one wake-up, then others have their turn",
    fields=("accept_backlog", "max_channels"),
    sign="turns_cut_short",
)
def requests(wire: Wire) -> Iterator[None]:
    wire.greet(channel_limit=UNLIMITED, session_limit=UNLIMITED)
    yield from on_new_channels(wire, MADE[requested], requested)


@attack(
    row="PING flood",
    learnt="CVE-2019-9512",
    defence="one answer is owed, however many ask; a PING behind a PING is an oddity",
    fields=("glitch_burst", "glitch_rate"),
    sign="CALM",
)
def ping_flood(wire: Wire) -> Iterator[None]:
    wire.greet()
    pings = b"".join(frames.ping(n) for n in range(10_000))
    while True:
        wire.say(pings)
        yield


@attack(
    row="settings flood",
    learnt="CVE-2019-9515",
    defence="settings are in the handshake and nowhere else",
    fields=(),
    sign="BAD_RECORD",
)
def settings_flood(wire: Wire) -> Iterator[None]:
    wire.greet()
    while True:
        wire.say(repeated(frames.hello()))
        yield


@attack(
    row="limits announced again and again",
    learnt="CVE-2019-9514, CVE-2019-9515",
    defence="a limit that has not changed is an oddity",
    fields=("glitch_burst", "glitch_rate"),
    sign="CALM",
)
def stale_limits(wire: Wire) -> Iterator[None]:
    wire.greet(session_limit=1 << 20)
    while True:
        wire.say(repeated(frames.session_credit(1 << 20)))
        yield


@attack(
    row="limits raised a byte at a time, to a sender that waits (data dribble)",
    learnt="CVE-2019-9511",
    defence="a message is sent whole or not at all; one BLOCKED is owed in answer, however often the limit moves",
    fields=(),
    sign="frames_received",
)
def dribbled_credit(wire: Wire) -> Iterator[None]:
    wire.greet(channel_limit=0)
    wire.say(frames.open(1, "source"))
    for first in count(1, 20_000):
        wire.say(b"".join(frames.credit(1, limit) for limit in range(first, first + 20_000)))
        yield


@attack(
    row="the same need announced again and again",
    learnt="owed replies, CVE-2024-22189",
    defence="an announcement changes a number; nothing is owed for it but the credit that is due anyway; one of a "
    "limit that was announced before is an oddity",
    fields=("glitch_burst", "glitch_rate", "memory_limit"),
    sign="CALM",
)
def blocked_flood(wire: Wire) -> Iterator[None]:
    wire.greet()
    wire.say(frames.open(1, "sink"))
    while True:
        wire.say(repeated(frames.blocked(1, 262_144, 2**52) + frames.session_blocked(262_144, 2**52)))
        yield


@attack(
    row="empty messages",
    learnt="CVE-2019-9518",
    defence="a message costs 64 bytes of credit beside its own",
    fields=("channel_window", "session_window", "memory_limit"),
    sign="CREDIT_EXCEEDED",
)
def empty_messages(wire: Wire) -> Iterator[None]:
    wire.greet()
    wire.say(frames.open(1, "sleeper"))
    while True:
        wire.say(repeated(frames.data(1)))
        yield


@attack(
    row="fragments without end",
    learnt="CONTINUATION floods, 2024",
    defence="charged as they arrive; nothing is allocated for what is only announced",
    fields=("max_frame", "max_message", "channel_window"),
    sign="CREDIT_EXCEEDED",
)
def endless_fragments(wire: Wire) -> Iterator[None]:
    wire.greet()
    wire.say(frames.open(1, "sink"))
    while True:
        wire.say(repeated(frames.part(1, bytes(1_024))))
        yield


@attack(
    row="tiny fragments",
    learnt="CVE-2019-9511",
    defence="a fragment has at least 1 KiB",
    fields=(),
    sign="BAD_PART",
)
def tiny_fragments(wire: Wire) -> Iterator[None]:
    wire.greet()
    wire.say(frames.open(1, "sink"))
    while True:
        wire.say(repeated(frames.part(1, b"x")))
        yield
