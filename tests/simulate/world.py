"""A world of one resumable session: two engines, connections that break at any byte, and users who do anything.

Everything is drawn from one seed, time is virtual, and there is no I/O: a schedule that failed fails again. What is
simulated is what the library does around its engines; the handshakes are `muxtcp.resumption.Guest` and `Host`, the
same as in a real session.

Two oracles watch. One knows nothing of the protocol (`simulate.user`): each receiver expects the messages that were
accepted, by a running hash, and in the end all of them have come, unless somebody reset their channel or stopped
reading it. The other reads the wire (`simulate.wire`): frame n of a session is always the same bytes; none of them is
written on a connection before its proof; and what an engine counts is what has come.
"""

import random
from collections import Counter
from typing import Any

from simulate.line import Line
from simulate.user import ALL, Flow, Side
from simulate.wire import Broken, Frame, Record
from support.frames import Kind

from muxtcp._engine import Engine, Event, EventKind
from muxtcp.resumption import RESUME, RESUME_CONFIRM, Failed, Guest, Host, Ticket, Why, new_nonce

GRANTED = 30_000
INCARNATION = b"process1"
AMPLE = 1 << 40

SITUATIONS = [
    "a break noticed by both sides",
    "a break noticed by the client first",
    "a break noticed by the server first",
    "a break inside a frame",
    "a break inside a message in fragments",
    "a break with frames that nobody has looked at",
    "a break while frames are sent again",
    "a break inside RESUME",
    "a break inside RESUME_OK",
    "a break inside RESUME_CONFIRM",
    "a break inside RESUME_FAILED",
    "keepalive noticed a break",
    "a handshake took too long",
    "late bytes came before the fence",
    "late bytes came after the fence",
    "a live connection was fenced",
    "a late attempt was refused",
    "a copy of a RESUME came first",
    "a late proof was refused",
    "the server was busy",
    "frames were sent again",
    "nothing had to be sent again",
    "the replay log was full",
    "the replay log held control frames back",
    "an ACK went by itself",
    "a channel was BLOCKED",
    "the session was BLOCKED",
    "a send() waits for room in the queue",
    "an open() waits",
    "an open() may be tried again",
    *(f"{what} while parted" for what in ["open", "send", "read", "finish", "reset", "release", "ping"]),
    "give up while parted",
    "go away while parted",
    "a session ended in order",
    "a session was closed while parted",
    "a goodbye was cut off",
    "a session was lost",
]  # fmt: skip


class World:
    """One session and all connections it ever had. Mutants of the library override what they break."""

    engine: type[Engine] = Engine
    side: type[Side] = Side
    host: type[Host[Side]] = Host
    ticket: type[Ticket] = Ticket

    def __init__(self, seed: str, chance: random.Random | None = None) -> None:
        self.seed = seed
        self.chance = random.Random(seed) if chance is None else chance
        self.now = 0.0
        self.seen: Counter[str] = Counter()
        self.breaks = 0
        self.resumptions = 0
        self.messages = 0
        self.flows: dict[tuple[int, bool], Flow] = {}
        self.ending = False  # somebody has closed the session
        self.settling = False
        self.newest = 0  # attempt that the server has answered
        self.ample_credit = self.chance.random() < 0.2
        nonce = new_nonce()
        self.client = self.side(self, client=True, resume_ms=GRANTED, ticket=nonce, **self.options())
        self.server = self.side(self, client=False, **self.options())
        self.sides = (self.client, self.server)
        self.lines = [Line(self, 0, {side: side.engine for side in self.sides})]
        self.lines[0].proven.update(self.sides)
        self.client.line = self.server.line = self.lines[0]
        self.agree(nonce)

    def options(self) -> dict[str, Any]:
        chance, ample = self.chance, self.ample_credit
        return {
            "max_frame": chance.choice([16_384, 16_384, 65_536]),
            "max_message": 50_000,
            "channel_window": AMPLE if ample else chance.choice([20_000, 60_000, 200_000]),
            "session_window": AMPLE if ample else chance.choice([60_000, 120_000, 400_000]),
            "memory_limit": AMPLE if ample else 400_000,
            "max_channels": chance.choice([2, 6]),
            "send_buffer": 60_000 if ample else chance.choice([60_000, 1_000_000]),
            "replay_limit": chance.choice([30_000, 140_000, 180_000, 4_000_000]),
            "glitch_rate": 1e9,
        }

    def agree(self, nonce: bytes) -> None:
        client, server, line = self.client, self.server, self.lines[0]
        line.flush(client)
        server.engine.receive_data(line.wires[server].take(ALL)[0], self.now)
        server.engine.next_event()
        peer = server.engine.peer
        assert peer is not None
        server.ticket, ticket = self.ticket.issue(peer.ticket, INCARNATION, None)
        server.engine.accept(None, peer.resume_ms, ticket)
        line.flush(server)
        client.engine.receive_data(line.wires[client].take(ALL)[0], self.now)
        client.engine.next_event()
        peer = client.engine.peer
        assert peer is not None
        client.ticket = Ticket.of_welcome(peer.ticket, nonce, None)
        for side in self.sides:
            side.ticket.seal(side.engine.limits)

    def other(self, side: Side) -> Side:
        return self.server if side is self.client else self.client

    def flow(self, channel: int, sender: Side) -> Flow:
        key = channel, sender.client
        flow = self.flows.get(key)
        if flow is None:
            flow = self.flows[key] = Flow()
        return flow

    # What the wire tells

    def written(self, line: Line, side: Side, data: bytes) -> bytes:
        """What goes on the wire in place of what an engine wrote: for mutants."""
        return data

    def count(self, side: Side, line: Line, frames: list[Frame]) -> None:
        """The session of this side has written on its connection."""
        for frame in frames:
            if not frame.channel:
                self.seen["the session was BLOCKED"] += frame.record == Record.SESSION_BLOCKED
                continue
            if side not in line.proven:
                raise Broken(f"the {side.name} wrote a sequenced frame before it knew that the other side lives")
            if side.next_frame < len(side.frames):
                if side.frames[side.next_frame][0] != frame.checksum:
                    raise Broken(f"frame {side.next_frame} of the {side.name} is not what it was")
            else:
                size = frame.end - frame.start
                side.frames.append((frame.checksum, side.frames[-1][1] + size))
                self.seen["a channel was BLOCKED"] += frame.kind == Kind.BLOCKED
            side.next_frame += 1
        self.seen["an ACK went by itself"] += len(frames) == 1 and frames[0].record == Record.ACK

    def parts(self, side: Side) -> None:
        """A session is about to lose its connection."""
        self.seen["a break while frames are sent again"] += side.next_frame < len(side.frames)
        self.seen["a break inside a message in fragments"] += bool(side.in_fragments)

    # The library's part beside engine and handshake

    def find(self, incarnation: bytes, session_id: bytes) -> Side:
        if incarnation != INCARNATION:
            raise Failed(Why.WRONG_INCARNATION)
        if session_id != self.server.ticket.id:
            raise Failed(Why.UNKNOWN)
        if self.server.closed is not None:
            position = self.server.engine.position
            raise Failed(Why.EXPIRED, known=(position.frames, position.bytes))
        return self.server

    def busy_now(self) -> bool:
        """Whether the server asks for another attempt later, as it may without any reason."""
        return not self.settling and self.chance.random() < 0.1

    def asked(self, line: Line, side: Side, engine: Engine, question: bytes) -> None:
        """RESUME has come to the server."""
        line.host = self.host(engine, self.find)
        if self.busy_now():
            raise Failed(Why.BUSY)
        was_live = self.server.line is not None
        line.host.asked(question)
        if line.number <= self.newest:
            raise Broken(f"attempt {line.number} was answered after attempt {self.newest}")
        self.newest = line.number
        self.seen["a live connection was fenced"] += was_live

    def carry_on(self, side: Side, line: Line, engine: Engine, frames: int) -> None:
        """The handshake is over at this side: its session moves to the new connection."""
        if side is self.server and line.number != self.newest:
            raise Broken(f"attempt {line.number} was proven, and {self.newest} is the newest")
        if frames != self.other(side).heard:
            raise Broken(f"the {side.name} was told that {frames} frames have come, not {self.other(side).heard}")
        line.flush(side)
        rest = engine.take_rest()
        line.ends[side] = side.engine
        side.line = line
        side.next_frame = frames + 1
        self.resumptions += side is self.client
        again = side.engine.rejoin(frames, self.now)
        self.seen["frames were sent again" if again else "nothing had to be sent again"] += 1
        side.engine.receive_data(rest, self.now)

    def refused(self, line: Line, side: Side, record: int, failure: Failed) -> None:
        """Only attempts that came too late may be refused, and for a while."""
        if failure.why is Why.BUSY:
            self.seen["the server was busy"] += side is self.client
        elif failure.why is Why.STALE_GENERATION and record == RESUME_CONFIRM and line.number < self.newest:
            self.seen["a late proof was refused"] += 1
        elif failure.why is Why.STALE_GENERATION and record == RESUME and line.number <= self.newest:
            self.seen["a late attempt was refused"] += 1
        elif failure.why is Why.EXPIRED and self.ending:
            if side is self.client:
                assert failure.known is not None
                self.lost(self.client, failure.known[0])
        else:
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
            self.tick(chance.choice([0.001, 0.02, 0.02, 0.3, 6.0]))
        elif choice < 0.931:
            self.silence()
        elif choice < 0.933:
            self.copy()
        elif self.lines[-1].ends[self.client] is None or choice > 0.97:
            self.trouble(chance)

    def carry(self, chance: random.Random) -> None:
        """Bytes are written or arrive, mostly on the newest connection, sometimes on a forgotten one."""
        line = self.lines[-1] if chance.random() < 0.85 else chance.choice(self.lines)
        side = chance.choice(self.sides)
        line.flush(side, chance.choice([200, 5_000, 65_536]))
        if chance.random() < 0.8:
            size = chance.choice([1, 20, 100, 1_000, 70_000, 70_000, 70_000])
            line.deliver(self.other(side), size, chance.choice([1, 3, ALL, ALL]))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        for side in self.sides:
            full_before = side.engine.replay_log[1]
            if side.engine.next_timeout() <= self.now:
                side.engine.handle_timeout(self.now)
            side.look()
            self.check_fate(side)
            held, full = side.engine.replay_log
            self.seen["the replay log was full"] += full > full_before
            self.seen["the replay log held control frames back"] += held > side.replay_limit
        for line in self.lines:
            for side, engine in line.ends.items():
                if engine is not None and engine is not side.engine:
                    self.tick_handshake(line, side, engine)

    def tick_handshake(self, line: Line, side: Side, engine: Engine) -> None:
        engine.handle_timeout(self.now)
        event = engine.next_event()
        if event is not None:
            if event.kind is not EventKind.CLOSED or "in time" not in event.reason:
                raise Broken(f"{event} in the handshake of the {side.name}")
            self.seen["a handshake took too long"] += 1
            line.drop(side)

    def silence(self) -> None:
        """Nothing comes through for as long as it takes the sides to notice."""
        for _ in range(8):
            due = min(side.engine.next_timeout() for side in self.sides)
            self.tick(max(0.0, min(due - self.now, 30.0)) + 0.001)

    def trouble(self, chance: random.Random) -> None:
        """Break the newest connection, for both or for one side first; or let the client try for another."""
        line = self.lines[-1]
        here, there = line.ends[self.client] is not None, line.ends[self.server] is not None
        if not here or (self.client.line is None and chance.random() < 0.3):
            self.attempt()
            return
        self.breaks += 1
        choice = chance.random()
        if choice < 0.5:
            self.seen["a break noticed by both sides"] += here and there
            line.end(self.client)
            line.end(self.server)
        elif choice < 0.85:  # the server's side stays half-open, with late bytes
            self.seen["a break noticed by the client first"] += there
            line.end(self.client)
        else:
            self.seen["a break noticed by the server first"] += there
            line.end(self.server)

    def attempt(self) -> None:
        """A new connection. The client gives an attempt up that has not got through; its bytes may still arrive."""
        if self.client.closed is not None:
            return
        if self.lines[-1].ends[self.client] is not None:
            self.breaks += 1
        for line in self.lines:
            line.drop(self.client)
        guest = Guest(self.client)
        engines = {
            self.client: self.engine(client=True, now=self.now, resumption=guest.question),
            self.server: self.engine(client=False, now=self.now),
        }
        line = Line(self, self.lines[-1].number + 1, engines)
        line.guest = guest
        line.flush(self.client)
        self.lines = [old for old in self.lines if old is self.server.line or old.number > line.number - 4] + [line]

    def copy(self) -> None:
        """Somebody who has seen an attempt, and cannot prove that it is theirs, makes the same one."""
        line = self.lines[-1]
        if line.number and line.wires[self.server].delivered == 0:
            engine = self.engine(client=False, now=self.now)
            copy = Line(self, line.number, {self.client: None, self.server: engine})
            copy.wires[self.server].write(bytes(line.wires[self.server].data))
            copy.deliver(self.server, ALL)
            self.seen["a copy of a RESUME came first"] += line.number == self.newest

    # The end

    def settle(self) -> None:
        """No more trouble: everything is carried and read, until nothing moves."""
        self.settling = True
        for line in self.lines[:-1]:  # what is still under way of old connections, first
            for side in self.sides:
                line.deliver(side, ALL)
        quiet = 0
        for _ in range(2_000):
            line = self.lines[-1]
            if None in line.ends.values():
                if self.client.line is not None:
                    self.client.fence()
                self.attempt()
                line = self.lines[-1]
            before = [wire.written for wire in line.wires.values()], self.messages
            for side in self.sides:
                line.flush(side)
                line.deliver(self.other(side), ALL)
                side.read_all()
            self.tick(0.03)
            for side in self.sides:
                line.flush(side)
            moved = before != ([wire.written for wire in line.wires.values()], self.messages)
            quiet = 0 if moved or None in line.ends.values() else quiet + 1
            if quiet == 3:
                self.settling = False
                return
        raise Broken("the session never comes to rest")

    def judge(self) -> None:
        """After everything has been carried: nothing is missing, nobody waits."""
        for side in self.sides:
            other = self.other(side)
            for channel, end in side.ends.items():
                sent = self.flow(channel, side)
                if not sent.cut:
                    if channel not in other.ends:
                        raise Broken(f"the {other.name} was never told of channel {channel}")
                    if len(sent.hashes) - 1 != sent.received:
                        raise Broken(
                            f"channel {channel}: {len(sent.hashes) - 1} messages were sent, {sent.received} arrived"
                        )
                    if sent.finished != sent.end_seen:
                        raise Broken(f"the {side.name}'s end of channel {channel} was lost")
                elif channel in other.ends and other.ends[channel].receives and not other.ends[channel].released:
                    raise Broken(f"the {other.name} was never told that channel {channel} was reset")
                if end.pending is not None:
                    raise Broken(f"a send of the {side.name} on channel {channel} waits for ever")

    def end_in_order(self) -> None:
        """Every channel ends and gives its slot back, so that others can be opened; then one side closes."""
        for side in self.sides:
            for channel, end in side.ends.items():
                if end.sends:
                    side.finish(channel)
        self.bad_stretch(40)
        self.settle()
        self.judge()
        for side in self.sides:
            for channel, end in side.ends.items():
                if not end.released:
                    side.release(channel)
        self.bad_stretch(40)
        self.settle()
        for side in self.sides:
            if not side.peer_leaving:
                side.open_one(self.chance)
                if side.waits_to_open:
                    raise Broken(f"the {side.name} gets no slot for a new channel, though all are free")
                side.send_one(self.chance)
        self.bad_stretch(20)
        self.settle()
        self.judge()
        self.close(self.chance.choice(self.sides))
        line = self.lines[-1]
        for side in self.sides:
            line.flush(side)
        for side in self.sides:
            line.deliver(side, ALL)
            line.end(side)
        if self.client.closed is None or self.server.closed is None:
            raise Broken("one side does not know that the session has ended")
        self.seen["a session ended in order"] += 1

    def bad_stretch(self, steps: int) -> None:
        """Everything but users."""
        for _ in range(steps):
            if self.chance.random() < 0.8:
                self.carry(self.chance)
            else:
                self.trouble(self.chance)

    def close(self, side: Side) -> None:
        self.ending = True
        side.close()

    def tear(self) -> None:
        """One side closes in the middle of everything, and the connection breaks on top of that."""
        side = self.chance.choice(self.sides)
        other = self.other(side)
        self.seen["a session was closed while parted"] += side.engine.parted
        self.close(side)
        line = self.lines[-1]
        if side.line is line and line.ends[side] is side.engine:
            line.flush(side, self.chance.choice([200, 5_000, ALL]))
            line.deliver(other, self.chance.choice([1, 100, 1_000, ALL]))
            self.seen["a goodbye was cut off"] += line.wires[other].delivered < line.wires[other].written
            line.end(side)
        for line in self.lines:
            line.end(other)
        self.settling = True
        while other.closed is None:
            if other is self.client:
                self.attempt()
                self.lines[-1].deliver(self.server, ALL)
                self.lines[-1].deliver(self.client, ALL)
            else:
                self.lost(self.server, None)

    def finish(self) -> None:
        """How the schedule ends: with the session up, closed in order, or torn."""
        if self.chance.random() < 0.2:
            self.tear()
            return
        self.settle()
        self.judge()
        if self.chance.random() < 0.4:
            self.end_in_order()

    def lost(self, side: Side, known: int | None) -> None:
        """The session ends without a goodbye to this side, which may know how many frames the other had."""
        self.seen["a session was lost"] += 1
        side.closed = Event(EventKind.CLOSED)
        self.check_fate(side, known)

    def check_fate(self, side: Side, known: int | None = None) -> None:
        """Whether what a side says of its messages is true; known: the other side has exactly so many frames."""
        other = self.other(side)
        arrived = other.heard_messages[other.engine.position.frames]
        fate = side.engine.fate(known)
        if not fate.acknowledged <= arrived <= fate.acknowledged + fate.unknown:
            raise Broken(f"{arrived} messages of the {side.name} have arrived, and it says {fate}")
