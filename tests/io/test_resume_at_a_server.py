"""What a server and its users know of a session that a raw client carries on: counters, counts, exceptions."""

import asyncio
from dataclasses import replace

import pytest
from support import frames
from support.frames import Code, Kind, Record, Why
from support.rawresume import Conversation, conversation, refused, server_lab
from support.tickets import sequenced

import muxtcp


@pytest.mark.parametrize(("wish", "most", "granted"), [(5_000, 30.0, 5_000), (90_000, 30.0, 30_000), (1, 30.0, 1)])
async def test_no_more_is_granted_than_was_wished(wish: int, most: float, granted: int) -> None:
    async with server_lab(resume=most) as lab:
        peer = await lab.dial()
        welcome = await peer.greet(resume=wish, ticket=bytes(16))
        assert welcome.fields["resume"] == granted
        assert (await lab.user.session()).granted == granted / 1000


@pytest.mark.parametrize(("wish", "most"), [(0, 30.0), (30_000, 0.0)], ids=["not wished", "not offered"])
async def test_no_ticket_without_time(wish: int, most: float) -> None:
    async with server_lab(resume=most) as lab:
        peer = await lab.dial()
        welcome = await peer.greet(**({"resume": wish, "ticket": bytes(16)} if wish else {}))
        assert (welcome.fields["resume"], welcome.fields["ticket"]) == (0, b"")
        session = await lab.user.session()
        peer.end()
        await session.wait_closed()
        assert isinstance(session.exception, muxtcp.SessionLost)
        assert session.exception.sent is None


async def test_a_session_is_carried_on() -> None:
    async with conversation() as talk:
        await talk.breaks()
        peer, told = await talk.lab.resume(talk.ticket, talk.account.position)
        assert told == talk.theirs
        await talk.goes_on(peer)
        assert talk.lab.server.counters["resumed"] == 1
        assert talk.session.replayed == 0
        assert sequenced(peer) == [frames.data(1, b"MORE")]


@pytest.mark.parametrize("have", [0, 1, 2])
async def test_what_the_client_lacks_goes_first(have: int) -> None:
    async with conversation() as talk:
        await talk.breaks()
        peer, _ = await talk.lab.resume(talk.ticket, talk.account.before(have))
        await talk.goes_on(peer)
        lacking = [frames.frame(*item) for item in talk.account.received[have:]]
        assert sequenced(peer) == [*lacking, frames.data(1, b"MORE")]
        assert talk.session.replayed == 2 - have


async def test_the_newest_attempt_wins() -> None:
    """Two at once: the fenced one cannot be confirmed any more, and does no harm."""
    async with conversation() as talk:
        await talk.breaks()
        slow = replace(talk.ticket)
        early = await talk.lab.ask(slow.resume(talk.account.position))
        slow.read_ok((await early.until(Record.RESUME_OK)).payload[1:])
        talk.ticket.generation = slow.generation
        peer, _ = await talk.lab.resume(talk.ticket, talk.account.position)
        await talk.goes_on(peer)
        await early.send(slow.confirm())
        await early.rest()
        await talk.lab.counted("resume_stale_generation")
        await talk.goes_on(peer)
        assert talk.session.resumptions == 1


async def test_a_sender_whose_log_is_full_waits_and_forgets_nothing() -> None:
    config = muxtcp.Config(replay_limit=262_144, channel_window=2**22, session_window=2**22)
    async with server_lab(config=config) as lab:
        talk = Conversation(lab, *await lab.agree(channel_limit=2**40, session_limit=2**40))
        await talk.talk()
        messages = [number.to_bytes(2) * 5_000 for number in range(80)]
        sending = talk.lab.user.later(talk.channel.send_many(messages))
        while talk.channel.stall is None or talk.channel.stall.reason != "acknowledgements":
            await asyncio.sleep(0)
        assert not talk.channel.send_nowait(b"no")
        await talk.peer.probe()
        assert len(talk.peer.on_channel(1)) < len(messages)
        await talk.breaks()
        peer, _ = await talk.lab.resume(talk.ticket, talk.account.before(1))
        for number, message in enumerate([b"TWO", *messages]):
            assert (await peer.until(Kind.DATA)).payload == message
            await peer.send(frames.ack(number + 2))
        await sending


async def test_end_ends_the_session() -> None:
    async with conversation() as talk:
        await talk.peer.send(frames.goaway(0, Code.SHUTDOWN, "bye"), frames.end())
        await talk.peer.probe()
        talk.peer.writer.write_eof()
        await talk.session.wait_closed()
        assert isinstance(talk.session.exception, muxtcp.SessionClosed)
        assert talk.session.exception.code is muxtcp.Code.SHUTDOWN
        heard = (len(talk.account.sent), talk.theirs[1])
        await refused(talk, talk.ticket.resume(talk.account.position), Why.EXPIRED, heard)


async def test_an_expired_session_tells_how_far_it_had_come() -> None:
    async with conversation(wish=1) as talk:
        talk.account.takes(talk.peer)
        talk.peer.writer.transport.abort()
        await talk.session.wait_closed()
        assert isinstance(talk.session.exception, muxtcp.SessionLost)
        await refused(talk, talk.ticket.resume(talk.account.position), Why.EXPIRED, talk.theirs[:2])
        assert talk.lab.server.counters["expired"] == 1
