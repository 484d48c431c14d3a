"""Channels that are opened and not used, used and not opened, or outlived by what serves them."""

from collections.abc import Iterator
from itertools import count

from adversity.attacks.wire import Wire, attack
from support import frames

MOST = 1_024  # the default of max_channels
PAIRS = {f"{number:02}": "x" * 59 for number in range(64)}  # as many as are allowed, and nearly 4 KiB


@attack(
    row="half-open amplification: every channel that may be opened, each with 4 KiB of metadata, none used",
    learnt="libp2p GHSA-j7qp, GHSA-jvgw",
    defence="buffers are made when they are needed; metadata is kept as it came; channels are counted",
    fields=("max_channels", "accept_backlog"),
    sign="TOO_MANY_CHANNELS",
)
def half_open(wire: Wire) -> Iterator[None]:
    wire.greet()
    opening = frames.open_payload("sleeper", meta=PAIRS)
    assert 4_000 < len(opening) <= 4_096
    for channel in range(1, 2 * MOST, 2):
        wire.say(frames.frame(channel, frames.Kind.OPEN, opening))
        yield
    for _ in range(4):  # so that it can be seen how much they hold
        wire.wait(writing=False)
        yield
    wire.say(frames.open(2 * MOST + 1, "sleeper"))
    wire.linger()


@attack(
    row="more handlers than channels: services that outlive their channel",
    learnt="CVE-2023-44487, CVE-2025-8671",
    defence="a slot comes back when the channel is over and its handler has returned",
    fields=("max_channels",),
    sign="TOO_MANY_CHANNELS",
)
def outlived_channels(wire: Wire) -> Iterator[None]:
    wire.greet()
    for channel in count(1, 2):
        wire.say(frames.open(channel, "stubborn") + frames.finish(channel))
        yield


@attack(
    row="data on a channel that was never opened",
    learnt="any multiplexer",
    defence="ids are consecutive, so it is known what was never opened",
    fields=(),
    sign="UNKNOWN_CHANNEL",
)
def unknown_channel(wire: Wire) -> Iterator[None]:
    wire.greet()
    wire.say(frames.data(7, b"for nobody"))
    wire.linger()
    yield


@attack(
    row="data on a channel that has ended",
    learnt="any multiplexer",
    defence="one that we reset: discarded, and its credit given back; one that ended in order: a violation",
    fields=(),
    sign="CHANNEL_ENDED",
)
def ended_channel(wire: Wire) -> Iterator[None]:
    wire.greet()
    wire.say(frames.open(1, "echo", mode="w"), frames.finish(1))
    while True:
        wire.say(frames.data(1, b"late"))
        yield


@attack(
    row="an id that is used again",
    learnt="any multiplexer",
    defence="ids are never used again",
    fields=(),
    sign="CHANNEL_REUSED",
)
def reused_id(wire: Wire) -> Iterator[None]:
    wire.greet()
    wire.say(frames.open(1, "sink"), frames.open(3, "sink"), frames.open(1, "sink"))
    wire.linger()
    yield


@attack(
    row="id exhaustion: a jump to the end of all ids",
    learnt="any multiplexer",
    defence="ids are consecutive; near 2^60 a session drains",
    fields=(),
    sign="BAD_CHANNEL_ID",
)
def far_id(wire: Wire) -> Iterator[None]:
    wire.greet()
    wire.say(frames.open(2**60 - 1, "sink"))
    wire.linger()
    yield


@attack(
    row="half-sent: a message that is begun and never ended",
    learnt="yamux#142",
    defence="a message is seen whole or not at all; its end inside is a violation",
    fields=("max_message",),
    sign="BAD_PART",
)
def half_sent(wire: Wire) -> Iterator[None]:
    wire.greet()
    wire.say(frames.open(1, "sink"), frames.part(1, bytes(2_000)), frames.finish(1))
    wire.linger()
    yield


@attack(
    row="compression bomb",
    learnt="any protocol with compression",
    defence="there is no compression in version 1: the parameter that asks for it is unknown, and ignored",
    fields=(),
    sign="BAD_KIND",
)
def compression_bomb(wire: Wire) -> Iterator[None]:
    wire.greet()
    wire.say(frames.open(1, "sink"), frames.frame(1, frames.Kind.RESERVED, bytes(100)))
    wire.linger()
    yield
