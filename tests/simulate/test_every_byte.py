"""A fixed conversation, broken at every byte: nothing is missing, whoever notices first and whatever breaks next."""

from collections import defaultdict
from typing import Any, Literal, NamedTuple

import pytest
from simulate.line import Line
from simulate.mutants import KeepsReading
from simulate.user import ALL, POOL, Side
from simulate.wire import Broken, Frame, cut_up
from simulate.world import World

STRIDE = 31  # inside a large payload, which is one piece to everyone, not every byte is tried
Notice = Literal[
    "by both", "by the client, late bytes come before the fence", "by the client, late bytes come after it"
]
NOTICES: list[Notice] = [
    "by both",
    "by the client, late bytes come before the fence",
    "by the client, late bytes come after it",
]


class Cut(NamedTuple):
    """Where a connection breaks: when so many bytes have come to one side."""

    line: int
    to_client: bool
    size: int
    notice: Notice = "by both"


class Conversation(World):
    """Opens, small messages, messages in fragments, credit, ends and a reset, in both directions."""

    def __init__(self, cuts: list[Cut], busy: int = 0) -> None:
        self.frames: dict[tuple[int, bool], list[Frame]] = defaultdict(list)  # by line, and whether to the client
        super().__init__("fixed")
        self.cuts = {(cut.line, cut.to_client): cut for cut in cuts}
        self.busy = busy  # how often the server asks the client to try later
        self.late: list[Line] = []
        self.begun = [self.lines[0].wires[side].delivered for side in (self.server, self.client)]
        for stage in (self.small, self.large, self.credit, self.ends, self.more):
            stage()
            self.carry_all()
        self.settle()
        self.judge()

    def options(self) -> dict[str, Any]:
        return {
            "max_frame": 16_384,
            "max_message": 40_000,
            "channel_window": 40_064,
            "session_window": 80_000,
            "max_channels": 2,
            "replay_limit": 180_000,
            "glitch_rate": 1e9,
        }

    def busy_now(self) -> bool:
        self.busy -= 1
        return self.busy >= 0

    def written(self, line: Line, side: Side, data: bytes) -> bytes:
        self.frames[line.number, side is self.server] += cut_up(data, line.wires[self.other(side)].written)
        return data

    # What is said

    def small(self) -> None:
        for side, channel in ((self.client, 1), (self.server, 2)):
            side.open_one(self.chance)
            for size in (0, 1, 40):
                self.say(side, channel, size)

    def large(self) -> None:
        self.say(self.client, 1, 20_000)
        self.say(self.server, 1, 17_000)
        self.say(self.server, 2, 5)

    def credit(self) -> None:
        for side in self.sides:
            side.read_all()
        self.say(self.client, 1, 30_000)
        self.say(self.client, 1, 100)

    def ends(self) -> None:
        self.client.finish(1)
        self.server.engine.reset(2, 0x1000, "enough")
        self.server.over(2)
        self.flow(2, self.client).cut = True
        self.server.open_one(self.chance)
        self.say(self.server, 4, 10)

    def more(self) -> None:
        for side in self.sides:
            side.read_all()
        self.server.finish(1)
        for side in self.sides:
            side.release(2)
        self.client.open_one(self.chance)
        self.client.engine.ping(self.now)

    def say(self, side: Side, channel: int, size: int) -> None:
        if channel in side.ends and side.ends[channel].pending is None:
            side.send(channel, POOL[channel : channel + size])

    # How it is carried

    def carry_all(self) -> None:
        quiet = 0
        while quiet < 2:
            if self.lines[-1].ends[self.client] is None:
                self.attempt()
            line = self.lines[-1]
            before = line.number, [wire.written for wire in line.wires.values()]
            for side in self.sides:
                line.flush(side)
            for side in self.sides:
                self.pass_on(line, side)
            if self.late and self.server.line not in (None, self.late[-1]):
                self.late.pop().deliver(self.server, ALL)
            self.tick(0.021)
            moved = before != (self.lines[-1].number, [wire.written for wire in line.wires.values()])
            quiet = 0 if moved or None in self.lines[-1].ends.values() else quiet + 1

    def pass_on(self, line: Line, side: Side) -> None:
        cut = self.cuts.get((line.number, side is self.client))
        wire = line.wires[side]
        if cut is None or wire.delivered + len(wire.data) < cut.size:
            line.deliver(side, ALL)
            return
        line.deliver(side, cut.size - wire.delivered)
        del self.cuts[line.number, side is self.client]
        self.breaks += 1
        line.end(self.client)
        if cut.notice == "by both":
            line.end(self.server)
        elif cut.notice == "by the client, late bytes come before the fence":
            line.deliver(self.server, ALL)
        else:
            self.late.append(line)


UNBROKEN = Conversation([])
MIDDLE = UNBROKEN.frames[0, False][-1].end // 2  # inside the first large message to the server
RESUMED = Conversation([Cut(0, False, MIDDLE)], busy=1)


def places(world: Conversation, line: int, to_client: bool, after: int = 0) -> list[int]:
    """Every byte of what a connection carried to one side; of large payloads, some."""
    found = []
    for frame in world.frames[line, to_client]:
        inside = range(frame.start + 1, frame.end + 1)
        found += [
            at for at in inside if at > after and (at % STRIDE == 0 or min(at - frame.start, frame.end - at) < 30)
        ]
    return found


@pytest.mark.parametrize("notice", NOTICES)
@pytest.mark.parametrize("to_client", [False, True], ids=["to server", "to client"])
def test_a_break_at_every_byte(to_client: bool, notice: Notice) -> None:
    for size in places(UNBROKEN, 0, to_client, after=UNBROKEN.begun[to_client]):
        broken = Conversation([Cut(0, to_client, size, notice)])
        assert (broken.messages, broken.breaks, broken.resumptions) == (UNBROKEN.messages, 1, 1), size


@pytest.mark.parametrize("notice", NOTICES)
@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("record", ["RESUME", "RESUME_OK", "RESUME_CONFIRM", "RESUME_FAILED"])
def test_a_break_at_every_byte_of_the_handshake(record: str, times: int, notice: Notice) -> None:
    """The first `times` connections after the first break, break as well."""
    busy = times if record == "RESUME_FAILED" else 0
    frame, to_client = next(
        (frame, to_client)
        for (line, to_client), frames in RESUMED.frames.items()
        for frame in frames
        if line and frame.name == record
    )
    for size in range(frame.start + 1, frame.end + 1):
        again = [Cut(line, to_client, size, notice) for line in range(1, times + 1)]
        broken = Conversation([Cut(0, False, MIDDLE), *again], busy)
        assert (broken.messages, broken.breaks) == (UNBROKEN.messages, times + 1), size
        assert broken.busy < 0


@pytest.mark.parametrize("notice", NOTICES)
@pytest.mark.parametrize("to_client", [False, True], ids=["to server", "to client"])
def test_a_second_break_behind_the_handshake(to_client: bool, notice: Notice) -> None:
    """Where frames go again, and what comes after them."""
    handshake = max(frame.end for frame in RESUMED.frames[2, to_client] if frame.name.startswith("RESUME"))
    for size in places(RESUMED, 2, to_client, after=handshake):
        broken = Conversation([Cut(0, False, MIDDLE), Cut(2, to_client, size, notice)], busy=1)
        assert (broken.messages, broken.breaks, broken.resumptions) == (UNBROKEN.messages, 2, 2), size


def test_the_conversation_has_everything() -> None:
    names = {frame.name for frames in UNBROKEN.frames.values() for frame in frames}
    assert names >= {
        "OPEN",
        "DATA",
        "PART",
        "CREDIT",
        "BLOCKED",
        "FINISH",
        "RESET",
        "SESSION_CREDIT",
        "PING",
        "PONG",
        "ACK",
    }
    assert UNBROKEN.messages == 11
    assert UNBROKEN.breaks == 0


def test_late_bytes_would_be_noticed() -> None:
    class Unfenced(Conversation):
        side = KeepsReading

    with pytest.raises(Broken):
        Unfenced([Cut(0, False, MIDDLE, "by the client, late bytes come after it")])
