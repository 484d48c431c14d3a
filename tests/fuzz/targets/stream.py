"""Any bytes, cut anywhere, into an engine of either role: in the handshake, up, with open channels, resumable or not.

An input is a byte that chooses the engine (`Setup`), a byte that chooses the cuts, and what arrives. However the bytes
are cut the engine reports the same; it writes whole frames, and reports no message that is larger than it announced.
"""

import random
from collections.abc import Iterator
from enum import IntFlag
from functools import cache

from fuzz import mutate, vectors
from support import frames
from support.frames import PREFACE
from support.pair import chopped
from support.strategies import SMALL

from muxtcp._engine import Engine, Event, EventKind

HEAD = 2
FREE = {EventKind.WRITABLE, EventKind.CAN_OPEN, EventKind.ACKED}  # come once or twice, as the cuts will have it
NONCE, TICKET = bytes(16), bytes(89)


class Setup(IntFlag):
    CLIENT = 1
    UP = 2  # past the handshake
    OURS = 4  # with channels that we opened
    THEIRS = 8  # with channels that the peer opened
    RESUMABLE = 16
    CONSUMES = 32
    LEAVES = 64  # has reset a channel, finished another and said GOAWAY
    RESUMING = 128  # the handshake is a RESUME


class Ear:
    """An engine that listens, and what it reported."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        client = Setup.CLIENT in setup
        resume = {"resume_ms": 30_000, "ticket": NONCE} if Setup.RESUMABLE in setup else {}
        question = bytes(100) if client and setup & (Setup.UP | Setup.RESUMING) == Setup.RESUMING else None
        self.engine = Engine(client=client, resumption=question, **SMALL, **(resume if client else {}))
        self.events: list[Event] = []
        self.closed = False
        if Setup.UP in setup:
            self.feed(greeting(client=client, resumable=Setup.RESUMABLE in setup))
            self.act()

    def act(self) -> None:
        engine, client = self.engine, Setup.CLIENT in self.setup
        if Setup.THEIRS in self.setup:
            self.feed(opened(client=client))
        if Setup.OURS in self.setup:
            ours = [engine.open("ours", mode=mode) for mode in ("rw", "w")]
            for channel in ours:
                engine.send(channel, bytes(2_000))
        engine.data_to_send()
        if Setup.LEAVES in self.setup:
            engine.go_away(4, "bye")
            if Setup.OURS in self.setup:
                engine.reset(ours[0], 2, "no")
                engine.finish(ours[1])
            engine.data_to_send()

    def feed(self, data: bytes) -> None:
        self.engine.receive_data(data, 0.0)
        for event in iter(self.engine.next_event, None):
            assert not self.closed, f"{event} after CLOSED"
            self.note(event)

    def note(self, event: Event) -> None:
        self.events.append(event)
        match event.kind:
            case EventKind.HELLO:
                peer = self.engine.peer
                assert peer is not None
                resumable = Setup.RESUMABLE in self.setup and peer.resume_ms
                self.engine.accept(None, min(peer.resume_ms, 30_000), TICKET) if resumable else self.engine.accept()
            case EventKind.MESSAGE:
                assert len(event.data) <= SMALL["max_message"]
                if Setup.CONSUMES in self.setup:
                    self.engine.consume(event.channel, len(event.data))
            case EventKind.OPENED:
                self.engine.opening(event.channel)
            case EventKind.CLOSED:
                self.closed = True

    @property
    def facts(self) -> list[Event]:
        return [event for event in self.events if event.kind not in FREE]

    def end(self) -> None:
        """The user leaves; what the engine wrote is frames."""
        said = written(self.engine)
        if said.startswith(PREFACE) or Setup.UP in self.setup:
            frames.take_frames(said)
        opened = {event.channel for event in self.events if event.kind is EventKind.OPENED}
        for channel in opened:
            self.engine.release(channel)
        self.engine.close(0, "done")
        self.engine.receive_eof(0.0)
        written(self.engine)


def written(engine: Engine) -> bytes:
    return b"".join(iter(engine.data_to_send, b""))


@cache
def greeting(*, client: bool, resumable: bool) -> bytes:
    """What an engine of this role has to hear first."""
    build, ticket = (frames.welcome, TICKET) if client else (frames.hello, NONCE)
    return PREFACE + (build(resume=30_000, ticket=ticket, replay_limit=2**20) if resumable else build())


@cache
def opened(*, client: bool) -> bytes:
    """Channels for an engine of this role, one of each mode."""
    first = 2 if client else 1
    return b"".join(frames.open(first + 2 * index, "theirs", mode=mode) for index, mode in enumerate(frames.MODES))


def one(data: bytes) -> None:
    if len(data) < HEAD:
        return
    setup, cuts, heard = Setup(data[0]), data[1], data[HEAD:]
    whole, pieces = Ear(setup), Ear(setup)
    whole.feed(heard)
    for piece in chopped(heard, "random", random.Random(cuts)):
        pieces.feed(piece)
    assert whole.facts == pieces.facts
    whole.end()
    pieces.end()


def seeds() -> Iterator[bytes]:
    every = Setup.UP | Setup.THEIRS | Setup.OURS
    for case in vectors.load("violations", "cases"):
        yield bytes([Setup.UP | (case["receiver"] == "client"), 0]) + vectors.raw(case["steps"])
    for vector in vectors.load("frames", "frames"):
        yield bytes([every | Setup.CONSUMES, 1]) + vectors.raw(vector["hex"])
    for vector in vectors.load("handshakes", "records"):
        yield bytes([vector["record"] != "HELLO", 2]) + PREFACE + vectors.raw(vector["hex"])
    for vector in vectors.load("handshakes", "bad"):
        yield bytes([vector["receiver"] == "client", 3]) + vectors.raw(vector["hex"])
    for vector in vectors.load("records", "records"):
        yield bytes([every | Setup.RESUMABLE, 4]) + vectors.raw(vector["hex"])
    for vector in vectors.load("resumption", "records"):
        client = vector["record"] in ("RESUME_OK", "RESUME_FAILED")
        yield bytes([Setup.RESUMING | client, 5]) + PREFACE + vectors.raw(vector["hex"])
    yield bytes([every | Setup.CONSUMES, 6]) + conversation()


def conversation() -> bytes:
    """A client that makes use of everything."""
    large = b"".join(frames.part(7, bytes(5_000)) for _ in range(2)) + frames.data(7, bytes(3_000))
    return b"".join(
        [
            frames.open(7, "echo", meta={"a": "b"}, deadline_ms=5_000, traceparent="00-1"),
            frames.data(7, b"hello"),
            frames.ping(1),
            large,
            frames.blocked(7, 49_152, 60_000),
            frames.session_blocked(98_304, 100_000),
            frames.credit(2, 300_000),
            frames.session_credit(300_000),
            frames.channel_credit(2_000),
            frames.finish(7),
            frames.reset(1, 2, "enough"),
            frames.goaway(2, 4, "bye"),
        ]
    )


change = mutate.of_frames(HEAD)
