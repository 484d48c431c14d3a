"""Sessions that outlive their connection: stolen, doubled, parked by the thousand, or lied about."""

import secrets
from collections.abc import Iterator

from adversity.attacks.wire import UNLIMITED, Wire, attack
from support import frames, tickets
from support.frames import PREFACE, Record

WISH = 60_000  # ms
NONCE = bytes(16)
PARKED = 40  # sessions that the attacked server keeps without their client


def agree(wire: Wire, **parameters: int) -> tickets.Ticket:
    """A session that is resumable, and what is kept of it."""
    said = {"resume": WISH, "ticket": NONCE, "replay_limit": 1 << 22, **parameters}
    welcome = wire.greet(**said)
    ticket = tickets.Ticket.of_welcome(welcome.fields["ticket"], NONCE)
    ticket.limits = tickets.limits(frames.parameters([1, 1], **said), welcome.payload[1:])
    return ticket


def ask(wire: Wire, question: bytes) -> None:
    """RESUME over a new connection, up to its answer."""
    with wire.another() as other:
        other.say(PREFACE + question)
        other.until(Record.RESUME_FAILED)


@attack(
    row="ACK of what was never sent",
    learnt="EternalTerminal aborts the process",
    defence="previous <= ack <= sent, else the session ends",
    fields=(),
    sign="BAD_ACK",
)
def false_ack(wire: Wire) -> Iterator[None]:
    agree(wire)
    wire.say(frames.ack(1 << 40))
    wire.linger()
    yield


@attack(
    row="a position that was never reached",
    learnt="EternalTerminal aborts the process",
    defence="positions are compared with our own account, frames and bytes",
    fields=("replay_limit",),
    sign="resume_position_lost",
    served={"resume": 60.0},
)
def false_position(wire: Wire) -> Iterator[None]:
    ticket = agree(wire)
    ask(wire, ticket.resume((1 << 40, 1 << 50, 1)))
    yield


@attack(
    row="hijack: a session of somebody else's, asked for without its secret",
    learnt="any resumption by id",
    defence="128 bits of id and 256 of secret; a failed RESUME never touches the session",
    fields=("handshake_timeout",),
    sign="resume_denied",
)
def hijack(wire: Wire) -> Iterator[None]:
    own = agree(wire)
    forged = tickets.Ticket(own.id, own.incarnation, secrets.token_bytes(32), own.limits)
    while True:
        ask(wire, forged.resume((0, 0, 1)))
        wire.say(frames.ping(1))  # the session that was asked for goes on
        yield


@attack(
    row="guessed ids",
    learnt="any resumption by id",
    defence="128 bits; the answer is the same for all that are unknown",
    fields=("handshake_timeout",),
    sign="resume_unknown",
)
def guessed_ids(wire: Wire) -> Iterator[None]:
    own = agree(wire)
    while True:
        ask(wire, tickets.Ticket(secrets.token_bytes(16), own.incarnation, own.secret).resume((0, 0, 1)))
        yield


@attack(
    row="double resume: the same question twice",
    learnt="any resumption by id",
    defence="a generation for each attempt; a copy proves nothing and disturbs nothing",
    fields=("handshake_timeout",),
    sign="resume_busy",
)
def double_resume(wire: Wire) -> Iterator[None]:
    ticket = agree(wire)
    question = ticket.resume((0, 0, 1))
    with wire.another() as first:
        first.say(PREFACE + question)
        first.until(Record.RESUME_OK)
        while True:
            ask(wire, question)
            yield


@attack(
    row="parked-session exhaustion",
    learnt="session stores that only grow",
    defence="counted and weighed; the one that has waited longest goes first",
    fields=("max_parked=", "parked_memory=", "resume="),
    sign="evicted",
    served={"max_parked": PARKED, "parked_memory": 1 << 23},
    wires=PARKED,
)
def parked_sessions(wire: Wire) -> Iterator[None]:
    agree(wire)
    wire.say(*(frames.open(channel, "sleeper") + frames.data(channel, bytes(1_000)) for channel in range(1, 9, 2)))
    yield


@attack(
    row="a peer that never acknowledges",
    learnt="replay logs without a bound",
    defence="the log is bounded, for a session and for the process; send() waits",
    fields=("replay_limit",),
    sign="replay_log_full_ms",
    config={"replay_limit": 1 << 18},
)
def never_acknowledges(wire: Wire) -> Iterator[None]:
    agree(wire, channel_limit=UNLIMITED, session_limit=UNLIMITED)
    wire.say(frames.open(1, "source"))
    while True:
        wire.wait(writing=False)
        yield
