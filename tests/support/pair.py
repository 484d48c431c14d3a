"""Pair: two engines with a byte pipe between them, on a virtual clock; every engine test looks through it."""

import random
from collections import deque
from collections.abc import Iterator
from typing import Any

from support import frames
from support.frames import PREFACE
from support.model import ModelEngine
from support.parts import Event, EventKind

from muxtcp._engine import Engine

IMPLEMENTATIONS: dict[str, Any] = {"model": ModelEngine, "engine": Engine}
CHOPS = ["whole", "bytes", "random"]


def chopped(data: bytes, chop: str, chance: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = {"whole": len(data), "bytes": 1, "random": chance.choice([1, 2, 3, 7, 64, 1500, 70_000])}[chop]
        yield data[at : at + size]
        at += size


class Side:
    """One end: its engine, what it reported, and what is on the way to it."""

    def __init__(self, engine: Any, *, accept: bool, consume: bool) -> None:
        self.engine = engine
        self.accept, self.consume = accept, consume
        self.events: list[Event] = []
        self.wire: deque[tuple[float, bytes]] = deque()
        self.sent = bytearray()  # everything that the engine ever wrote
        self.closed: Event | None = None

    def take_events(self) -> None:
        """Ask until there is nothing more, and only then react: commands in between are another test's subject."""
        while events := list(iter(self.engine.next_event, None)):
            for event in events:
                assert self.closed is None, f"{event} after {self.closed}"
                self.events.append(event)
                if event.kind == EventKind.CLOSED:
                    self.closed = event
            for event in events:
                if event.kind == EventKind.HELLO and self.accept and not self.closed:
                    self.engine.accept()
                elif event.kind == EventKind.MESSAGE and self.consume:
                    self.engine.consume(event.channel, len(event.data))

    def seen(self, *kinds: EventKind) -> list[Event]:
        return [event for event in self.events if event.kind in kinds]

    def messages(self, channel: int) -> list[bytes]:
        return [event.data for event in self.seen(EventKind.MESSAGE) if event.channel == channel]


class Alone(Side):
    """One engine whose peer is the test: bytes are fed by hand, and nothing is consumed."""

    def __init__(
        self, implementation: str, *, client: bool, chop: str = "whole", seed: int = 0, **options: Any
    ) -> None:
        super().__init__(IMPLEMENTATIONS[implementation](client=client, **options), accept=True, consume=False)
        self.client, self.chop, self.chance = client, chop, random.Random(seed)

    def feed(self, data: bytes, now: float = 0.0) -> None:
        for piece in chopped(data, self.chop, self.chance):
            self.engine.receive_data(piece, now)
            self.take_events()

    def written(self) -> bytes:
        """What the engine wrote since the last call."""
        data: bytes = self.engine.data_to_send()
        return data

    def greet(self, **parameters: Any) -> bytes:
        """Play the peer's part of a good handshake; what the engine wrote in it."""
        self.feed(PREFACE + (frames.welcome if self.client else frames.hello)(**parameters))
        assert self.events.pop().kind == (EventKind.WELCOME if self.client else EventKind.HELLO)
        return self.written()


class Pair:
    """`client` and `server` are a `Side` each; `latency` is in virtual seconds, one way.

    `chop` says how the bytes are cut on arrival: "whole", "bytes" (one by one) or "random" (by `seed`). With `consume`
    each message is consumed as it arrives; with `accept` the server lets every client in.
    """

    def __init__(
        self,
        client: str = "model",
        server: str = "model",
        *,
        latency: float = 0.0,
        chop: str = "whole",
        seed: int = 0,
        consume: bool = True,
        accept: bool = True,
        client_options: dict[str, Any] | None = None,
        server_options: dict[str, Any] | None = None,
    ) -> None:
        self.now = 0.0
        self.latency, self.chop, self.chance = latency, chop, random.Random(seed)
        dialing = IMPLEMENTATIONS[client](client=True, now=self.now, **(client_options or {}))
        serving = IMPLEMENTATIONS[server](client=False, now=self.now, **(server_options or {}))
        self.client = Side(dialing, accept=False, consume=consume)
        self.server = Side(serving, accept=accept, consume=consume)
        self.sides = (self.client, self.server)

    @classmethod
    def connected(cls, *implementations: str, **options: Any) -> "Pair":
        pair = cls(*implementations, **options)
        pair.pump()
        assert [event.kind for event in pair.client.events] == [EventKind.WELCOME]
        return pair

    def other(self, side: Side) -> Side:
        return self.server if side is self.client else self.client

    def pump(self) -> None:
        """Carry bytes both ways until nothing moves; the clock passes the latency, and waits for no timeout."""
        while True:
            moved = False
            for side in self.sides:
                side.take_events()
                moved |= self._write(side)
            for side in self.sides:
                moved |= self._deliver(side)
            if not moved:
                arrivals = [side.wire[0][0] for side in self.sides if side.wire]
                if not arrivals:
                    return
                self.now = min(arrivals)

    def _write(self, side: Side) -> bool:
        data = side.engine.data_to_send()
        if data:
            side.sent += data
            self.other(side).wire.append((self.now + self.latency, data))
        return bool(data)

    def _deliver(self, side: Side) -> bool:
        delivered = False
        while side.wire and side.wire[0][0] <= self.now:
            for piece in chopped(side.wire.popleft()[1], self.chop, self.chance):
                side.engine.receive_data(piece, self.now)
                side.take_events()
            delivered = True
        return delivered

    def carry(self, side: Side, size: int) -> None:
        """Deliver at most `size` bytes of what the other side has written by now: a cut at any place."""
        other = self.other(side)
        other.take_events()
        self._write(other)
        on_the_way = b"".join(data for _, data in side.wire)
        side.wire.clear()
        if on_the_way[size:]:
            side.wire.append((self.now, on_the_way[size:]))
        side.engine.receive_data(on_the_way[:size], self.now)
        side.take_events()

    def advance(self, seconds: float) -> None:
        """Let the virtual time pass, with every timeout that falls into it."""
        until = self.now + seconds
        self.pump()
        while (due := min(side.engine.next_timeout() for side in self.sides)) <= until:
            self.now = max(self.now, due)
            for side in self.sides:
                if side.engine.next_timeout() <= self.now:
                    side.engine.handle_timeout(self.now)
            self.pump()
        self.now = max(self.now, until)

    def end_of_stream(self, side: Side) -> None:
        """Tell `side` that the peer's stream has ended, after all that was on its way."""
        self.pump()
        side.engine.receive_eof(self.now)
        side.take_events()
