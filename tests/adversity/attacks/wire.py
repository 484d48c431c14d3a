"""A blocking socket that says whatever it is told to, for as long as it may; and what an attack is."""

import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from support import frames
from support.frames import PREFACE, Frame, NeedMore, Record

ADDRESS = "127.0.0.2"  # attackers have an address of their own: what is counted per address is not the victim's
UNLIMITED = frames.MAX_LIMIT
READ = 1 << 18
LOOK = 0.02  # seconds after which an attack looks whether it is over


class Enough(Exception):
    """The time or the bytes of an attack are used up."""


class ThrownOut(ConnectionError):
    """The other side has ended the connection."""


@dataclass
class Allowance:
    """How long an attack lasts: whatever is used up first ends it."""

    seconds: float
    bytes: int | None = None
    connections: int = 0  # made so far
    sent: int = 0  # bytes, over all of them

    def __post_init__(self) -> None:
        self.ends = time.monotonic() + self.seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self.ends - time.monotonic()

    def stop(self) -> None:
        """It has lasted long enough: from any thread."""
        self.ends = 0.0

    def check(self) -> None:
        if self.left <= 0 or (self.bytes is not None and self.sent >= self.bytes):
            raise Enough


class Wire:
    """One connection to a server.

    Attributes:
        deaf: whether nothing is read: a peer that never reads.
        keeps: whether what is read while sending is kept, for `news()`; else it is thrown away.
        place: of the server: address and port.
    """

    def __init__(self, place: tuple[str, int], allowance: Allowance) -> None:
        allowance.check()
        allowance.connections += 1
        self.place, self.allowance = place, allowance
        self.deaf = False
        self.keeps = True
        self.heard = bytearray()
        self.socket = socket.socket()
        try:
            self.socket.bind((ADDRESS, 0))
            self.socket.settimeout(max(allowance.left, 0.001))
            self.socket.connect(place)
        except TimeoutError:
            self.socket.close()
            raise Enough from None
        except OSError:
            self.socket.close()
            raise
        self.socket.setblocking(False)

    def another(self) -> "Wire":
        """One more connection of the same attack, to be closed by the script."""
        return Wire(self.place, self.allowance)

    # Saying

    def greet(self, **parameters: Any) -> Frame:
        """A handshake in good order; the WELCOME."""
        self.say(PREFACE + frames.hello(**parameters))
        return self.until(Record.WELCOME)

    def say(self, *pieces: bytes) -> None:
        """Send it all, and read what comes meanwhile."""
        view = memoryview(b"".join(pieces))
        while view:
            self.wait(writing=True)
            try:
                sent = self.socket.send(view)
            except BlockingIOError:
                continue
            self.allowance.sent += sent
            view = view[sent:]

    def linger(self) -> None:
        """Say nothing more, and hold the connection until the other side ends it."""
        while True:
            self.wait(writing=False)

    def wait(self, *, writing: bool) -> None:
        """Until something can be read or, if that is wanted, written; and read it."""
        self.allowance.check()
        watched = [] if self.deaf else [self.socket]
        readable, _, _ = select.select(
            watched, [self.socket] if writing else [], [], min(max(self.allowance.left, 0), LOOK)
        )
        if readable:
            data = self.receive()
            if self.keeps:
                self.heard += data

    def receive(self) -> bytes:
        try:
            data = self.socket.recv(READ)
        except BlockingIOError:
            return b""
        if not data:
            raise ThrownOut
        return data

    # Hearing

    def news(self) -> list[Frame]:
        """The frames that have come since the last call."""
        at, found = len(PREFACE) if self.heard.startswith(PREFACE) else 0, []
        raw = bytes(self.heard)
        try:
            while True:
                item, at = frames.take_frame(raw, at)
                found.append(item)
        except NeedMore:
            del self.heard[:at]
            return found

    def until(self, record: Record) -> Frame:
        """The next record of that kind; what else has come by then is passed over, and nothing is kept from here on."""
        while True:
            for item in self.news():
                if item.record is record:
                    self.keeps = False
                    self.heard.clear()
                    return item
            self.wait(writing=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


Script = Callable[[Wire], Iterator[None]]
"""Plays the attack over one connection; yields now and then. When it ends, or is thrown out, it is played again."""


@dataclass(frozen=True)
class Attack:
    """One way to do harm, and what stands against it.

    Attributes:
        script: see `Script`.
        row: the attack in words.
        learnt: where it was seen.
        defence: what stands against it.
        fields: of `Config`, or arguments of `serve()`, that bound it.
        sign: what tells of it, in `session.stats()` or `server.counters`: the code of the refusal, or a counter.
        config: of the server that is attacked, where the default would take longer to show than a run lasts.
        served: arguments of its `serve()`, for the same reason.
        wires: how many connections it holds at once, of which each may cost what `Config.worst_case()` says.
        bytes: that it may send in the suite until its sign must have shown.
    """

    script: Script
    row: str
    learnt: str
    defence: str
    fields: tuple[str, ...]
    sign: str
    config: dict[str, Any] = field(default_factory=dict)
    served: dict[str, Any] = field(default_factory=dict)
    wires: int = 1
    bytes: int = 1 << 24

    @property
    def name(self) -> str:
        return self.script.__name__

    def play(self, place: tuple[str, int], allowance: Allowance) -> None:
        """Until the allowance is used up, coming back whenever it is thrown out."""
        try:
            while True:
                try:
                    with Wire(place, allowance) as wire:
                        for _ in self.script(wire):
                            allowance.check()
                except ConnectionError:
                    allowance.check()
        except Enough:
            pass


ATTACKS: dict[str, Attack] = {}
"""By name. The modules of this folder put theirs in when they are imported."""


def attack(**about: Any) -> Callable[[Script], Script]:
    """Make an attack of a script."""

    def register(script: Script) -> Script:
        made = Attack(script=script, **about)
        assert made.name not in ATTACKS, made.name
        ATTACKS[made.name] = made
        return script

    return register


def repeated(piece: bytes, size: int = 1 << 16) -> bytes:
    """About `size` bytes of it."""
    return piece * max(1, size // len(piece))
