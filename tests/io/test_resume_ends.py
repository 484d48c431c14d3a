"""Sessions that end while their connection is broken: who learns what, and what is given back."""

import asyncio
import gc
import math

import pytest
from support.basics import echo, until
from support.raw import RawPeer
from support.resuming import linked

import muxtcp
from muxtcp import Channel, Code, HandshakeError, Session, SessionClosed, SessionLost, State, StateInfo, process_budget
from muxtcp.parking import Parking
from muxtcp.resumption import Failed, Why
from muxtcp.testing import VirtualClockLoop, pair


async def sink(channel: Channel) -> None:
    async for _ in channel:
        pass


# --- this side ends it ------------------------------------------------------------------------------------------------


async def test_abort_while_parted() -> None:
    async with linked() as link:
        channel = await link.client.open("echo")
        await link.parted()
        link.client.abort("enough")
        with pytest.raises(SessionClosed, match="enough"):
            await channel.recv()
        await link.client.wait_closed()
        assert link.connector.state is State.DISCONNECTED


async def test_close_while_parted_waits_for_the_connection() -> None:
    async with linked() as link:
        channel = await link.client.open("echo")
        await link.parted()
        peer = link.peer
        closing = asyncio.create_task(link.client.close())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not closing.done()
        for sock in link.listening:
            asyncio.get_running_loop().add_reader(sock, link.server._accept, sock)
        await closing
        await peer.wait_closed()
        assert isinstance(peer.exception, SessionClosed)
        assert isinstance(link.client.exception, SessionClosed)
        assert channel.closed


async def test_close_while_parted_is_bounded() -> None:
    async with linked(config=muxtcp.Config(close_timeout=0.05)) as link:
        await link.client.open("echo")
        await link.parted()
        await link.client.close()
        assert isinstance(link.client.exception, SessionClosed)


async def test_the_context_ends_while_parted() -> None:
    async with linked(config=muxtcp.Config(close_timeout=0.05)) as link:
        await link.client.open("echo")
        await link.parted()
    assert isinstance(link.client.exception, SessionClosed)
    assert link.connector.state is State.DISCONNECTED


async def test_a_server_closes_while_parted() -> None:
    """It cannot bring the connection back, so it does not wait; the client learns it by time."""
    async with linked(resume=0.1) as link:
        await link.client.open("echo")
        await link.parted()
        peer = link.peer
        await link.server.close()
        assert isinstance(peer.exception, SessionClosed)
        await link.client.wait_closed()
        assert isinstance(link.client.exception, SessionLost)
        assert link.states[-1][0] is State.LOST


async def test_a_drain_while_parted_goes_on_afterwards() -> None:
    async with linked() as link:
        channel = await link.client.open("echo")
        await channel.send(b"x")
        assert await channel.recv() == b"x"
        await link.parted()
        peer = link.peer
        draining = asyncio.create_task(peer.drain())
        await asyncio.sleep(0)
        await link.back()
        await until(lambda: link.client.peer_going_away)
        with pytest.raises(SessionClosed, match="SHUTDOWN"):
            await link.client.open("late")
        assert not draining.done()
        await channel.close()
        await draining


async def test_who_drains_a_parted_session_learns_that_it_is_lost() -> None:
    async with linked(resume=0.05) as link:
        await link.client.open("echo")
        await link.parted()
        peer = link.peer
        await peer.drain()
        assert isinstance(peer.exception, SessionLost)


async def test_stop_gives_the_session_up() -> None:
    async with linked(backoff=muxtcp.constant(3_600.0)) as link:
        channel = await link.client.open("echo")
        await link.parted()
        await link.server.close()
        link.connector.stop()
        with pytest.raises(SessionLost):
            await channel.recv()
        assert link.states[-1][0] is State.LOST


# --- the time is over -------------------------------------------------------------------------------------------------


async def test_expiry_at_the_client_says_what_is_known() -> None:
    async with linked(sink, resume=0.05) as link:
        channel = await link.client.open("sink")
        for _ in range(3):
            await channel.send(b"known")
        await channel.flush()
        await link.parted()
        waiting = asyncio.create_task(channel.send(b"never sent"))
        await link.client.wait_closed()
        lost = link.client.exception
        assert isinstance(lost, SessionLost)
        assert lost.sent == (3, 0, 0)
        with pytest.raises(SessionLost):
            await waiting
        assert lost.cause.endswith("; no answer within the 0.05 s that were granted")
        assert link.path == "CONNECTING CONNECTED RECONNECTING LOST"


async def test_expiry_gives_the_memory_back() -> None:
    """The client is gone: what the server kept for it comes back exactly."""
    gc.collect()  # what earlier tests left
    before = process_budget.replay_used
    many = asyncio.Event()

    async def flood(channel: Channel) -> None:
        for _ in range(20):
            await channel.send(bytes(1_000))
        many.set()
        await channel.recv()

    async def scenario() -> None:
        async with linked(flood, resume=0.05) as link:
            await link.client.open("flood")
            await many.wait()
            await link.parted()
            parking = link.peer._lot
            assert isinstance(parking, Parking)
            assert parking.cost > 20_000
            peer = link.peer
            link.client.abort("as if it was killed")
            await peer.wait_closed()
            assert (parking.cost, len(parking)) == (0, 0)
            assert link.server.counters["expired"] == 1
            assert not link.server.sessions

    await scenario()
    for _ in range(3):
        await asyncio.sleep(0)
        gc.collect()
    assert process_budget.replay_used == before


# --- another server, another client -----------------------------------------------------------------------------------


async def test_a_restarted_server_is_a_loss_with_exact_counts_and_the_loop_goes_on() -> None:
    first = await muxtcp.serve(sink, "127.0.0.1", 0)
    port = first.sockets[0].getsockname()[1]
    states: list[tuple[State, StateInfo]] = []
    connector = muxtcp.connect(
        first.addresses[0], resume=30.0, on_state=lambda *told: states.append(told), backoff=muxtcp.constant(0.001)
    )
    sessions: list[Session] = []
    second: muxtcp.Server | None = None
    async for session in connector:
        sessions.append(session)
        channel = await session.open("sink")
        if second is not None:
            await channel.send(b"to the new one")
            await channel.flush()
            connector.stop()
            continue
        for _ in range(3):
            await channel.send(b"known")
        await channel.flush()
        [peer] = first.sessions
        first._stop_listening()
        assert peer.transport is not None
        assert session.transport is not None
        session.transport.abort()  # what follows is written to nobody
        peer.transport.abort()
        for _ in range(2):
            channel.send_nowait(b"unknown")
        second = await muxtcp.serve(sink, "127.0.0.1", port)
        with pytest.raises(SessionLost) as caught:
            await channel.recv()
        assert caught.value.sent is not None
        assert caught.value.sent.acknowledged == 3
        assert sum(caught.value.sent) == session.stats()["messages_sent"]
        assert "wrong incarnation" in caught.value.cause
    assert second is not None
    assert second.counters["resume_wrong_incarnation"] == 1
    assert second.counters["accepted"] == 1, "the new session came on the same connection"
    names = [state.name for state, _ in states]
    assert names[:4] == ["CONNECTING", "CONNECTED", "RECONNECTING", "LOST"]
    assert isinstance(states[3][1].cause, SessionLost)
    await second.close()
    await first.close()


async def test_a_restarted_server_that_is_busy_is_left_alone() -> None:
    asked: list[Session] = []

    async def busy(session: Session) -> None:
        asked.append(session)
        raise HandshakeError(code=Code.BUSY, retry_after=60.0)

    first = await muxtcp.serve(sink, "127.0.0.1", 0)
    port = first.sockets[0].getsockname()[1]
    states: list[tuple[State, StateInfo]] = []

    def on_state(state: State, info: StateInfo) -> None:
        states.append((state, info))
        if state is State.WAITING:
            connector.stop()

    connector = muxtcp.connect(first.addresses[0], resume=30.0, on_state=on_state, backoff=muxtcp.constant(0.0))
    second: muxtcp.Server | None = None
    async for session in connector:
        first._stop_listening()
        [peer] = first.sessions
        second = await muxtcp.serve(sink, "127.0.0.1", port, on_session=busy)
        assert peer.transport is not None
        peer.transport.abort()
        await session.wait_closed()
        assert isinstance(session.exception, SessionLost)
        assert "wrong incarnation" in session.exception.cause
    assert len(asked) == 1
    assert " ".join(state.name for state, _ in states) == "CONNECTING CONNECTED RECONNECTING LOST WAITING STOPPED"
    delay, cause = states[4][1].delay, states[4][1].cause
    assert isinstance(cause, HandshakeError)
    assert delay is not None
    assert 60.0 <= delay <= 120.0
    assert second is not None
    await second.close()
    await first.close()


async def test_two_clients_race_for_one_session() -> None:
    """A copy of the client, as after a fork: one of them wins, and the other's refusal is final."""
    async with linked() as link:
        channel = await link.client.open("echo")
        await channel.send(b"mine")
        assert await channel.recv() == b"mine"
        ticket = link.client.ticket
        generation = ticket.generation
        link.cut()
        await link.resumed(1)
        ticket.generation = generation  # the copy knows of no later attempt
        copied = Session(client=True, guest_of=link.client)
        host, port = link.server.sockets[0].getsockname()
        await asyncio.get_running_loop().create_connection(copied.protocol, host, port)
        with pytest.raises(Failed) as refused:
            await copied.established()
        assert refused.value.why is Why.STALE_GENERATION
        await copied.wait_closed()
        await channel.send(b"still mine")
        assert await channel.recv() == b"still mine"
        assert link.client.resumptions == 1


async def test_other_limits_are_refused_and_a_new_session_works() -> None:
    async with linked() as link:
        link.client.ticket.limits = bytes(16)
        link.cut()
        await link.client.wait_closed()
        assert isinstance(link.client.exception, SessionLost)
        assert "diverged" in link.client.exception.cause
        assert link.server.counters["resume_diverged"] == 1
        async with muxtcp.connect(link.server.addresses[0], resume=30.0) as session:
            assert await session.request("echo", b"x") == b"x"


async def test_a_stalled_attempt_holds_nobody_up() -> None:
    async with linked() as link:
        host, port = link.server.sockets[0].getsockname()
        stalled = RawPeer(*await asyncio.open_connection(host, port), client=True)
        await stalled.send(b"\x8d\x4d")
        for times in range(5):
            link.cut()
            await link.resumed(times + 1)
        assert await link.client.request("echo", b"x") == b"x"
        stalled.end()


# --- a peer that is silent --------------------------------------------------------------------------------------------


def test_keepalive_finds_a_dead_connection_and_the_session_goes_on() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with pair(echo, resume=60.0) as p:
            channel = await p.client.open("echo")
            await channel.send(b"before")
            assert await channel.recv() == b"before"
            await asyncio.sleep(500.0)  # idle for long: its own keepalive holds it
            assert p.client.resumptions == 0
            p.link.stall()
            since = loop.time()
            await channel.send(b"into the void")
            assert await channel.recv() == b"into the void"
            assert p.client.resumptions == 1
            assert loop.time() - since < 21.0  # of virtual time: two keepalive intervals
            p.link.cut()
            assert not math.isnan(await p.client.ping())
            assert p.client.resumptions == 2

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(scenario())
