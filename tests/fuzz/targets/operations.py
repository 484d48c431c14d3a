"""The same bytes and commands, one after the other, to an engine and to the model: events, answers and words are equal.

An input is read by `Drawn`: each step is a frame of the peer's, maybe with a byte changed, or a command of the user's.
What the specification leaves open (when credit and channels come back) may end a run, but only where the two announced
different limits.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from fuzz import mutate, speech
from fuzz.drawn import Drawn
from fuzz.targets.payloads import facts
from support import frames
from support.frames import Code, Kind, Record
from support.pair import Alone
from support.parts import Event, EventKind
from support.strategies import SMALL, message

from muxtcp.errors import LocalProtocolError, MessageTooLarge

STEPS = 150
FREE = {EventKind.WRITABLE, EventKind.CAN_OPEN}
LIMITS = {Code.CREDIT_EXCEEDED, Code.TOO_MANY_CHANNELS, Code.LIMIT_OVERFLOW}  # what depends on the limits we announced
FILLER = bytes(SMALL["max_frame"] + 16)  # completes a frame that is cut short


class Subject(Alone):
    """An implementation, what it has announced, and what it has said beside that."""

    def __init__(self, implementation: str, *, client: bool, **options: Any) -> None:
        super().__init__(implementation, client=client, **SMALL, **options)
        self.greet()
        self.announced: dict[Any, int] = defaultdict(int)
        self.said: dict[int, list[Any]] = defaultdict(list)
        self.parts: dict[int, bytes] = defaultdict(bytes)
        self.unread: list[tuple[int, int]] = []
        self.looked = 0

    def obey(self, command: str, *arguments: Any) -> object:
        """What it answers; None as well if it refuses."""
        try:
            return getattr(self.engine, command)(*arguments)
        except (ValueError, LocalProtocolError, MessageTooLarge):
            return None
        finally:
            self.listen()

    def listen(self) -> None:
        self.take_events()
        while data := self.written():
            for frame in frames.take_frames(data):
                self.hear(frame)
        for event in self.events[self.looked :]:
            if event.kind is EventKind.MESSAGE:
                self.unread.append((event.channel, len(event.data)))
        self.looked = len(self.events)

    def hear(self, frame: frames.Frame) -> None:
        values, what = frame.fields, frame.record if frame.channel == 0 else frame.kind
        match what:
            case Kind.CREDIT | Record.SESSION_CREDIT | Record.CHANNEL_CREDIT:
                self.announced[frame.channel, what] = values["limit"]
            case Kind.PART:
                self.parts[frame.channel] += frame.payload
            case Kind.DATA:
                self.said[frame.channel].append((what, self.parts.pop(frame.channel, b"") + frame.payload))
            case Record.GOAWAY:
                if (what, values["last"]) not in self.said[0]:  # what is said again is a matter of taste
                    self.said[0].append((what, values["last"]))
            case Kind.BLOCKED | Record.SESSION_BLOCKED:
                pass  # how much is lacking depends on who else waits
            case _:
                self.said[frame.channel].append((what, values))

    @property
    def reset(self) -> set[int]:
        """Channels that somebody has reset."""
        said = {channel for channel, said in self.said.items() if channel and said[-1][0] is Kind.RESET}
        return said | {event.channel for event in self.seen(EventKind.RESET)}

    @property
    def facts(self) -> list[Event]:
        return [event for event in facts(self.events) if event.kind not in FREE]


class Comparison:
    """An engine, and models that find either of two faults first; those that are of another opinion are left behind."""

    def __init__(self, data: bytes) -> None:
        self.chance = Drawn(data)
        self.client = self.chance.choice([False, True])
        self.engine = Subject("engine", client=self.client)
        self.models = [Subject("model", client=self.client, form_first=first) for first in (False, True)]
        self.next_theirs = 2 if self.client else 1
        self.open_to_interpretation = False

    def run(self) -> None:
        for _ in range(STEPS):
            if not self.chance.left or self.engine.closed or self.open_to_interpretation:
                break
            self.step()
        if not self.engine.closed and not self.open_to_interpretation:
            self.feed(FILLER)

    def step(self) -> None:
        chance = self.chance
        match chance.choice(["open", "message", *6 * ["good"], "frame", "mangled", *6 * ["command"]]):
            case "open":
                self.feed(frames.open(self.next_theirs, "theirs", mode=chance.choice(frames.MODES)))
                self.next_theirs += 2
            case "message":
                channel = chance.choice(self.channels)
                size, fragments = chance.choice(speech.SIZES), chance.choice([1_024, 3_000, 16_384])
                for frame in message(channel, bytes(size), fragments):
                    self.feed(frame)
            case "good":
                self.feed(speech.good_frame(chance, self.channels))
            case "frame":
                self.feed(speech.any_frame(chance))
            case "mangled":
                frame = bytearray(speech.any_frame(chance))
                frame[chance.number(1) % min(len(frame), 40)] = chance.number(1)
                self.feed(bytes(frame))
            case _:
                self.command()

    @property
    def channels(self) -> list[int]:
        """Those that were opened, by either side."""
        ours = self.engine.said.keys() - {0}
        return sorted(ours | {event.channel for event in self.engine.seen(EventKind.OPENED)}) or [1]

    def feed(self, data: bytes) -> None:
        if self.engine.closed or self.open_to_interpretation:
            return
        for subject in (self.engine, *self.models):
            subject.feed(data)
            subject.listen()
        self.compare()

    def command(self) -> None:
        chance = self.chance
        channel = chance.choice(self.channels)
        code = chance.choice([0, 2, 0x10, 0x1000])
        commands: list[tuple[Any, ...]] = [
            ("open", "ours", None, chance.choice(frames.MODES)),
            ("send", channel, bytes(chance.choice([0, 100, 16_385, 70_000, 300_000]))),
            ("send", channel, b"x"),
            ("finish", channel),
            ("reset", channel, code, "enough"),
            ("go_away", code, "bye"),
            ("ping", 0.0),
            ("close", code, "end"),
        ]
        if over := sorted(self.engine.reset):  # what becomes of one that is released before its end is ours to choose
            commands.append(("release", chance.choice(over)))
        if self.engine.unread:
            commands += 2 * [("consume", *self.engine.unread[0])]
        command = chance.choice(commands)
        if command[0] == "consume":
            del self.engine.unread[0]
        answers = [subject.obey(*command) for subject in (self.engine, *self.models)]
        assert answers[1:] == answers[:1] * len(self.models), f"{command}: {answers}"
        self.compare()

    def compare(self) -> None:
        if self.open_to_interpretation:
            return
        ours = self.engine.facts, self.engine.said
        agreeing = [model for model in self.models if (model.facts, model.said) == ours]
        if agreeing:
            self.models = agreeing
            return
        first = self.models[0]
        ends = [subject.closed for subject in (self.engine, first)]
        if any(end is not None and end.code in LIMITS for end in ends) and self.engine.announced != first.announced:
            self.open_to_interpretation = True
            return
        raise AssertionError(
            f"engine: {self.engine.facts[-3:]} {dict(self.engine.said)}\nmodel: {first.facts[-3:]} {dict(first.said)}"
        )


def one(data: bytes) -> None:
    Comparison(data).run()


def seeds() -> Iterator[bytes]:
    for number in range(64):
        yield bytes((number * 37 + index * (2 * number + 1)) % 256 for index in range(40 + number * 4))


change = mutate.of_choices(400)
