"""What a session tells of itself, on either side, and what the connector makes of it."""

from typing import Any

import pytest
from support import frames
from support.basics import until
from support.rawresume import conversation
from support.resuming import linked

from muxtcp import Code, HandshakeError, RemoteProtocolError, Session, SessionClosed, SessionLost, State, StateInfo
from muxtcp.testing import pair


class Diary:
    """What was told, in order; to be given to a session as its `on_session`, or to `keep`."""

    def __init__(self) -> None:
        self.told: list[tuple[State, StateInfo]] = []
        self.session: Session

    async def __call__(self, session: Session) -> None:
        assert session.state is State.CONNECTING
        self.keep(session)

    def keep(self, session: Session) -> None:
        self.session = session
        session.on_state.append(self.write)

    def write(self, state: State, info: StateInfo) -> None:
        assert state is self.session.state
        self.told.append((state, info))

    @property
    def path(self) -> str:
        return " ".join(state.name for state, _ in self.told)


async def test_both_sides_tell_of_a_break_that_is_survived_and_of_the_end() -> None:
    theirs, ours = Diary(), Diary()
    async with linked(server={"on_session": theirs}) as link:
        ours.keep(link.client)
        assert theirs.told == [(State.CONNECTED, StateInfo())]
        link.cut()
        await link.resumed(1)
        assert await link.client.request("echo", b"going on") == b"going on"
    assert theirs.path == "CONNECTED RECONNECTING RESUMED DISCONNECTED"
    assert ours.path == "RECONNECTING RESUMED DISCONNECTED"
    assert link.path == "CONNECTING CONNECTED RECONNECTING RESUMED DISCONNECTED"
    assert link.states[2:] == [(state, info._replace(attempt=1)) for state, info in ours.told]
    for diary in (theirs, ours):
        *_, (_, broken), (_, again), (_, ended) = diary.told
        assert isinstance(broken.cause, SessionLost)
        assert again == StateInfo(gap=diary.session.gap, replayed=diary.session.replayed)
        assert isinstance(ended.cause, SessionClosed)


async def test_what_does_not_survive_a_break_is_lost() -> None:
    theirs, ours = Diary(), Diary()
    async with linked(server={"max_parked": 0, "on_session": theirs}) as link:
        ours.keep(link.client)
        link.cut("server")
        await until(lambda: link.client.closed)
    assert theirs.path == "CONNECTED RECONNECTING LOST"
    assert ours.path == "RECONNECTING LOST"


async def test_who_is_refused_was_never_up() -> None:
    diary = Diary()

    async def refuse(session: Session) -> None:
        await diary(session)
        raise HandshakeError(code=Code.FORBIDDEN, reason="not today")

    with pytest.raises(HandshakeError, match="not today"):
        async with linked(server={"on_session": refuse}):
            pass
    assert diary.path == "DISCONNECTED"
    assert isinstance(diary.told[0][1].cause, HandshakeError)


async def test_an_end_that_comes_with_the_new_connection_is_told_after_it() -> None:
    async with conversation() as talk:
        diary = Diary()
        diary.keep(talk.session)
        await talk.breaks()
        peer = await talk.lab.ask(talk.ticket.resume(talk.account.position))
        talk.ticket.read_ok((await peer.frame()).payload[1:])
        await peer.send(talk.ticket.confirm() + frames.frame(0, 0, b"\x3f"))
        await talk.session.wait_closed()
        assert diary.path == "RECONNECTING RESUMED DISCONNECTED"
        assert isinstance(diary.told[-1][1].cause, RemoteProtocolError)
        assert talk.lab.server.counters["resumed"] == 1


async def test_one_that_fails_keeps_nobody_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("a defect")

    diary = Diary()
    async with pair() as p:
        p.server.on_state.append(fails)
        diary.keep(p.server)
        p.link.cut()
        await until(lambda: p.server.closed)
    assert diary.path == "DISCONNECTED"
    [said] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert said.getMessage() == "a callback in on_state failed for state 'disconnected'"
