"""The connector's machine, with attempts and sessions that the test plays."""

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from muxtcp.backoff import LONGEST_STAY
from muxtcp.client import Connector, Policy, connect, worth_retrying
from muxtcp.errors import Code, HandshakeError, ReconnectFailed, RemoteProtocolError, SessionClosed, SessionLost
from muxtcp.resumption import Failed, Why
from muxtcp.states import State, StateInfo

REFUSED = ConnectionRefusedError(111, "cannot connect to h:1: Connection refused")


@dataclass(eq=False)
class FakeSession:
    """As much of a session as a connector touches."""

    closed: bool = False
    granted: float = 0.0
    exception: Exception | None = None
    on_state: list[Any] = field(default_factory=list)

    @property
    def state(self) -> State:
        return State.LOST if self.granted and isinstance(self.exception, SessionLost) else State.DISCONNECTED

    async def close(self) -> None:
        await asyncio.sleep(0)
        if not self.closed:
            self.end(SessionClosed())

    def end(self, why: Exception) -> None:
        self.closed, self.exception = True, why
        self.tell(self.state, StateInfo(cause=why))

    def tell(self, state: State, info: StateInfo) -> None:
        for callback in self.on_state:
            callback(state, info)


class Rig:
    """A connector whose attempts end as the script says: with a session, with an error, or never (None)."""

    def __init__(self, *script: Exception | FakeSession | None, **policy: Any) -> None:
        self.script = iter(script)
        self.states: list[tuple[State, StateInfo]] = []
        defaults: dict[str, Any] = {
            "persistent": True,
            "backoff": lambda: iter([0.0] * 1000),
            "max_attempts": None,
            "max_elapsed": None,
            "healthy_after": 10.0,
            "retry": worth_retrying,
            "on_state": lambda state, info: self.states.append((state, info)),
        }
        self.connector = Connector(self.attempt, Policy(**defaults | policy))

    async def attempt(self, **resumption: Any) -> Any:
        await asyncio.sleep(0)
        match next(self.script):
            case None:
                await asyncio.get_running_loop().create_future()
            case Exception() as error:
                raise error
            case session:
                if resumption:
                    carried_on = resumption["guest_of"]
                    carried_on.connected = True
                    carried_on.tell(State.RESUMED, StateInfo(gap=0.25, replayed=7))
                return session

    @property
    def path(self) -> str:
        return " ".join(state.name for state, _ in self.states)

    async def reaches(self, state: State) -> None:
        while self.connector.state is not state:
            await asyncio.sleep(0)


class TestOnce:
    async def test_one_attempt(self) -> None:
        session = FakeSession()
        rig = Rig(session, persistent=False)
        assert rig.connector.state is State.DISCONNECTED
        assert await rig.connector is session
        assert rig.path == "CONNECTING CONNECTED"
        assert [info for _, info in rig.states] == [StateInfo(1), StateInfo(1)]

    async def test_the_error_of_the_only_attempt(self) -> None:
        rig = Rig(REFUSED, persistent=False)
        with pytest.raises(ConnectionRefusedError) as caught:
            await rig.connector
        assert caught.value is REFUSED
        assert rig.path == "CONNECTING FAILED"
        assert rig.states[-1][1] == StateInfo(1, cause=REFUSED)

    async def test_as_a_context_it_closes_the_session(self) -> None:
        session = FakeSession()
        rig = Rig(session, persistent=False)
        with pytest.raises(KeyError):
            async with rig.connector as entered:
                assert entered is session
                raise KeyError
        assert session.closed
        assert rig.path == "CONNECTING CONNECTED DISCONNECTED"

    async def test_with_a_backoff_it_goes_on_until_a_session_is_up(self) -> None:
        session = FakeSession()
        rig = Rig(REFUSED, REFUSED, session)
        assert await rig.connector is session
        assert rig.path == "CONNECTING WAITING CONNECTING WAITING CONNECTING CONNECTED"
        assert rig.states[3][1] == StateInfo(2, 0.0, REFUSED)


@dataclass(eq=False)
class LastingSession(FakeSession):
    """One that survives a break."""

    granted: float = 30.0
    refusal: Failed | None = None
    broken_at: float | None = None
    broken_by: SessionLost | None = None
    on_break: Any = None
    connected: bool = True

    @property
    def engine(self) -> Any:
        return self

    def judge(self, frames: int, sizes: int, oldest: int) -> int:
        return 0

    def clock(self) -> float:
        return asyncio.get_running_loop().time()

    def breaks(self) -> None:
        self.connected = False
        self.broken_at, self.broken_by = self.clock(), SessionLost(cause="cut")
        self.tell(State.RECONNECTING, StateInfo(cause=self.broken_by))
        self.on_break(self)

    def _give_up(self, cause: str, known: int | None) -> None:
        self.end(SessionLost(cause=f"{cause} ({known})"))


class TestResumption:
    async def test_what_is_told_of_a_session_that_is_carried_on(self) -> None:
        session = LastingSession()
        rig = Rig(session, REFUSED, Failed(Why.BUSY), LastingSession())
        assert await rig.connector is session
        session.breaks()
        await rig.reaches(State.RESUMED)
        assert rig.path == "CONNECTING CONNECTED RECONNECTING RESUMED"
        assert rig.states[2][1].cause is session.broken_by
        assert rig.states[3][1] == StateInfo(1, gap=0.25, replayed=7)

    async def test_what_is_told_of_one_that_is_not(self) -> None:
        session = LastingSession()
        rig = Rig(session, Failed(Why.EXPIRED, known=(3, 300)))
        await rig.connector
        session.breaks()
        await rig.reaches(State.LOST)
        assert rig.path == "CONNECTING CONNECTED RECONNECTING LOST"
        assert rig.states[-1][1].cause is session.exception
        assert "cut; the session cannot be resumed: expired (3)" in str(session.exception)

    async def test_a_new_session_that_is_refused_as_well_is_a_failed_attempt(self) -> None:
        session, failed = LastingSession(), Failed(Why.UNKNOWN)
        failed.__cause__ = HandshakeError(code=Code.BUSY, retry_after=60.0)
        rig = Rig(session, failed, max_attempts=2)
        with pytest.raises(ReconnectFailed, match="gave up after 2 attempts") as caught:
            async for _ in rig.connector:
                session.breaks()
                await rig.reaches(State.LOST)
        assert caught.value.__cause__ is failed.__cause__

    async def test_a_refusal_is_heeded_while_the_session_can_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        session, waits = LastingSession(), []
        rig = Rig(session, HandshakeError(code=Code.BUSY, retry_after=3.0), LastingSession())

        async def wait(delay: float) -> None:
            waits.append(delay)

        monkeypatch.setattr(rig.connector, "_wait", wait)
        await rig.connector
        session.breaks()
        await rig.reaches(State.RESUMED)
        assert len(waits) == 1
        assert 3.0 <= waits[0] <= 6.0

    async def test_reconnect_now_cuts_the_wait_short(self) -> None:
        session = LastingSession()
        rig = Rig(session, REFUSED, LastingSession(), backoff=lambda: iter([20.0]))
        await rig.connector
        session.breaks()
        for _ in range(10):
            await asyncio.sleep(0)
        rig.connector.reconnect_now()
        await rig.reaches(State.RESUMED)


class TestLoop:
    async def test_a_new_session_for_each_iteration(self) -> None:
        sessions = [FakeSession(), FakeSession(), FakeSession()]
        rig = Rig(*sessions)
        seen = []
        async for session in rig.connector:
            seen.append(session)
            if len(seen) == 3:
                rig.connector.stop()
        assert seen == sessions
        assert all(session.closed for session in sessions)
        assert rig.path.endswith("CONNECTED DISCONNECTED STOPPED")

    async def test_a_loss_is_told_when_it_happens_and_not_when_the_body_ends(self) -> None:
        session, lost = FakeSession(), SessionLost(cause="cut")
        rig = Rig(session, None)
        async for up in rig.connector:
            up.end(lost)
            assert rig.states[-1] == (State.DISCONNECTED, StateInfo(1, cause=lost))
            rig.connector.stop()
        assert rig.path == "CONNECTING CONNECTED DISCONNECTED STOPPED"

    async def test_leaving_the_loop_closes_the_session(self) -> None:
        session = FakeSession()
        async for _ in Rig(session).connector:
            break
        while not session.closed:
            await asyncio.sleep(0)

    async def test_raising_through_the_loop_closes_the_session(self) -> None:
        session = FakeSession()
        with pytest.raises(KeyError):
            async for _ in Rig(session).connector:
                raise KeyError
        while not session.closed:
            await asyncio.sleep(0)

    async def test_a_final_error_ends_it(self) -> None:
        refusal = HandshakeError(code=Code.UNAUTHENTICATED)
        rig = Rig(FakeSession(), refusal)
        with pytest.raises(HandshakeError):
            async for session in rig.connector:
                session.end(SessionLost(cause="cut"))
        assert rig.path == "CONNECTING CONNECTED DISCONNECTED WAITING CONNECTING FAILED"


class TestLimits:
    async def test_max_attempts(self) -> None:
        rig = Rig(REFUSED, REFUSED, REFUSED, max_attempts=3)
        with pytest.raises(ReconnectFailed, match="gave up after 3 attempts in 0") as caught:
            await rig.connector
        assert caught.value.__cause__ is REFUSED
        assert rig.states[-1] == (State.FAILED, StateInfo(3, cause=caught.value))

    async def test_sessions_that_die_young_count_as_attempts(self) -> None:
        rig = Rig(FakeSession(), FakeSession(), max_attempts=2)
        with pytest.raises(ReconnectFailed, match="gave up after 2 attempts"):
            async for session in rig.connector:
                session.end(SessionLost(cause="cut"))

    async def test_a_healthy_session_starts_everything_afresh(self) -> None:
        began = []

        def backoff() -> Iterator[float]:
            began.append(None)
            return iter([0.0, 0.0])

        rig = Rig(*[FakeSession() for _ in range(10)], max_attempts=2, healthy_after=0.0, backoff=backoff)
        count = 0
        async for session in rig.connector:
            session.end(SessionLost(cause="cut"))
            count += 1
            if count == 10:
                rig.connector.stop()
        assert len(began) == 11

    async def test_max_elapsed_forbids_a_wait_that_would_pass_it(self) -> None:
        rig = Rig(REFUSED, max_elapsed=5.0, backoff=lambda: iter([6.0]))
        with pytest.raises(ReconnectFailed):
            await rig.connector
        assert rig.path == "CONNECTING FAILED"

    async def test_the_end_of_the_delays_is_the_last_attempt(self) -> None:
        rig = Rig(REFUSED, REFUSED, backoff=lambda: iter([0.0]))
        with pytest.raises(ReconnectFailed, match="gave up after 2 attempts"):
            await rig.connector

    @pytest.mark.parametrize(("asked", "least"), [(30.0, 30.0), (1e9, LONGEST_STAY)])
    async def test_retry_after_is_a_floor_with_jitter_and_believed_up_to_a_bound(
        self, asked: float, least: float
    ) -> None:
        refusal = HandshakeError(code=Code.BUSY, retry_after=asked)
        rig = Rig(refusal, None, backoff=lambda: iter([0.5]))
        waiting = asyncio.ensure_future(rig.connector)
        await rig.reaches(State.WAITING)
        info = rig.states[-1][1]
        assert info.cause is refusal
        assert info.delay is not None
        assert 0.5 + least <= info.delay < 0.5 + 2 * least
        waiting.cancel()
        await asyncio.wait([waiting])

    async def test_own_retry_decides(self) -> None:
        asked = []
        rig = Rig(REFUSED, retry=lambda error: bool(asked.append(error)))
        with pytest.raises(ConnectionRefusedError):
            await rig.connector
        assert asked == [REFUSED]


class TestInterruptions:
    async def test_reconnect_now_cuts_the_wait_short(self) -> None:
        session = FakeSession()
        rig = Rig(REFUSED, session, backoff=lambda: iter([3600.0]))
        waiting = asyncio.ensure_future(rig.connector)
        await rig.reaches(State.WAITING)
        rig.connector.reconnect_now()
        rig.connector.reconnect_now()
        assert await waiting is session

    @pytest.mark.parametrize("how", ["reconnect_now", "stop"])
    async def test_a_wait_may_be_cut_short_by_who_is_told_of_it(self, how: str) -> None:
        session = FakeSession()

        def on_state(state: State, info: StateInfo) -> None:
            if state is State.WAITING:
                getattr(rig.connector, how)()

        rig = Rig(REFUSED, session, backoff=lambda: iter([3600.0]), on_state=on_state)
        if how == "reconnect_now":
            assert await rig.connector is session
        else:
            with pytest.raises(ReconnectFailed):
                await rig.connector

    @pytest.mark.parametrize(("script", "state"), [([REFUSED], State.WAITING), ([None], State.CONNECTING)])
    async def test_stop_ends_a_wait_and_an_attempt(self, script, state: State) -> None:
        rig = Rig(*script, backoff=lambda: iter([3600.0]))
        waiting = asyncio.ensure_future(rig.connector)
        await rig.reaches(state)
        await asyncio.sleep(0)
        rig.connector.stop()
        rig.connector.stop()
        with pytest.raises(ReconnectFailed, match="gave up after 1 attempt"):
            await waiting
        assert rig.connector.state is State.STOPPED

    @pytest.mark.parametrize(("script", "state"), [([REFUSED], State.WAITING), ([None], State.CONNECTING)])
    async def test_stop_ends_the_loop(self, script, state: State) -> None:
        rig = Rig(*script, backoff=lambda: iter([3600.0]))

        async def loop() -> None:
            async for _ in rig.connector:
                raise AssertionError("there is no session")

        looping = asyncio.create_task(loop())
        await rig.reaches(state)
        await asyncio.sleep(0)
        rig.connector.stop()
        await looping

    @pytest.mark.parametrize(("script", "state"), [([REFUSED], State.WAITING), ([None], State.CONNECTING)])
    async def test_cancelling_is_the_callers_own(self, script, state: State) -> None:
        rig = Rig(*script, backoff=lambda: iter([3600.0]))
        waiting = asyncio.ensure_future(rig.connector)
        await rig.reaches(state)
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert rig.connector.state is State.DISCONNECTED

    async def test_cancelling_a_wait_is_no_consequence_of_the_attempt_before(self) -> None:
        rig = Rig(REFUSED, backoff=lambda: iter([3600.0]))

        async def wait() -> None:
            with pytest.raises(asyncio.CancelledError) as caught:
                await rig.connector
            assert caught.value.__context__ is None

        waiting = asyncio.create_task(wait())
        await rig.reaches(State.WAITING)
        await asyncio.sleep(0)
        waiting.cancel()
        await waiting

    async def test_each_wait_is_logged_with_its_cause(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "muxtcp")
        await Rig(REFUSED, FakeSession(), backoff=lambda: iter([0.01])).connector
        assert f"attempt 2 begins in 0.0 s: {REFUSED}" in caplog.text

    async def test_a_stopped_connector_stays_stopped(self) -> None:
        rig = Rig()
        rig.connector.stop()
        with pytest.raises(ReconnectFailed):
            await rig.connector

    async def test_a_failing_callback_is_logged_and_does_no_harm(self, caplog: pytest.LogCaptureFixture) -> None:
        def on_state(state: State, info: StateInfo) -> None:
            raise KeyError(state)

        await Rig(FakeSession(), on_state=on_state).connector
        assert "on_state failed for state 'connecting'" in caplog.text


@pytest.mark.parametrize(
    ("error", "worth"),
    [
        (REFUSED, True),
        (TimeoutError(), True),
        (SessionLost(cause="cut"), True),
        (HandshakeError(code=Code.BUSY), True),
        (HandshakeError(code=Code.LIMITS), True),
        (HandshakeError(code=Code.SHUTDOWN), True),
        (ssl.SSLError(), True),
        (HandshakeError(code=Code.UNAUTHENTICATED), False),
        (HandshakeError(code=0x1234), False),
        (ssl.SSLCertVerificationError(), False),
        (RemoteProtocolError(code=Code.BAD_VARINT), False),
        (ValueError(), False),
    ],
    ids=repr,
)
def test_what_is_worth_retrying(error: Exception, worth: bool) -> None:
    assert worth_retrying(error) is worth


@pytest.mark.parametrize(
    ("arguments", "finding"),
    [
        ({}, "one of a host, path= and sock= is needed, not none"),
        ({"address": "tls://h:1", "ssl": False}, "ssl=False contradicts 'tls://h:1'"),
        ({"address": "tcp://h:1", "max_attempts": 0}, "max_attempts is 0, not 1 or more"),
        ({"sock": object(), "max_attempts": 3}, "sock= is good for one attempt"),
        ({"address": "tcp://h:1", "server_hostname": "h"}, "server_hostname='h' goes with TLS"),
        ({"address": "tcp://h:1", "codec": "xml"}, "unknown codec 'xml'"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], finding: str) -> None:
    with pytest.raises(ValueError, match=finding):
        connect(**arguments)
