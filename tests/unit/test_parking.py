"""Where a server keeps sessions without a connection, with sessions that the test plays and a clock that it moves."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from muxtcp._engine import Position
from muxtcp.parking import CHANNEL, SESSION, TOMBSTONE_TIME, Parking
from muxtcp.resumption import Failed, Ticket, Why
from muxtcp.testing import VirtualClockLoop

AT = Position(7, 700, 1)


@dataclass
class FakeEngine:
    held_bytes: int
    position: Position = AT


@dataclass(eq=False)
class FakeSession:
    """As much of a session as a parking touches."""

    parking: Parking
    channels: int = 0
    held: int = 0
    granted: float = 0.0
    peer_identity: str | None = None
    broken_by: str | None = "cut"  # None: it was fenced
    ended: list[str] = field(default_factory=list)
    ticket: Ticket = field(init=False)
    on_break: Callable[[Any], None] | None = None
    on_rejoined: Callable[[Any], None] | None = None

    def __post_init__(self) -> None:
        self.engine = FakeEngine(self.held)

    def attached_channels(self) -> list[None]:
        return [None] * self.channels

    def _give_up(self, cause: str) -> None:
        self.ended.append(cause)
        self.parking.forget(self)  # type: ignore[arg-type]

    @property
    def key(self) -> tuple[bytes, bytes]:
        return self.ticket.incarnation, self.ticket.id


def admitted(parking: Parking, wished: float = 30.0, **facts: Any) -> Any:
    session: Any = FakeSession(parking, **facts)
    parking.admit(session, wished, bytes(16))
    return session


def why(parking: Parking, session: Any) -> Failed:
    with pytest.raises(Failed) as refused:
        parking.find(*session.key)
    return refused.value


def on_virtual_clock(scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(scenario)


@pytest.mark.parametrize("longest", [-1.0, 120.1])
def test_a_time_out_of_range(longest: float) -> None:
    with pytest.raises(ValueError, match=f"resume is {longest:g} s, not from 0 to 120"):
        Parking(longest)


async def test_no_more_is_granted_than_wished_or_offered() -> None:
    parking = Parking(30.0)
    assert [admitted(parking, wished).granted for wished in (1.5, 30.0, 3_600.0)] == [1.5, 30.0, 30.0]
    assert admitted(Parking(0.0)).on_break is None


def test_expiry_exactly_at_the_bound() -> None:
    async def scenario() -> None:
        parking = Parking(30.0)
        session = admitted(parking)
        parking.broken(session)
        await asyncio.sleep(29.999)
        assert parking.find(*session.key) is session
        await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        assert session.ended == ["its client did not come back within 30 s"]
        assert (why(parking, session).why, why(parking, session).known) == (Why.EXPIRED, (7, 700))
        assert parking.counters["expired"] == 1
        assert (len(parking), parking.cost) == (0, 0)

    on_virtual_clock(scenario())


def test_a_late_timer_grants_no_more_time() -> None:
    async def scenario() -> None:
        loop: Any = asyncio.get_running_loop()
        parking = Parking(30.0)
        session = admitted(parking)
        parking.broken(session)
        loop._clock.now += 30.0  # nobody has had a turn
        assert why(parking, session).why is Why.EXPIRED
        assert len(session.ended) == 1
        await asyncio.sleep(1.0)
        assert len(session.ended) == 1

    on_virtual_clock(scenario())


def test_a_session_that_came_back_does_not_expire() -> None:
    async def scenario() -> None:
        parking = Parking(30.0)
        session = admitted(parking)
        for _ in range(3):
            parking.broken(session)
            parking.attempted(session)  # this one comes to nothing
            parking.failed(session)
            assert len(parking) == 1
            parking.rejoined(session)
            assert (len(parking), parking.cost) == (0, 0)
        await asyncio.sleep(100.0)
        assert not session.ended
        assert (parking.counters["parked"], parking.counters["resumed"]) == (3, 3)

    on_virtual_clock(scenario())


async def test_beyond_the_number_the_oldest_goes_and_never_a_live_one() -> None:
    parking = Parking(30.0, most=2)
    live, *sessions = [admitted(parking) for _ in range(5)]
    for session in sessions:
        parking.broken(session)
    assert [bool(session.ended) for session in [live, *sessions]] == [False, True, True, False, False]
    assert sessions[0].ended == ["it was given up for want of memory"]
    assert why(parking, sessions[0]).why is Why.EXPIRED
    assert parking.find(*live.key) is live
    assert parking.counters["evicted"] == 2
    for session in sessions[2:]:
        parking.rejoined(session)


async def test_beyond_the_number_of_one_identity_its_oldest_goes() -> None:
    parking = Parking(30.0, most=6, most_per_identity=2)
    alice = [admitted(parking, peer_identity="alice") for _ in range(3)]
    others = [admitted(parking, peer_identity=name) for name in ("bob", None, None, None)]
    for session in [*others, *alice]:
        parking.broken(session)
    assert [len(session.ended) for session in alice] == [1, 0, 0]
    assert [len(session.ended) for session in others] == [0, 0, 0, 0]  # nobody in particular may be many
    assert (len(parking), parking.counters["evicted"]) == (6, 1)
    parking.rejoined(alice[1])
    parking.broken(alice[1])
    assert [len(session.ended) for session in alice] == [1, 0, 0]
    for session in [*others, *alice[1:]]:
        parking.rejoined(session)
    assert (len(parking), parking._parked_of) == (0, {})


def test_no_place_for_an_identity() -> None:
    with pytest.raises(ValueError, match="max_parked_per_identity is 0, not 1 or more"):
        Parking(30.0, most_per_identity=0)


async def test_beyond_the_memory_the_oldest_goes_and_costs_come_back_exactly() -> None:
    parking = Parking(30.0, memory=2 * SESSION + 5 * CHANNEL + 60_000)
    first, second, third = (admitted(parking, channels=n, held=30_000) for n in (1, 2, 3))
    parking.broken(first)
    assert parking.cost == SESSION + CHANNEL + 30_000
    first.engine.held_bytes = 0  # what it costs is settled when it is parked
    parking.broken(second)
    parking.broken(third)
    assert [bool(session.ended) for session in (first, second, third)] == [True, False, False]
    assert parking.cost == 2 * SESSION + 5 * CHANNEL + 60_000
    parking.forget(second)
    parking.rejoined(third)
    assert (len(parking), parking.cost) == (0, 0)


async def test_a_session_larger_than_the_memory_goes_alone() -> None:
    parking = Parking(30.0, memory=2 * SESSION)
    small, large = admitted(parking), admitted(parking, held=SESSION + 1)
    parking.broken(small)
    parking.broken(large)
    assert (bool(small.ended), bool(large.ended)) == (False, True)
    assert (parking.cost, len(parking), parking.counters["evicted"]) == (SESSION, 1, 1)


async def test_a_fenced_session_counts_when_its_client_has_failed() -> None:
    parking = Parking(30.0, most=1)
    waiting, fenced = admitted(parking), admitted(parking, broken_by=None)
    parking.broken(waiting)
    parking.broken(fenced)
    parking.attempted(fenced)
    assert (len(parking), parking.cost, parking.counters["parked"]) == (1, SESSION, 1)
    assert not waiting.ended
    parking.failed(fenced)
    assert (len(parking), parking.cost, parking.counters["parked"]) == (1, SESSION, 2)
    assert (bool(waiting.ended), bool(fenced.ended)) == (True, False)


def test_a_fenced_session_has_the_granted_time_from_the_fence() -> None:
    async def scenario() -> None:
        parking = Parking(30.0)
        session = admitted(parking, broken_by=None)
        parking.broken(session)
        parking.attempted(session)
        await asyncio.sleep(20.0)
        parking.failed(session)
        await asyncio.sleep(10.0)
        await asyncio.sleep(0)
        assert session.ended == ["its client did not come back within 30 s"]
        parking.failed(session)  # the attempt's connection may end later than the session
        assert (len(parking), parking.cost) == (0, 0)

    on_virtual_clock(scenario())


async def test_once_stopped_it_keeps_only_those_that_are_asked_for() -> None:
    parking = Parking(30.0)
    waiting, asked, fenced, live = (admitted(parking, broken_by=by) for by in ("cut", "cut", None, "cut"))
    parking.broken(waiting)
    parking.broken(asked)
    parking.attempted(asked)
    parking.stop()
    parking.broken(fenced)
    parking.attempted(fenced)
    assert [parking.waits(session) for session in (waiting, asked, fenced, live)] == [True, False, False, False]
    parking.broken(live)
    parking.failed(fenced)
    assert live.ended == fenced.ended == ["the server is shutting down"]
    parking.rejoined(asked)
    assert not asked.ended


def test_a_tombstone_ends() -> None:
    async def scenario() -> None:
        parking = Parking(30.0)
        session = admitted(parking)
        parking.forget(session)
        await asyncio.sleep(TOMBSTONE_TIME - 0.001)
        assert why(parking, session).why is Why.EXPIRED
        await asyncio.sleep(0.001)
        assert why(parking, session).why is Why.UNKNOWN

    on_virtual_clock(scenario())


async def test_tombstones_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muxtcp.parking.TOMBSTONES", 2)
    parking = Parking(30.0)
    sessions = [admitted(parking) for _ in range(3)]
    for session in sessions:
        parking.forget(session)
    assert [why(parking, session).why for session in sessions] == [Why.UNKNOWN, Why.EXPIRED, Why.EXPIRED]


async def test_a_forked_process_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    parking = Parking(30.0)
    parked, live = admitted(parking), admitted(parking)
    parking.broken(parked)
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    assert [why(parking, session).why for session in (parked, live)] == [Why.WRONG_INCARNATION] * 2
    assert (len(parking), parking.cost) == (0, 0)
    parking.forget(live)  # it is the parent's: nothing is remembered of it
    own = admitted(parking)
    assert own.ticket.incarnation != live.ticket.incarnation
    assert parking.find(*own.key) is own


def test_a_forked_process_lets_the_timers_of_its_parent_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[dict[str, Any]] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, failure: failures.append(failure))
        parking = Parking(30.0)
        session = admitted(parking)
        parking.broken(session)
        parent = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: parent + 1)
        assert why(parking, session).why is Why.WRONG_INCARNATION
        await asyncio.sleep(31.0)
        assert not session.ended
        assert parking.counters["expired"] == 0

    on_virtual_clock(scenario())
    assert not failures
