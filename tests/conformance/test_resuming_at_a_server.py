"""Section 11 of the specification, with the library as the server: a raw client plays right and wrong."""

import asyncio
from dataclasses import replace

import pytest
from support import frames
from support.frames import Code, Kind, Record, Why
from support.rawresume import KEY, Conversation, conversation, refused, sequenced, server_lab

import muxtcp

musts = pytest.mark.musts


# --- agreeing ---------------------------------------------------------------------------------------------------------


@musts("S-1")
@pytest.mark.parametrize(("wish", "most", "granted"), [(5_000, 30.0, 5_000), (90_000, 30.0, 30_000), (1, 30.0, 1)])
async def test_no_more_is_granted_than_was_wished(wish: int, most: float, granted: int) -> None:
    async with server_lab(resume=most) as lab:
        peer = await lab.dial()
        welcome = await peer.greet(resume=wish, ticket=bytes(16))
        assert welcome.fields["resume"] == granted
        assert (await lab.user.session()).granted == granted / 1000


@musts("S-1")
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


@musts("S-2")
@pytest.mark.parametrize("psk", [None, KEY], ids=["in clear", "derived from a key"])
async def test_the_secret(psk: bytes | None) -> None:
    async with conversation(psk=psk) as talk:  # the ticket is checked there
        await talk.breaks()
        peer, _ = await talk.lab.resume(talk.ticket, talk.account.position)
        await talk.goes_on(peer)


# --- a good resumption ------------------------------------------------------------------------------------------------


@musts("S-4", "S-5", "S-7", "S-8")
async def test_a_session_is_carried_on() -> None:
    async with conversation() as talk:
        await talk.breaks()
        peer, told = await talk.lab.resume(talk.ticket, talk.account.position)
        assert told == talk.theirs
        await talk.goes_on(peer)
        assert talk.lab.server.counters["resumed"] == 1
        assert talk.session.replayed == 0
        assert sequenced(peer) == [frames.data(1, b"MORE")]


@musts("S-8", "S-11")
@pytest.mark.parametrize("have", [0, 1, 2])
async def test_what_the_client_lacks_goes_first(have: int) -> None:
    async with conversation() as talk:
        await talk.breaks()
        peer, _ = await talk.lab.resume(talk.ticket, talk.account.before(have))
        await talk.goes_on(peer)
        lacking = [frames.frame(*item) for item in talk.account.received[have:]]
        assert sequenced(peer) == [*lacking, frames.data(1, b"MORE")]
        assert talk.session.replayed == 2 - have


@musts("S-8")
async def test_limits_are_announced_anew() -> None:
    async with conversation() as talk:
        await talk.breaks()
        peer, _ = await talk.lab.resume(talk.ticket, talk.account.position)
        assert (await peer.until(Record.SESSION_CREDIT)).fields["limit"] >= 262_144
        assert (await peer.until(Record.CHANNEL_CREDIT)).fields["limit"] == 1_024


@musts("S-8", "R-2")
async def test_a_goaway_and_a_ping_without_an_answer_are_said_again() -> None:
    async with conversation() as talk:
        pinging = talk.lab.user.later(talk.session.ping())
        talk.lab.user.later(talk.session.drain(Code.SHUTDOWN, "soon"))
        asked = (await talk.peer.until(Record.GOAWAY)).fields
        await talk.breaks()
        peer, _ = await talk.lab.resume(talk.ticket, talk.account.position)
        assert (await peer.until(Record.GOAWAY)).fields == asked
        pings = [item for item in peer.heard if item.record is Record.PING] or [await peer.until(Record.PING)]
        await peer.send(frames.pong(pings[-1].fields["n"]))
        await pinging


@musts("S-6")
async def test_nothing_is_sent_before_the_proof() -> None:
    async with conversation() as talk:
        await talk.breaks()
        await talk.channel.send_eof()  # may be written at once when there is a connection
        peer = await talk.lab.ask(talk.ticket.resume(talk.account.before(0)))
        talk.ticket.read_ok((await peer.until(Record.RESUME_OK)).payload[1:])
        await peer.nothing()
        await peer.send(talk.ticket.confirm())
        await peer.until(Kind.FINISH)
        assert [item.kind for item in peer.heard if item.channel] == [Kind.DATA, Kind.DATA, Kind.FINISH]


@musts("S-5")
async def test_the_old_connection_is_fenced() -> None:
    """It is dropped as soon as a good RESUME comes, and what it still delivers is ignored."""
    async with conversation() as talk:
        old = talk.peer
        peer = await talk.lab.ask(talk.ticket.resume(talk.account.position))
        assert talk.ticket.read_ok((await peer.until(Record.RESUME_OK)).payload[1:]) == talk.theirs
        old.writer.write(frames.data(1, b"late"))
        with pytest.raises((EOFError, ConnectionError)):
            while True:
                await old.more()
        await peer.send(talk.ticket.confirm())
        await talk.goes_on(peer)
        assert talk.channel.stats().unread == 0


@musts("S-5")
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


# --- acknowledgements, and the end ------------------------------------------------------------------------------------


@musts("S-10")
async def test_what_was_received_is_acknowledged() -> None:
    async with conversation() as talk:
        while (await talk.peer.until(Record.ACK)).fields["frames"] != 3:
            pass
        await talk.account.send(talk.peer, *[frames.data(1, b"x")] * 300)
        while (await talk.peer.until(Record.ACK)).fields["frames"] != 303:
            pass


@musts("S-9")
@pytest.mark.parametrize("count", [3, 2**62, 2**63 - 1])
async def test_an_ack_of_the_unsent(count: int) -> None:
    async with conversation() as talk:
        await talk.peer.send(frames.ack(count))
        await talk.peer.rest()
        assert isinstance(talk.session.exception, muxtcp.RemoteProtocolError)
        assert talk.session.exception.code is muxtcp.Code.BAD_ACK
        goodbye = [item for item in talk.peer.heard if item.record is Record.GOAWAY][-1]
        assert goodbye.fields["code"] == Code.BAD_ACK


@musts("S-9")
async def test_an_ack_that_goes_backwards_is_ignored() -> None:
    async with conversation() as talk:
        await talk.peer.send(frames.ack(2), frames.ack(1), frames.ack(0), frames.ack(2))
        await talk.still_lives()
        await talk.breaks()
        peer, _ = await talk.lab.resume(talk.ticket, talk.account.position)
        await talk.goes_on(peer)


@musts("S-11")
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


@musts("S-12")
async def test_the_end_of_the_stream_without_end_is_a_break() -> None:
    async with conversation() as talk:
        await talk.peer.send(frames.goaway(0, Code.SHUTDOWN, "soon"))
        await talk.peer.probe()
        await talk.breaks()
        assert not talk.session.closed
        peer, _ = await talk.lab.resume(talk.ticket, talk.account.position)
        await talk.goes_on(peer)


@musts("S-12")
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


@musts("S-12")
async def test_our_end_follows_the_last_goaway() -> None:
    async with conversation() as talk:
        talk.session.abort("enough")
        heard = [item.record for item in await talk.peer.rest() if not item.channel]
        assert heard[-2:] == [Record.GOAWAY, Record.END]


@musts("S-9", "S-12")
async def test_an_end_without_goaway() -> None:
    async with conversation() as talk:
        await talk.peer.send(frames.end())
        await talk.peer.rest()
        assert isinstance(talk.session.exception, muxtcp.RemoteProtocolError)
        assert talk.session.exception.code is muxtcp.Code.BAD_RECORD


async def test_an_expired_session_tells_how_far_it_had_come() -> None:
    async with conversation(wish=1) as talk:
        talk.account.takes(talk.peer)
        talk.peer.writer.transport.abort()
        await talk.session.wait_closed()
        assert isinstance(talk.session.exception, muxtcp.SessionLost)
        await refused(talk, talk.ticket.resume(talk.account.position), Why.EXPIRED, talk.theirs[:2])
        assert talk.lab.server.counters["expired"] == 1
