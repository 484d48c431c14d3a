"""What a server counts of attempts to resume that do not succeed, and what its user hears of them."""

from collections.abc import Callable

import pytest
from support import frames
from support.frames import Code, Record, Why
from support.rawresume import Conversation, conversation, refused
from support.tickets import FORGED, changed

import muxtcp

HASTY = muxtcp.Config(handshake_timeout=0.05)


async def broken_off(talk: Conversation, question: bytes, code: Code) -> None:
    """Ask, and be refused with a code of section 12."""
    peer = await talk.lab.ask(question)
    last = (await peer.rest())[-1]
    assert (last.record, last.fields["code"]) == (Record.REFUSED, code)
    await talk.lab.counted(code.name)


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_resume_disturbs_nobody(name: str) -> None:
    question, why = FORGED[name]
    async with conversation() as talk:
        await refused(talk, question(talk), why)
        await talk.still_lives()


async def test_a_replayed_resume_is_stale() -> None:
    async with conversation() as talk:
        await talk.breaks()
        peer, _ = await talk.lab.resume(talk.ticket, talk.account.position)
        await talk.goes_on(peer)
        await refused(talk, frames.record(Record.RESUME, talk.ticket.question), Why.STALE_GENERATION)
        await talk.goes_on(peer)
        assert talk.session.resumptions == 1


async def test_a_copy_of_a_resume_that_comes_first_proves_nothing() -> None:
    """Who copied it cannot confirm it; the client is told to ask once more, and its new generation is good."""
    async with conversation() as talk:
        question = talk.ticket.resume(talk.account.position)
        copied = await talk.lab.ask(question)
        await copied.until(Record.RESUME_OK)
        await refused(talk, question, Why.BUSY)
        peer, _ = await talk.lab.resume(talk.ticket, talk.account.position)
        await talk.goes_on(peer)


async def test_a_new_session_after_a_final_refusal() -> None:
    async with conversation() as talk:
        peer = await refused(talk, changed(id=bytes(16))(talk), Why.UNKNOWN)
        await peer.send(frames.hello(resume=30_000, ticket=bytes(16)))
        assert (await peer.until(Record.WELCOME)).fields["resume"] == 30_000
        await peer.send(frames.open(1, "talk"))
        await peer.probe()
        assert len(talk.lab.server.sessions) == 2
        await talk.still_lives()


async def test_a_second_resume_is_too_early() -> None:
    async with conversation() as talk:
        peer = await refused(talk, changed(id=bytes(16))(talk), Why.UNKNOWN)
        await peer.send(talk.ticket.resume(talk.account.position))
        last = (await peer.rest())[-1]
        assert (last.record, last.fields["code"]) == (Record.REFUSED, Code.EARLY_FRAME)
        await talk.lab.counted("EARLY_FRAME")
        await talk.still_lives()


@pytest.mark.parametrize("behind", [frames.hello(), frames.ping(1), frames.open(1)], ids=["HELLO", "PING", "OPEN"])
async def test_nothing_may_be_sent_behind_resume(behind: bytes) -> None:
    async with conversation() as talk:
        await broken_off(talk, changed(id=bytes(16))(talk) + behind, Code.EARLY_FRAME)
        await talk.still_lives()
        assert len(talk.lab.server.sessions) == 1


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (lambda said: said[:40], Code.BAD_FRAME),
        (lambda said: said + b"?", Code.BAD_FRAME),
        (lambda said: said[:25] + b"\x80" * 9 + b"\x01" + said[26:], Code.BAD_FRAME),
        (lambda said: said + bytes(16_384), Code.HANDSHAKE_TOO_LARGE),
    ],
    ids=["ends inside a field", "a byte too many", "a number of ten bytes", "16 KiB"],
)
async def test_a_malformed_resume_disturbs_nobody(payload: Callable[[bytes], bytes], code: Code) -> None:
    async with conversation() as talk:
        talk.ticket.resume(talk.account.position)
        await broken_off(talk, frames.record(Record.RESUME, payload(talk.ticket.question)), code)
        await talk.still_lives()


async def test_an_attempt_without_proof_is_closed_in_time_and_the_session_kept() -> None:
    """Silently: the client may have proven itself already, and then REFUSED would be a violation."""
    async with conversation(config=HASTY) as talk:
        stalled = await talk.lab.ask(talk.ticket.resume(talk.account.position))
        assert [item.record for item in await stalled.rest()] == [Record.RESUME_OK]
        await talk.lab.counted("HANDSHAKE_TIMEOUT")
        assert not talk.session.closed
        peer, _ = await talk.lab.resume(talk.ticket, talk.account.position)
        await talk.goes_on(peer)


@pytest.mark.parametrize(
    ("instead", "counter"),
    [
        (frames.resume_confirm(bytes(32)), "resume_denied"),
        (frames.resume_confirm(bytes(31)), "resume_denied"),
        (frames.ping(1), "EARLY_FRAME"),
        (frames.open(3), "EARLY_FRAME"),
        (frames.hello(), "EARLY_FRAME"),
    ],
    ids=["a wrong mac", "a short mac", "PING", "OPEN", "HELLO"],
)
async def test_a_wrong_proof_releases_nothing(instead: bytes, counter: str) -> None:
    async with conversation() as talk:
        await talk.breaks()
        peer = await talk.lab.ask(talk.ticket.resume(talk.account.position))
        await peer.until(Record.RESUME_OK)
        await peer.send(instead)
        assert [item.record for item in await peer.rest()] == [Record.RESUME_OK]
        await talk.lab.counted(counter)
        peer, _ = await talk.lab.resume(talk.ticket, talk.account.before(0))  # still kept: nothing was released
        await talk.goes_on(peer)


IMPOSSIBLE = {
    "more frames than were sent": (lambda at: (at[0] + 1, at[1], at[2]), Why.POSITION_LOST),
    "2^62 frames": (lambda at: (2**62, at[1], at[2]), Why.POSITION_LOST),
    "2^63 - 1 of everything": (lambda at: (2**63 - 1,) * 3, Why.POSITION_LOST),
    "fewer frames than were acknowledged": (lambda at: (0, 0, 1), Why.POSITION_LOST),
    "frames that we lack are gone": (lambda at: (at[0], at[1], 5), Why.POSITION_LOST),
    "a byte more": (lambda at: (at[0], at[1] + 1, at[2]), Why.DIVERGED),
    "a byte less": (lambda at: (at[0], at[1] - 1, at[2]), Why.DIVERGED),
    "2^62 bytes": (lambda at: (at[0], 2**62, at[2]), Why.DIVERGED),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
@pytest.mark.parametrize("alive", [True, False], ids=["fenced", "parked"])
async def test_an_impossible_position_ends_the_session(name: str, alive: bool) -> None:
    """With a good mac: this is the client, and the two have lost each other."""
    change, why = IMPOSSIBLE[name]
    async with conversation() as talk:
        await talk.peer.send(frames.ack(2))
        await talk.peer.probe()
        if not alive:
            await talk.breaks()
        peer = await refused(talk, talk.ticket.resume(change(talk.account.position)), why)
        await talk.session.wait_closed()
        assert isinstance(talk.session.exception, muxtcp.SessionLost)
        with pytest.raises(muxtcp.SessionLost):
            await talk.channel.recv()
        await peer.send(frames.hello())
        await peer.until(Record.WELCOME)
