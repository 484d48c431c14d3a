"""Mistakes that a library like this could make. Each is a world that makes one of them; the simulator has to see it."""

from collections.abc import Callable

from simulate.line import Line
from simulate.user import Side
from simulate.wire import Frame, Record, cut_up
from simulate.world import World
from support import frames
from support.frames import Kind

from muxtcp._engine import Engine, Event, EventKind, Position
from muxtcp.resumption import Host, Question, Ticket

# The fence


class KeepsReading(Side):
    def fence(self) -> None:
        self.line = None
        self.engine.part()


class NoFence(World):
    """What the old connection still delivers is read, and it is written to."""

    side = KeepsReading


# The order of steps


class WritesBeforeUp(World):
    """The client sends the rest again right behind its RESUME."""

    def attempt(self) -> None:
        super().attempt()
        line = self.lines[-1]
        self.client.engine.rejoin(self.client.engine.acknowledged_frames, self.now)
        line.ends[self.client] = self.client.engine
        line.flush(self.client)


class GoesOnBeforeTheProof(World):
    """The server sends the rest again right behind its RESUME_OK."""

    def asked(self, line: Line, side: Side, engine: Engine, question: bytes) -> None:
        super().asked(line, side, engine, question)
        line.flush(side)
        line.ends[side], side.line = side.engine, line
        position = Question.read(question).position
        side.next_frame = position.frames + 1
        side.engine.rejoin(position.frames, self.now)
        line.flush(side)


# Positions


class Rewinds(Engine):
    def rejoin(self, frames: int, now: float) -> int:
        return super().rejoin(self.acknowledged_frames, now)


class RewindsToOwnAcknowledgement(World):
    """The rest is what was not acknowledged, instead of what the other side does not have."""

    engine = Rewinds


class OneTooFew(Engine):
    error = -1

    @property
    def position(self) -> Position:
        position = super().position
        return position._replace(frames=position.frames + self.error) if position.frames else position

    def judge(self, frames: int, sizes: int, oldest: int) -> int:
        return 0


class CountsOneTooFew(World):
    """A side that has received something says that it has one frame less, and the other does not judge."""

    engine = OneTooFew


class OneTooMany(OneTooFew):
    error = 1


class CountsOneTooMany(World):
    """The same, with one frame more."""

    engine = OneTooMany


# Acknowledgements


class Unsuspecting(Side):
    def note(self, event: Event) -> None:
        """Lets the consequences show: an ACK is not compared with what the other side has."""
        if event.kind is not EventKind.ACKED:
            super().note(event)


class ReleasesOneTooMany(World):
    """A side lets go of one frame more than was acknowledged."""

    side = Unsuspecting

    def written(self, line: Line, side: Side, data: bytes) -> bytes:
        most = self.other(side).engine.sent_frames

        def raised(frame: Frame, data: bytes) -> bytes:
            if frame.channel or frame.record != Record.ACK:
                return data
            number, _ = frames.read_varint(frames.take_frame(data)[0].payload, 1)
            return frames.record(Record.ACK, frames.varint(min(number + 1, most)))

        return data if line.ends[side] is not side.engine or data.startswith(frames.PREFACE) else change(data, raised)


class AcknowledgesACutFrame(ReleasesOneTooMany):
    """A frame of which only some bytes have come is acknowledged with the others."""

    def written(self, line: Line, side: Side, data: bytes) -> bytes:
        cut = line.wires[side].broken_in
        return super().written(line, side, data) if cut is not None and cut.channel else data


# Attempts


class AnyGeneration(Ticket):
    def judge(self, question: Question) -> None:
        self.generation = self.proven = question.generation - 1
        super().judge(question)


class GenerationIsNotChecked(World):
    """An attempt that comes late takes the session away from a newer one."""

    ticket = AnyGeneration


class AnyProof(Host[Side]):
    def proven(self, fields: bytes) -> int:
        return self._question.position.frames


class LateProofsCount(World):
    """A proof that comes after a newer attempt was answered brings an older one up."""

    host = AnyProof


# The replay log


class Resending(Engine):
    """Changes what is written first after a break."""

    again = False

    def rejoin(self, frames: int, now: float) -> int:
        again = super().rejoin(frames, now)
        self.again = again > 0
        return again

    def data_to_send(self, limit: int = -1) -> bytes:
        data = super().data_to_send(limit)
        found = [frame for frame in cut_up(data, 1) if frame.channel] if self.again else []
        if not found:
            return data
        self.again = False
        return self.changed(data, [(frame.start - 1, frame.end - 1) for frame in found])

    def changed(self, data: bytes, places: list[tuple[int, int]]) -> bytes:
        raise NotImplementedError


class WithoutTheFirst(Resending):
    def changed(self, data: bytes, places: list[tuple[int, int]]) -> bytes:
        (start, end), *_ = places
        return data[:start] + data[end:]


class ForgetsTheFirstFrame(World):
    """The first frame of the rest is not sent again."""

    engine = WithoutTheFirst


class Swapping(Resending):
    def changed(self, data: bytes, places: list[tuple[int, int]]) -> bytes:
        if len(places) < 2:
            return data
        (start, end), (second, second_end), *_ = places
        return data[:start] + data[second:second_end] + data[end:second] + data[start:end] + data[second_end:]


class WrongOrder(World):
    """The first two frames of the rest change places."""

    engine = Swapping


class PingInside(Resending):
    def changed(self, data: bytes, places: list[tuple[int, int]]) -> bytes:
        for start, _ in places:
            header = frames.read_header(data, start)
            if header.kind in (Kind.DATA, Kind.PART) and header.size > 4_096:
                return data[: header.at] + frames.ping(1) + data[header.at :]
        return data


class RecordInsideAFrame(World):
    """A record of channel 0 gets between the header and the payload of a frame, which are two pieces in the log."""

    engine = PingInside


class WithoutCredit(Engine):
    fresh = False

    def rejoin(self, frames: int, now: float) -> int:
        self.fresh = True
        return super().rejoin(frames, now)

    def data_to_send(self, limit: int = -1) -> bytes:
        data = super().data_to_send(limit)
        if self.fresh and data:
            self.fresh = False
            return change(data, self.without_credit)
        return data

    def without_credit(self, frame: Frame, data: bytes) -> bytes:
        credit = frame.channel == 0 and frame.record == Record.SESSION_CREDIT
        return b"" if credit else data


class CreditIsNotSaidAgain(World):
    """The session's credit, whose announcement the break may have lost, is not announced anew."""

    engine = WithoutCredit


def change(data: bytes, each: Callable[[Frame, bytes], bytes]) -> bytes:
    """Every frame of it, as `each` wants it."""
    return b"".join(each(frame, data[frame.start - 1 : frame.end - 1]) for frame in cut_up(data, 1))


MUTANTS: dict[type[World], str] = {  # what the simulator says
    NoFence: "was refused: .* diverged|counts|was told that",
    WritesBeforeUp: "before it knew",
    GoesOnBeforeTheProof: "before it knew",
    RewindsToOwnAcknowledgement: "is not what it was",
    CountsOneTooFew: "frames and counts",
    CountsOneTooMany: "frames and counts",
    ReleasesOneTooMany: "was refused: .* position lost|have arrived, and it says",
    AcknowledgesACutFrame: "was refused: .* position lost|have arrived, and it says",
    GenerationIsNotChecked: "was answered after attempt|was refused: .* position lost",
    LateProofsCount: "was proven, and",
    ForgetsTheFirstFrame: "is not what it was",
    WrongOrder: "is not what it was",
    RecordInsideAFrame: "has no frames in it|was written as",
    CreditIsNotSaidAgain: "waits for ever|were sent, \\d+ arrived",
}
