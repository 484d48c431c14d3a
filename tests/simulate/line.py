"""One connection of the simulated session."""

from typing import TYPE_CHECKING

from simulate.user import ALL, Side
from simulate.wire import Broken, Frame, Record, Wire
from support.frames import Kind

from muxtcp._engine import Engine, Event, EventKind
from muxtcp.resumption import RESUME, RESUME_CONFIRM, RESUME_FAILED, Failed, Guest, Host

if TYPE_CHECKING:
    from simulate.world import World


class Line:
    """One connection: bytes on their way, and at each end the engine that they go to, or nobody any more."""

    def __init__(self, world: "World", number: int, ends: dict[Side, Engine | None]) -> None:
        self.world = world
        self.number = number
        self.ends = ends
        self.wires = {side: Wire() for side in ends}  # on the way to this side
        self.proven: set[Side] = set()  # who knows that the other side lives
        self.guest: Guest[Side] | None = None
        self.host: Host[Side] | None = None

    def drop(self, side: Side) -> None:
        """This side does not look at the connection any more."""
        if self.ends[side] is None:
            return
        self.ends[side] = None
        frame = self.wires[side].broken_in
        if frame is not None:
            self.world.seen["a break inside a frame" if frame.channel else f"a break inside {frame.name}"] += 1

    def flush(self, side: Side, limit: int = ALL) -> None:
        engine = self.ends[side]
        if engine is None:
            return
        data = self.world.written(self, side, engine.data_to_send(limit))
        frames = self.wires[self.world.other(side)].write(data)
        if engine is side.engine:
            self.world.count(side, self, frames)
        elif any(frame.channel for frame in frames):
            raise Broken(f"the {side.name} wrote a sequenced frame in the handshake")

    def deliver(self, side: Side, size: int, most: int = ALL) -> None:
        """Let `size` bytes arrive, and take `most` events. What comes to nobody is gone."""
        engine = self.ends[side]
        if engine is side.engine and side.behind:  # it does not read while it has not told everything
            side.look(most)
            return
        data, frames = self.wires[side].take(size)
        if not data:
            return
        if engine is None:
            self.world.seen["late bytes came after the fence"] += side.line is not None and side.line is not self
            return
        self.world.seen["late bytes came before the fence"] += (
            engine is side.engine and self.ends[self.world.other(side)] is None
        )
        if any(frame.record in (Record.RESUME_OK, Record.RESUME_CONFIRM) for frame in frames):
            self.proven.add(side)
        engine.receive_data(data, self.world.now)
        if engine is not side.engine:
            while self.ends[side] is engine and (event := engine.next_event()) is not None:
                self.shake_hands(side, engine, event)
        if self.ends[side] is side.engine:
            self.hear(side, frames)
            side.look(most)

    def hear(self, side: Side, frames: list[Frame]) -> None:
        for frame in frames:
            if frame.channel:
                side.heard += 1
                if frame.kind == Kind.PART:
                    side.in_fragments.add(frame.channel)
                else:
                    side.in_fragments.discard(frame.channel)
                del side.heard_messages[side.heard :]
                side.heard_messages.append(side.heard_messages[-1] + (frame.kind == Kind.DATA))

    def shake_hands(self, side: Side, engine: Engine, event: Event) -> None:
        """An event of an engine that was made for this connection."""
        try:
            if event.kind is not EventKind.RESUMPTION:
                raise Broken(f"{event} in the handshake of the {side.name}")
            if event.number == RESUME:
                self.world.asked(self, side, engine, event.data)
            elif event.number == RESUME_CONFIRM:
                assert self.host is not None
                self.world.carry_on(side, self, engine, self.host.proven(event.data))
            else:
                assert self.guest is not None
                self.world.carry_on(side, self, engine, self.guest.answered(engine, event.number, event.data))
        except Failed as failure:
            self.world.refused(self, side, event.number, failure)
            if event.number == RESUME:
                engine.answer_resume(RESUME_FAILED, failure.record())
                self.flush(side)
            self.drop(side)

    def end(self, side: Side) -> None:
        """The side learns that the connection is gone."""
        engine = self.ends[side]
        self.drop(side)
        if engine is not None and engine is side.engine and side.closed is None:
            engine.receive_eof(self.world.now)
            side.look()
