"""Resumption in unlucky moments: stopped as it succeeds, judged by something that fails or lies."""

import pytest
from support.basics import until
from support.resuming import linked

from muxtcp import Channel, SessionLost, State, StateInfo
from muxtcp.parking import Parking
from muxtcp.resumption import Failed, Why


async def sink(channel: Channel) -> None:
    async for _ in channel:
        pass


async def test_stop_in_the_moment_of_success_leaves_the_session_up() -> None:
    async with linked() as link:
        channel = await link.client.open("echo")

        def stop(state: State, info: StateInfo) -> None:
            if state is State.RESUMED:
                link.connector.stop()

        link.connector._policy = link.connector._policy._replace(on_state=stop)
        link.cut()
        await link.resumed(1)
        await channel.send(b"still there")
        assert await channel.recv() == b"still there"


async def test_after_stop_no_attempt_is_made() -> None:
    async with linked() as link:
        channel = await link.client.open("echo")
        link.connector.stop()
        link.cut()
        with pytest.raises(SessionLost, match="the connector was stopped"):
            await channel.recv()
        assert link.server.counters["accepted"] == 1


@pytest.mark.parametrize("what", ["retry", "backoff"])
async def test_what_decides_on_attempts_fails(what: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> bool:
        raise RuntimeError("no idea")

    async with linked() as link:
        channel = await link.client.open("echo")
        link.connector._policy = link.connector._policy._replace(**{what: fail})
        link.server._stop_listening()
        link.cut()
        with pytest.raises(SessionLost, match="no idea"):
            await channel.recv()
    assert [record.message for record in caplog.records] == ["a resumption failed on this side"]


async def test_a_count_that_cannot_be_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a refusal says of how far the session had come is not signed."""

    def find(self: Parking, incarnation: bytes, session_id: bytes) -> None:
        raise Failed(Why.EXPIRED, known=(10**9, 5))

    async with linked(sink) as link:
        channel = await link.client.open("sink")
        await channel.send(b"known")
        await channel.flush()
        await channel.send(b"unknown")
        monkeypatch.setattr(Parking, "find", find)
        link.cut()
        with pytest.raises(SessionLost) as lost:
            await channel.recv()
        assert lost.value.sent == (1, 1, 0)


async def test_the_end_of_a_session_lets_its_log_go() -> None:
    async with linked(sink) as link:
        channel = await link.client.open("sink")
        await link.parted()
        await link.back()
        link.peer.transport.pause_reading()  # nothing is acknowledged from here on
        await channel.send(bytes(100_000))
        await until(lambda: link.client.stats()["replay_log_bytes"])
        link.client.abort()
        assert link.client.stats()["replay_log_bytes"] == 0
        link.peer.abort()
