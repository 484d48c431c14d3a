"""The user of one side: does anything at any moment, and checks what it is told against what the other side did."""

import random
import zlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulate.wire import Broken

from muxtcp._engine import Engine, Event, EventKind
from muxtcp.resumption import Ticket

if TYPE_CHECKING:
    from simulate.world import Line, World

SIZES = [0, 1, 30, 30, 30, 300, 3_000, 3_000, 20_000, 49_000]
POOL = random.Random(0).randbytes(64_000)  # what messages are cut from: no part of one is like another part of it
ALL = 1 << 30


@dataclass(slots=True)
class Flow:
    """One direction of a channel: what was accepted there, and what arrived here."""

    hashes: list[int] = field(default_factory=lambda: [0])  # of all messages up to each
    received: int = 0
    received_hash: int = 0
    finished: bool = False
    end_seen: bool = False
    cut: bool = False  # somebody reset it, or does not read it any more: what is missing is no loss


@dataclass(slots=True)
class End:
    """One side of a channel."""

    sends: bool = True
    receives: bool = True
    pending: bytes | None = None
    unread: deque[int] = field(default_factory=deque)
    released: bool = False


class Side:
    """The user of one side, and what lasts of its session: the engine and the ticket."""

    ticket: Ticket
    certificate_identity = None

    def __init__(self, world: "World", *, client: bool, **options: Any) -> None:
        self.world = world
        self.client = client
        self.name = "client" if client else "server"
        self.engine: Engine = world.engine(client=client, **options)
        self.replay_limit = options["replay_limit"]
        self.line: Line | None = None  # that carries the session now
        self.ends: dict[int, End] = {}
        self.opened: list[int] = []
        self.waits_to_open = False
        self.leaving = False  # has said GOAWAY
        self.peer_leaving = False
        self.behind = False  # there is more to be told than was looked at
        self.closing = False
        self.closed: Event | None = None
        # The connection's account, kept by reading the wire: sequenced frames written, and received.
        self.frames: list[tuple[int, int]] = [(0, 0)]  # checksum, and the sum of sizes up to there
        self.next_frame = 1
        self.heard = 0
        self.in_fragments: set[int] = set()  # channels on which a PART came last
        self.heard_messages = [0]  # DATA frames up to each frame of the other side

    def fence(self) -> None:
        """What a session does: see `muxtcp.resumption.Session`."""
        if self.line is not None:
            self.line.drop(self)
            self.line = None
        if not self.engine.parted:
            self.world.parts(self)
        self.engine.part()
        self.take_position()

    # What the user does

    def act(self, chance: random.Random) -> None:
        if self.closed is not None:
            return
        choice = chance.random()
        if choice < 0.54:
            for _ in range(chance.choice([1, 1, 3])):
                self.send_one(chance)
        elif choice < 0.80:
            self.read_one(chance)
        elif choice < 0.87:
            self.open_one(chance)
        elif choice < 0.89:
            self.did("ping")
            self.engine.ping(self.world.now)
        elif choice < 0.92:
            self.finish_one(chance)
        elif choice < 0.96:
            self.release_one(chance)
        elif choice < 0.975:
            self.reset_one(chance)
        elif choice < 0.9985:
            self.give_up_one(chance)
        elif not self.leaving:
            self.go_away()

    def did(self, what: str) -> None:
        if self.engine.parted:
            self.world.seen[f"{what} while parted"] += 1

    def open_one(self, chance: random.Random) -> None:
        if self.peer_leaving:
            return
        self.did("open")
        channel = self.engine.open(f"of the {self.name}", priority=chance.randrange(4))
        self.waits_to_open = not channel
        if channel:
            self.ends[channel] = End()
            self.opened.append(channel)
        else:
            self.world.seen["an open() waits"] += 1

    def send_one(self, chance: random.Random) -> None:
        channels = [number for number, end in self.ends.items() if end.sends and end.pending is None]
        if channels:
            channel = chance.choice(channels)
            self.did("send")
            size = chance.choice(SIZES)
            start = chance.randrange(len(POOL) - size)
            self.send(channel, POOL[start : start + size])

    def send(self, channel: int, message: bytes) -> None:
        if self.engine.send(channel, message):
            hashes = self.world.flow(channel, self).hashes
            hashes.append(zlib.crc32(message, hashes[-1] + 1))
        else:
            self.ends[channel].pending = message
            if not self.engine.parted and self.world.ample_credit:
                self.world.seen["a send() waits for room in the queue"] += 1

    def give_up_one(self, chance: random.Random) -> None:
        """As a cancelled send() does."""
        channels = [number for number, end in self.ends.items() if end.pending is not None]
        if channels:
            channel = chance.choice(channels)
            self.did("give up")
            self.ends[channel].pending = None
            self.engine.give_up(channel)

    def read_one(self, chance: random.Random) -> None:
        channels = [number for number, end in self.ends.items() if end.unread]
        if channels:
            channel = chance.choice(channels)
            self.did("read")
            self.engine.consume(channel, self.ends[channel].unread.popleft())

    def read_all(self) -> None:
        for channel, end in self.ends.items():
            while end.unread:
                self.engine.consume(channel, end.unread.popleft())

    def finish_one(self, chance: random.Random) -> None:
        channels = [number for number, end in self.ends.items() if end.sends]
        if channels:
            self.did("finish")
            self.finish(chance.choice(channels))

    def finish(self, channel: int) -> None:
        self.engine.finish(channel)
        self.ends[channel].sends, self.ends[channel].pending = False, None
        self.world.flow(channel, self).finished = True

    def reset_one(self, chance: random.Random) -> None:
        channels = [number for number, end in self.ends.items() if (end.sends or end.receives) and not end.released]
        if channels:
            channel = chance.choice(channels)
            self.did("reset")
            self.engine.reset(channel, 0x1000, "enough")
            self.over(channel)
            self.world.flow(channel, self.world.other(self)).cut = True

    def release_one(self, chance: random.Random) -> None:
        """Mostly of a channel that is over; sometimes while messages are still on their way in either direction."""
        early = chance.random() < 0.2
        channels = [
            n for n, end in self.ends.items() if not end.released and (early or not (end.sends or end.receives))
        ]
        if channels:
            self.did("release")
            self.release(chance.choice(channels))

    def release(self, channel: int) -> None:
        end = self.ends[channel]
        self.engine.release(channel)
        if end.receives or end.unread:
            self.world.flow(channel, self.world.other(self)).cut = True
        if end.sends:
            self.world.flow(channel, self).finished = True
        self.ends[channel] = End(sends=False, receives=False, released=True)

    def go_away(self) -> None:
        self.did("go away")
        self.engine.go_away()
        self.leaving = True

    def close(self) -> None:
        self.closing = True
        self.engine.close()
        self.look()

    def over(self, channel: int) -> None:
        """What this side still had to send on a channel does not arrive any more."""
        self.world.flow(channel, self).cut = True
        end = self.ends[channel]
        end.sends = end.receives = False
        end.pending = None

    # What the engine tells

    def look(self, most: int = ALL) -> None:
        """Take at most so many events, as a session does that leaves others their turn."""
        for _ in range(most):
            event = self.engine.next_event()
            if event is None:
                self.behind = False
                if not self.engine.parted and self.closed is None:
                    self.check_position()
                return
            self.note(event)
        self.behind = True

    def note(self, event: Event) -> None:
        channel = event.channel
        match event.kind:
            case EventKind.MESSAGE:
                self.received(channel, event.data)
            case EventKind.OPENED:
                if channel in self.ends:
                    raise Broken(f"the {self.name} was told twice that channel {channel} was opened")
                self.ends[channel] = End()
            case EventKind.FINISHED:
                self.ends[channel].receives = False
                self.world.flow(channel, self.world.other(self)).end_seen = True
            case EventKind.RESET:
                self.over(channel)
            case EventKind.WRITABLE:
                end = self.ends[channel]
                if end.pending is not None and not self.closing:
                    message, end.pending = end.pending, None
                    self.send(channel, message)
            case EventKind.CAN_OPEN:
                self.world.seen["an open() may be tried again"] += 1
                if self.waits_to_open:
                    self.open_one(self.world.chance)
            case EventKind.GOING_AWAY:
                self.peer_leaving = True
                for number in self.opened:
                    if number > event.number:
                        self.over(number)
            case EventKind.ACKED:
                if event.number > self.world.other(self).engine.position.frames:
                    raise Broken(
                        f"the {self.name} was told of {event.number} frames, which the other side does not have"
                    )
            case EventKind.BROKEN:
                self.world.seen["keepalive noticed a break"] += event.reason.startswith("nothing heard")
                self.fence()
            case EventKind.CLOSED:
                if event.code or not self.world.ending:
                    raise Broken(f"the {self.name}'s session ended: code {event.code:#x}, {event.reason}")
                self.closed = event

    def received(self, channel: int, message: bytes) -> None:
        flow = self.world.flow(channel, self.world.other(self))
        flow.received += 1
        flow.received_hash = zlib.crc32(message, flow.received_hash + 1)
        if flow.received >= len(flow.hashes) or flow.hashes[flow.received] != flow.received_hash:
            raise Broken(f"the {self.name} got something else than message {flow.received} of channel {channel}")
        self.ends[channel].unread.append(len(message))
        self.world.messages += 1

    # What the wire tells

    def check_position(self) -> None:
        """Whether the engine has counted what has come."""
        position = self.engine.position
        if (position.frames, position.bytes) != (self.heard, self.world.other(self).frames[self.heard][1]):
            raise Broken(f"the {self.name} has received {self.heard} frames and counts {position.frames}")

    def take_position(self) -> None:
        """What was not looked at when the connection broke does not count; it will come again."""
        position = self.engine.position
        if position.frames > self.heard or position.bytes != self.world.other(self).frames[position.frames][1]:
            raise Broken(f"the {self.name} has received at most {self.heard} frames and counts {position.frames}")
        self.world.seen["a break with frames that nobody has looked at"] += position.frames < self.heard
        self.heard = position.frames
        self.behind = False
