"""Sessions whose clients are away, or are just coming back, when a server stops; fences; what a flush raises."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from support.basics import until
from support.frames import PREFACE, Record
from support.rawresume import conversation
from support.resuming import Link, linked

from muxtcp import Code, SessionClosed, SessionLost
from muxtcp.lasting import Lasting
from muxtcp.resumption import RESUME, RESUME_CONFIRM

SHORT = 5.0  # seconds for a drain that has nothing to wait for


async def settled(link: Link, draining: "asyncio.Future[None]") -> None:
    await draining
    assert link.server.counters["drains_cut_short"] == 0
    link.client.abort("the server is gone")


async def test_a_drain_does_not_wait_for_a_client_that_is_away() -> None:
    async with linked() as link:
        await link.client.open("echo")
        await link.parted()
        peer = link.peer
        await settled(link, asyncio.ensure_future(link.server.drain(SHORT)))
        assert isinstance(peer.exception, SessionClosed)
        assert peer.exception.code is Code.SHUTDOWN


async def test_a_drain_gives_up_who_breaks_meanwhile() -> None:
    async with linked() as link:
        await link.client.open("echo")
        peer = link.peer
        draining = asyncio.ensure_future(link.server.drain(SHORT))
        await until(lambda: link.client.peer_going_away)
        link.cut()
        await settled(link, draining)
        assert isinstance(peer.exception, SessionLost)
        assert link.server.counters["parked"] == 0


def after(monkeypatch: pytest.MonkeyPatch, record: int, act: Callable[[], Any]) -> None:
    """Act as soon as a session has heard that record, before any task has a turn."""
    hears = Lasting._on_resumption

    def on_resumption(session: Lasting, heard: int, fields: bytes) -> None:
        hears(session, heard, fields)
        if heard == record:
            act()

    monkeypatch.setattr(Lasting, "_on_resumption", on_resumption)


@pytest.mark.parametrize("fenced", [True, False], ids=["fenced", "parked"])
async def test_a_drain_lets_a_client_in_that_has_asked_already(monkeypatch: pytest.MonkeyPatch, fenced: bool) -> None:
    async with linked() as link:
        draining: list[asyncio.Task[None]] = []
        after(monkeypatch, RESUME, lambda: draining.append(asyncio.create_task(link.server.drain(SHORT))))
        peer = link.peer
        if fenced:
            assert peer.transport is not None
            peer.transport.pause_reading()  # it does not see the end of its connection
        link.cut()
        await link.client.wait_closed()
        assert peer.resumptions == link.client.resumptions == 1
        assert isinstance(link.client.exception, SessionClosed)
        assert link.client.exception.code is Code.SHUTDOWN
        await settled(link, draining[0])


async def test_a_stopped_server_is_not_hit_by_its_own_fence() -> None:
    async with conversation() as talk:
        peer = await talk.lab.dial()
        await until(lambda: talk.lab.server.counters["accepted"] == 2)
        talk.lab.server._stop_listening()
        talk.account.takes(talk.peer)
        await peer.send(PREFACE, talk.ticket.resume(talk.account.position))
        answer = await peer.frame()
        assert answer.record is Record.RESUME_OK
        talk.ticket.read_ok(answer.payload[1:])
        await peer.send(talk.ticket.confirm())
        await talk.goes_on(peer)


async def test_a_cancelled_handshake_leaves_the_session_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled between the hand-over and the turn in which it would see that, as by `close()`."""
    async with linked() as link:
        cancelled: list[asyncio.Task[None]] = []

        def cancel() -> None:
            cancelled.extend(link.server._handshakes)
            for handshake in cancelled:
                handshake.cancel()

        after(monkeypatch, RESUME_CONFIRM, cancel)
        link.cut()
        await until(lambda: cancelled and not link.server._handshakes)
        transport = link.peer.transport
        assert transport is not None
        assert not cancelled[0].cancelled()
        assert await link.client.request("echo", b"x") == b"x"
        assert link.client.resumptions == 1


async def test_a_fence_evicts_nobody() -> None:
    async with conversation(max_parked=1) as talk:
        other, _ = await talk.lab.agree()
        waiting = await talk.lab.user.session()
        other.writer.transport.abort()
        await talk.lab.counted("parked")
        talk.account.takes(talk.peer)
        peer, _ = await talk.lab.resume(talk.ticket, talk.account.position)
        await talk.goes_on(peer)
        assert not waiting.closed
        assert (talk.lab.server.counters["parked"], talk.lab.server.counters["evicted"]) == (1, 0)


async def test_a_fenced_session_is_parked_when_the_newest_attempt_ends() -> None:
    async with conversation() as talk:
        talk.account.takes(talk.peer)
        first = await talk.lab.ask(talk.ticket.resume(talk.account.position))
        await first.frame()
        second = await talk.lab.ask(talk.ticket.resume(talk.account.position))
        await second.frame()
        first.writer.transport.abort()
        await talk.lab.counted("lost_in_handshake")
        assert talk.lab.server.counters["parked"] == 0
        second.writer.transport.abort()
        await talk.lab.counted("lost_in_handshake", 2)
        assert (talk.lab.server.counters["parked"], len(talk.lab.server.parking)) == (1, 1)
        peer, _ = await talk.lab.resume(talk.ticket, talk.account.position)
        await talk.goes_on(peer)
        assert len(talk.lab.server.parking) == 0


async def test_each_flush_raises_an_exception_of_its_own() -> None:
    async with linked() as link:
        channel = await link.client.open("echo")
        await channel.send(b"never acknowledged")
        await link.parted()
        flushing = [asyncio.create_task(channel.flush()) for _ in range(2)]
        await asyncio.sleep(0)
        link.client.abort("enough")
        errors = [*await asyncio.gather(*flushing, return_exceptions=True), link.client.exception]
        assert [type(error) for error in errors] == [SessionClosed] * 3
        assert len({id(error) for error in errors}) == 3
