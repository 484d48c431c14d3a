"""A world of one resumable session: two engines, connections that break at any byte, and users who do anything.

Everything is drawn from one seed, time is virtual, and there is no I/O: a schedule that failed fails again. What is simulated is what the
library does around its engines: the handshakes are `muxtcp.resumption.Guest` and `Host`, the same as in a real session.

The oracle knows nothing of the protocol. Each message carries its number on its channel and a filling that follows from both; each
receiver expects the next number, and in the end everything that was accepted has arrived, unless its channel was reset.
"""

import random
import struct
import zlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from muxtcp._engine import Engine, Event, EventKind
from muxtcp.resumption import RESUME, RESUME_CONFIRM, RESUME_FAILED, Failed, Guest, Host, Ticket, Why, new_nonce

OPTIONS: dict[str, Any] = {
    "max_frame": 16_384,
    "max_message": 50_000,
    "channel_window": 60_000,
    "session_window": 120_000,
    "memory_limit": 400_000,
    "max_channels": 6,
    "replay_limit": 180_000,
    "glitch_rate": 1e9,
}
SIZES = [0, 1, 30, 30, 30, 300, 300, 3_000, 20_000, 49_000]
GRANTED = 30_000
HEADER = struct.Struct(">IQ")
INCARNATION = b"process1"


class Broken(AssertionError):
    """The oracle has seen something that must not be."""


@dataclass
class Flow:
    """One direction of one channel, as its sender and its receiver saw it."""

    sent: int = 0
    sent_sum: int = 0
    received: int = 0
    received_sum: int = 0
    finished: bool = False
    end_seen: bool = False


@dataclass
class End:
    """One side of a channel."""

    sends: bool = True
    receives: bool = True
    pending: bytes | None = None
    unread: deque[int] = field(default_factory=deque)
    released: bool = False


class Side:
    """The user of one side, and what lasts of its session: the engine and the ticket."""

    def __init__(self, world: "World", engine: Engine, *, client: bool) -> None:
        self.world = world
        self.client = client
        self.engine = engine
        self.ticket: Ticket
        self.line: Line | None = None  # that carries the session now
        self.ends: dict[int, End] = {}

    @property
    def name(self) -> str:
        return "client" if self.client else "server"

    def fence(self) -> None:
        """What a session does: see `muxtcp.resumption.Session`."""
        if self.line is not None:
            self.line.drop(self)
            self.line = None
        self.engine.part()

    # What the user does

    def act(self, chance: random.Random) -> None:
        choice = chance.random()
        if choice < 0.55:
            self.send_one(chance)
        elif choice < 0.85:
            self.read_one(chance)
        elif choice < 0.92:
            self.open_one(chance)
        elif choice < 0.94:
            self.engine.ping(self.world.now)
        elif choice < 0.96:
            self.finish_one(chance)
        elif choice < 0.98:
            self.release_one(chance)
        elif choice < 0.99:
            self.reset_one(chance)
        else:
            self.give_up_one(chance)

    def pick(self, chance: random.Random, channels: list[int]) -> int:
        return chance.choice(channels) if channels else 0

    def open_one(self, chance: random.Random) -> None:
        channel = self.engine.open(f"of the {self.name}", priority=chance.randrange(4))
        if channel:
            self.ends[channel] = End()

    def send_one(self, chance: random.Random) -> None:
        channel = self.pick(chance, [number for number, end in self.ends.items() if end.sends and end.pending is None])
        if channel:
            size = chance.choice(SIZES)
            self.send(channel, self.world.message(channel, self.world.flow(channel, self).sent, size))

    def send(self, channel: int, message: bytes) -> None:
        if self.engine.send(channel, message):
            flow = self.world.flow(channel, self)
            flow.sent += 1
            flow.sent_sum = zlib.crc32(message, flow.sent_sum)
        else:
            self.ends[channel].pending = message

    def give_up_one(self, chance: random.Random) -> None:
        """As a cancelled send() does."""
        channel = self.pick(chance, [number for number, end in self.ends.items() if end.pending is not None])
        if channel:
            self.ends[channel].pending = None
            self.engine.give_up(channel)

    def read_one(self, chance: random.Random) -> None:
        channel = self.pick(chance, [number for number, end in self.ends.items() if end.unread and not end.released])
        if channel:
            self.engine.consume(channel, self.ends[channel].unread.popleft())

    def read_all(self) -> None:
        for channel, end in self.ends.items():
            while end.unread and not end.released:
                self.engine.consume(channel, end.unread.popleft())

    def finish_one(self, chance: random.Random) -> None:
        channel = self.pick(chance, [number for number, end in self.ends.items() if end.sends])
        if channel:
            self.engine.finish(channel)
            self.ends[channel].sends, self.ends[channel].pending = False, None
            self.world.flow(channel, self).finished = True

    def reset_one(self, chance: random.Random) -> None:
        channel = self.pick(chance, [number for number, end in self.ends.items() if end.sends and end.receives])
        if channel:
            self.engine.reset(channel, 0x1000, "enough")
            self.over(channel)

    def release_one(self, chance: random.Random) -> None:
        channel = self.pick(
            chance, [n for n, end in self.ends.items() if not (end.sends or end.receives or end.released)]
        )
        if channel:
            self.engine.release(channel)
            self.ends[channel].released = True

    def over(self, channel: int) -> None:
        self.world.aborted.add(channel)
        end = self.ends[channel]
        end.sends = end.receives = False
        end.pending = None

    # What the engine tells

    def look(self) -> None:
        while (event := self.engine.next_event()) is not None:
            self.note(event)

    def note(self, event: Event) -> None:
        channel = event.channel
        match event.kind:
            case EventKind.MESSAGE:
                self.world.received(self, channel, event.data)
                self.ends[channel].unread.append(len(event.data))
            case EventKind.OPENED:
                self.ends[channel] = End()
            case EventKind.FINISHED:
                self.ends[channel].receives = False
                self.world.flow(channel, self.world.other(self)).end_seen = True
            case EventKind.RESET:
                self.over(channel)
            case EventKind.WRITABLE:
                end = self.ends[channel]
                if end.pending is not None:
                    message, end.pending = end.pending, None
                    self.send(channel, message)
            case EventKind.BROKEN:
                self.fence()
            case EventKind.CLOSED:
                raise Broken(f"the {self.name}'s session ended: code {event.code:#x}, {event.reason}")


class Line:
    """One connection: bytes on their way, and at each end the engine that they go to, or nobody any more."""

    def __init__(self, world: "World", ends: dict[Side, Engine]) -> None:
        self.world = world
        self.ends: dict[Side, Engine | None] = dict(ends)
        self.wires = {side: bytearray() for side in ends}  # on the way to this side
        self.guest: Guest | None = None
        self.host: Host[Side] | None = None

    def drop(self, side: Side) -> None:
        self.ends[side] = None

    def flush(self, side: Side, limit: int = 65_536) -> None:
        engine = self.ends[side]
        if engine is not None:
            self.wires[self.world.other(side)] += engine.data_to_send(limit)

    def deliver(self, side: Side, size: int) -> None:
        """Let `size` bytes arrive. What comes to nobody is gone."""
        wire = self.wires[side]
        data = bytes(wire[:size])
        del wire[:size]
        engine = self.ends[side]
        if engine is None or not data:
            return
        engine.receive_data(data, self.world.now)
        if engine is side.engine:
            side.look()
        else:
            while (event := engine.next_event()) is not None:
                self.shake_hands(side, engine, event)

    def shake_hands(self, side: Side, engine: Engine, event: Event) -> None:
        """An event of an engine that was made for this connection."""
        try:
            if event.kind is not EventKind.RESUMPTION:
                raise Broken(f"{event} in the handshake of the {side.name}")
            if event.number == RESUME:
                self.host = Host(engine, self.world.find)
                self.host.asked(event.data)
            elif event.number == RESUME_CONFIRM:
                assert self.host is not None
                self.world.carry_on(side, self, engine, self.host.proven(event.data))
            else:
                assert self.guest is not None
                self.world.carry_on(side, self, engine, self.guest.answered(engine, event.number, event.data))
        except Failed as failure:
            self.world.refused(side, failure)
            if event.number == RESUME:
                engine.answer_resume(RESUME_FAILED, failure.record())
                self.flush(side)
            self.drop(side)

    def end(self, side: Side) -> None:
        """The side learns that the connection is gone."""
        engine = self.ends[side]
        self.drop(side)
        if engine is not None and engine is side.engine:
            engine.receive_eof(self.world.now)
            side.look()


class World:
    """One session and all connections it ever had. Mutants of the library override methods of this class."""

    def __init__(self, seed: object, engine: type[Engine] = Engine) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        self.breaks = 0
        self.resumptions = 0
        self.messages = 0
        self.flows: dict[tuple[int, bool], Flow] = {}
        self.aborted: set[int] = set()
        nonce = new_nonce()
        self.client = Side(self, engine(client=True, resume_ms=GRANTED, ticket=nonce, **OPTIONS), client=True)
        self.server = Side(self, engine(client=False, **OPTIONS), client=False)
        self.sides = (self.client, self.server)
        self.lines = [Line(self, {side: side.engine for side in self.sides})]
        self.client.line = self.server.line = self.lines[0]
        self.agree(nonce)

    def agree(self, nonce: bytes) -> None:
        client, server, line = self.client, self.server, self.lines[0]
        line.flush(client)
        server.engine.receive_data(bytes(line.wires[server]), self.now)
        line.wires[server].clear()
        assert server.engine.next_event().kind is EventKind.HELLO
        peer = server.engine.peer
        server.ticket, ticket = Ticket.issue(peer.ticket, INCARNATION, None)
        server.engine.accept(None, peer.resume_ms, ticket)
        line.flush(server)
        client.engine.receive_data(bytes(line.wires[client]), self.now)
        line.wires[client].clear()
        assert client.engine.next_event().kind is EventKind.WELCOME
        client.ticket = Ticket.of_welcome(client.engine.peer.ticket, nonce, None)
        for side in self.sides:
            side.ticket.seal(side.engine.limits)

    def other(self, side: Side) -> Side:
        return self.server if side is self.client else self.client

    # The oracle

    def flow(self, channel: int, sender: Side) -> Flow:
        return self.flows.setdefault((channel, sender.client), Flow())

    def message(self, channel: int, number: int, size: int) -> bytes:
        return HEADER.pack(number, channel) + bytes([number * 7 + channel & 0xFF]) * size

    def received(self, side: Side, channel: int, message: bytes) -> None:
        flow = self.flow(channel, self.other(side))
        number, meant_for = HEADER.unpack_from(message)
        if (number, meant_for) != (flow.received, channel):
            raise Broken(
                f"the {side.name} expected message {flow.received} of {channel}, and got {number} of {meant_for}"
            )
        flow.received += 1
        flow.received_sum = zlib.crc32(message, flow.received_sum)
        self.messages += 1

    def judge(self) -> None:
        """After everything has been carried: nothing is missing, nobody waits."""
        for (channel, by_client), flow in self.flows.items():
            if channel not in self.aborted:
                if (flow.sent, flow.sent_sum) != (flow.received, flow.received_sum):
                    raise Broken(f"channel {channel}: {flow.sent} messages were sent and {flow.received} arrived")
                if flow.finished != flow.end_seen:
                    raise Broken(f"the end of channel {channel} from {'client' if by_client else 'server'} was lost")
        for side in self.sides:
            for channel, end in side.ends.items():
                if end.pending is not None:
                    raise Broken(f"a send of the {side.name} on channel {channel} waits for ever")

    # The library's part beside engine and handshake

    def find(self, incarnation: bytes, id: bytes) -> Side:
        if incarnation != INCARNATION:
            raise Failed(Why.WRONG_INCARNATION)
        if id != self.server.ticket.id:
            raise Failed(Why.UNKNOWN)
        return self.server

    def carry_on(self, side: Side, line: Line, engine: Engine, frames: int) -> None:
        """The handshake is over at this side: its session moves to the new connection."""
        line.flush(side)
        rest = engine.take_rest()
        line.ends[side] = side.engine
        side.line = line
        self.resumptions += side.client
        side.engine.rejoin(frames, self.now)
        side.engine.receive_data(rest, self.now)
        side.look()

    def refused(self, side: Side, failure: Failed) -> None:
        """Only attempts that came too late may be refused."""
        if failure.why not in (Why.STALE_GENERATION, Why.BUSY):
            raise Broken(f"the {side.name} was refused: {failure}")

    # The network

    def step(self) -> None:
        chance = self.chance
        choice = chance.random()
        if choice < 0.40:
            chance.choice(self.sides).act(chance)
        elif choice < 0.90:
            self.carry(chance)
        elif choice < 0.93:
            self.tick(chance.choice([0.001, 0.02, 0.3, 6.0]))
        else:
            self.trouble(chance)

    def carry(self, chance: random.Random) -> None:
        """Bytes are written or arrive, mostly on the newest connection, sometimes on a forgotten one."""
        line = self.lines[-1] if chance.random() < 0.85 else chance.choice(self.lines)
        side = chance.choice(self.sides)
        line.flush(side, chance.choice([200, 5_000, 65_536]))
        if chance.random() < 0.8:
            line.deliver(self.other(side), chance.choice([1, 3, 20, 100, 1_000, 70_000]))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        for side in self.sides:
            if side.engine.next_timeout() <= self.now:
                side.engine.handle_timeout(self.now)
            side.look()

    def trouble(self, chance: random.Random) -> None:
        """Break what there is, for both or for the client only; or let the client, who has lost its connection, try."""
        if self.client.line is None:
            self.attempt()
            return
        self.breaks += 1
        line = self.client.line
        line.end(self.client)
        if chance.random() < 0.6:  # else the server's side stays half-open, with late bytes
            line.end(self.server)

    def attempt(self) -> None:
        """A new connection. An earlier attempt that has not got through is given up by the client; its bytes may still arrive."""
        self.breaks += 1
        for line in self.lines:
            line.drop(self.client)
        guest = Guest(self.client)
        engines = {
            self.client: Engine(client=True, now=self.now, resumption=guest.question),
            self.server: Engine(client=False, now=self.now),
        }
        line = Line(self, engines)
        line.guest = guest
        line.flush(self.client)
        self.lines = [*self.lines[-3:], line]

    def heal(self) -> None:
        """No more trouble: everything is carried, read, and judged."""
        for line in self.lines[:-1]:  # what is still under way of old connections, first
            for side in self.sides:
                line.deliver(side, len(line.wires[side]))
        for _ in range(400):
            if None in self.lines[-1].ends.values():
                if self.client.line is not None:
                    self.client.fence()
                self.attempt()
            before = [len(wire) for wire in self.lines[-1].wires.values()], self.messages, self.resumptions
            for side in self.sides:
                self.lines[-1].flush(side, 1 << 30)
                self.lines[-1].deliver(self.other(side), 1 << 30)
                side.read_all()
            self.tick(0.03)
            for side in self.sides:
                self.lines[-1].flush(side, 1 << 30)
            after = [len(wire) for wire in self.lines[-1].wires.values()], self.messages, self.resumptions
            if before == after and not any(after[0]):
                break
        self.judge()


def run(seed: object, steps: int = 300, world: type[World] = World) -> World:
    """One schedule."""
    simulated = world(seed)
    for _ in range(steps):
        simulated.step()
    simulated.heal()
    return simulated
