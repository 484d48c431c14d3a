"""The same bytes mean the same, however they are cut and whoever reads them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import strategies
from support.pair import CHOPS, IMPLEMENTATIONS, Alone
from support.parts import Event, EventKind

on_every_implementation = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
FREE = {EventKind.WRITABLE, EventKind.CAN_OPEN}
COMMANDS = ["open", "finish", "reset", "go_away"]
FILLER = bytes(
    strategies.SMALL["max_frame"] + 16
)  # completes a frame that is cut short, which is then judged as a whole


class Reader(Alone):
    """One engine, the bytes that it is to read, and a user who gives commands in between."""

    def __init__(
        self, implementation: str, *, client: bool, chop: str = "whole", seed: int = 0, **options: Any
    ) -> None:
        super().__init__(implementation, client=client, chop=chop, seed=seed, **strategies.SMALL, **options)
        self.left: set[int] = set()
        self.greet()

    @property
    def facts(self) -> list[Event]:
        """What the specification decides: all but the words in which we say why we closed."""
        settled = (event for event in self.events if event.kind not in FREE)
        return [event._replace(reason="") if event.kind == EventKind.CLOSED else event for event in settled]

    def obey(self, command: str, which: int) -> None:
        """Do it, if it makes sense after what was reported so far."""
        opened = [event.channel for event in self.seen(EventKind.OPENED)]
        over = self.left | {event.channel for event in self.seen(EventKind.RESET)}
        channel = opened[which] if which < len(opened) else None
        if self.closed:
            return
        if command == "open" and not self.seen(EventKind.GOING_AWAY):
            self.engine.open("ours")
        elif command == "go_away":
            self.engine.go_away()
        elif channel is not None and channel not in over:
            if command == "reset":
                self.left.add(channel)
                self.engine.reset(channel, 2)
            elif command == "finish" and self.engine.opening(channel).mode != "w":
                self.left.add(channel)
                self.engine.finish(channel)
        self.written()


class Piece(bytes):
    """Bytes that a report shows in one line: whole if short, else the head and the size."""

    def __repr__(self) -> str:
        return self.hex() if len(self) <= 40 else f"{self[:16].hex()}...({len(self)})"


@st.composite
def sessions(draw: st.DrawFn, *, wrong: bool) -> tuple[bool, list[Piece], dict[int, tuple[str, int]]]:
    """The role of the reader, what it is to read, and the commands before the piece of that index."""
    client = draw(st.booleans())
    script = draw(strategies.peer_script(client=not client, wrong=wrong))
    if wrong:
        script.append(FILLER)
    orders = st.tuples(st.sampled_from(COMMANDS), st.integers(0, 3))
    commands = draw(st.dictionaries(st.integers(0, len(script) - 1), orders, max_size=4)) if script else {}
    return client, [Piece(piece) for piece in script], commands


@on_every_implementation
@given(sessions(wrong=False))
def test_good_bytes_are_good(implementation: str, session: Any) -> None:
    client, script, commands = session
    reader = Reader(implementation, client=client)
    for index, piece in enumerate(script):
        reader.obey(*commands.get(index, ("nothing", 0)))
        reader.feed(piece)
    assert reader.closed is None


@on_every_implementation
@given(sessions(wrong=True), st.integers(0, 2**32))
def test_any_chopping_gives_the_same_events(implementation: str, session: Any, seed: int) -> None:
    client, script, _ = session
    readers = [Reader(implementation, client=client, chop=chop, seed=seed) for chop in CHOPS if chop != "bytes"]
    for reader in readers:
        reader.feed(b"".join(script))
    assert readers[0].facts == readers[1].facts


@on_every_implementation
@given(st.booleans(), st.lists(strategies.any_frame(), max_size=6), st.integers(0, 60))
def test_every_cut_gives_the_same_events(implementation: str, client: bool, script: list[bytes], cut: int) -> None:
    data = b"".join(script)
    whole, halves = Reader(implementation, client=client), Reader(implementation, client=client)
    whole.feed(data)
    halves.feed(data[:cut])
    halves.feed(data[cut:])
    assert whole.facts == halves.facts


@on_every_implementation
@given(st.booleans(), st.binary(max_size=200))
def test_first_bytes_of_any_kind(implementation: str, client: bool, data: bytes) -> None:
    """Before the handshake, too: the same verdict in one piece and byte by byte, and never more than one."""
    readers = [Alone(implementation, client=client, chop=chop) for chop in ("whole", "bytes")]
    for reader in readers:
        reader.feed(data)
    assert [event.code for event in readers[0].events] == [event.code for event in readers[1].events]


@pytest.mark.parametrize("implementation", [name for name in IMPLEMENTATIONS if name != "model"])
@given(sessions(wrong=True))
def test_the_model_reads_the_same(implementation: str, session: Any) -> None:
    """A frame that is wrong twice may be refused for either: the model is asked for both."""
    client, script, commands = session
    ours = Reader(implementation, client=client)
    models = [Reader("model", client=client, form_first=form_first) for form_first in (False, True)]
    for index, piece in enumerate(script):
        for reader in (ours, *models):
            reader.obey(*commands.get(index, ("nothing", 0)))
            reader.feed(piece)
        assert ours.facts in [model.facts for model in models]
