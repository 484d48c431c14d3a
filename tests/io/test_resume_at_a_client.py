"""What the user of a client hears of a session that a raw server carries on, or does not: states, causes, counts."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from support import frames, tickets
from support.frames import PREFACE, Code, Kind, Record, Why
from support.raw import RawPeer
from support.rawresume import KEY, ClientLab, client_lab

import muxtcp

AT_ONCE = {"backoff": muxtcp.constant(0.0, jitter=0.0)}


class Conversation:
    """A resumable session with some traffic: channel 1 is open, each side has sent two messages, one frame each."""

    def __init__(self, lab: ClientLab, peer: RawPeer) -> None:
        self.lab, self.peer, self.account, self.ticket = lab, peer, lab.account, lab.ticket
        self.session: muxtcp.Session
        self.channel: muxtcp.Channel

    async def talk(self) -> None:
        self.session = await self.lab.user.session()
        self.channel = await self.lab.user.open("talk")
        await self.channel.send(b"one")
        await self.channel.send(b"two")
        await self.peer.until(Kind.DATA)
        await self.peer.until(Kind.DATA)
        await self.account.send(self.peer, frames.data(1, b"ONE"), frames.data(1, b"TWO"))
        assert [await self.channel.recv(), await self.channel.recv()] == [b"ONE", b"TWO"]

    @property
    def theirs(self) -> tickets.Position:
        """What the library must say of itself."""
        return len(self.account.sent), sum(map(len, self.account.sent)), 1

    def breaks(self) -> None:
        self.account.takes(self.peer)
        self.peer.writer.transport.abort()

    async def goes_on(self, peer: RawPeer) -> None:
        self.peer = peer
        await self.account.send(peer, frames.data(1, b"MORE"))
        assert await self.channel.recv() == b"MORE"
        await self.channel.send(b"more")
        while (await peer.until(Kind.DATA)).payload != b"more":
            pass

    async def lost(self) -> muxtcp.SessionLost:
        await self.session.wait_closed()
        assert isinstance(self.session.exception, muxtcp.SessionLost)
        with pytest.raises(muxtcp.SessionLost):
            await self.channel.recv()
        assert self.lab.path() == "CONNECTING CONNECTED RECONNECTING LOST"
        assert self.lab.states[-1][1].cause is self.session.exception
        return self.session.exception


@asynccontextmanager
async def conversation(*, psk: bytes | None = None, **options: Any) -> AsyncIterator[Conversation]:
    async with client_lab(psk=psk, **AT_ONCE | options) as lab:
        talk = Conversation(lab, await lab.agree())
        await talk.talk()
        yield talk


async def test_a_wish_comes_with_a_nonce() -> None:
    async with client_lab(resume=12.5) as lab:
        hello = await (await lab.peer()).until(Record.HELLO)
        assert hello.fields["resume"] == 12_500
        assert len(hello.fields["ticket"]) == 16
        assert hello.fields["replay_limit"] == muxtcp.Config().replay_limit


async def test_a_server_need_not_grant_anything() -> None:
    async with client_lab() as lab:
        peer = await lab.agree(granted=0, ticket=b"")
        session = await lab.user.session()
        assert session.granted == 0.0
        await peer.until(Record.PING)
        peer.writer.transport.abort()
        await session.wait_closed()
        assert lab.path() == "CONNECTING CONNECTED DISCONNECTED"


async def test_more_than_was_wished() -> None:
    async with client_lab(resume=1.0) as lab:
        await lab.agree(granted=1_001)
        with pytest.raises(muxtcp.HandshakeError, match="resume for 1001 ms; 1000 were wished") as caught:
            await lab.user.tasks[0]
        assert caught.value.code is muxtcp.Code.BAD_PARAMETER


TICKET = tickets.Ticket(bytes(range(16)), b"process1", bytes(range(32)))


@pytest.mark.parametrize(
    ("wire", "psk", "code", "finding"),
    [
        (TICKET.welcome()[:-1] + b"?", None, Code.UNAUTHENTICATED, "a secret that its own check contradicts"),
        (TICKET.welcome(derived=True), KEY, Code.UNAUTHENTICATED, "the server has another pre-shared key"),
        (TICKET.welcome(), KEY, Code.UNAUTHENTICATED, "this side has a pre-shared key .* and the server none"),
        (TICKET.welcome(derived=True), None, Code.UNAUTHENTICATED, "the server has a pre-shared key .* this side none"),
        (TICKET.welcome()[:40] + b"\x02" + TICKET.welcome()[41:], None, Code.BAD_PARAMETER, "a secret of kind 2"),
        (TICKET.welcome()[:40] + b"\x01" + TICKET.welcome()[41:], KEY, Code.BAD_PARAMETER, "too many"),
        (TICKET.welcome(derived=True)[:40] + bytes(17), None, Code.BAD_PARAMETER, "ends inside a field"),
    ],
    ids=["check", "another key", "no key there", "no key here", "kind 2", "57 and 89", "89 and 57"],
)
async def test_a_server_that_is_not_known(wire: bytes, psk: bytes | None, code: Code, finding: str) -> None:
    async with client_lab(psk=psk) as lab:
        peer = await lab.agree(ticket=wire)
        with pytest.raises(muxtcp.HandshakeError, match=finding) as caught:
            await lab.user.tasks[0]
        assert caught.value.code == code
        assert Code([item for item in await peer.rest() if item.record is Record.GOAWAY][-1].fields["code"]) is code


@pytest.mark.parametrize("have", [0, 1, 2, 3])
async def test_a_session_is_carried_on(have: int) -> None:
    async with conversation() as talk:
        talk.breaks()
        peer, told = await talk.lab.asked()
        assert told == talk.theirs
        await talk.channel.send_eof()  # may be written at once when there is a connection
        await peer.nothing()
        await peer.send(PREFACE, talk.ticket.resume_ok(talk.account.before(have)))
        assert (await peer.frame()).payload[1:] == talk.ticket.confirm_mac()
        await peer.until(Kind.FINISH)
        lacking = [frames.frame(*item) for item in talk.account.received[have:]]
        assert [frames.frame(*item) for item in peer.heard if item.channel] == [*lacking, frames.finish(1)]
        state, info = talk.lab.states[-1]
        assert (state, info.replayed) == (muxtcp.State.RESUMED, 3 - have)
        assert talk.lab.path() == "CONNECTING CONNECTED RECONNECTING RESUMED"


@pytest.mark.parametrize("code", [Code.BUSY, Code.LIMITS, Code.SHUTDOWN])
async def test_a_server_that_is_out_of_something_is_asked_again(code: Code) -> None:
    async with conversation() as talk:
        talk.breaks()
        peer, _ = await talk.lab.asked()
        await peer.send(PREFACE, frames.refused(code))
        peer, _ = await talk.lab.resume()
        await talk.goes_on(peer)


@pytest.mark.parametrize("why", [why for why in Why if why is not Why.BUSY])
async def test_a_final_refusal_is_the_end(why: Why) -> None:
    async with conversation() as talk:
        talk.breaks()
        peer, _ = await talk.lab.asked()
        await peer.send(PREFACE, frames.resume_failed(why))
        lost = await talk.lost()
        assert why.name.lower().replace("_", " ") in lost.cause
        assert lost.sent == (0, 2, 0)


@pytest.mark.parametrize(("have", "sent"), [(1, (0, 0, 2)), (2, (1, 0, 1)), (3, (2, 0, 0))])
async def test_a_server_that_remembers_makes_the_loss_exact(have: int, sent: tuple[int, int, int]) -> None:
    async with conversation() as talk:
        talk.breaks()
        peer, _ = await talk.lab.asked()
        await peer.send(PREFACE, frames.resume_failed(Why.EXPIRED, 0, talk.account.before(have)[:2]))
        assert (await talk.lost()).sent == sent


async def test_who_iterates_gets_a_new_session_on_the_same_connection() -> None:
    sessions: list[muxtcp.Session] = []
    async with client_lab() as lab:
        connector = muxtcp.connect("127.0.0.1", lab.port, resume=30.0)

        async def loop() -> None:
            async for session in connector:
                sessions.append(session)
                await session.wait_closed()

        await lab.agree()
        await lab.user.session()
        looping = lab.user.later(loop())
        peer = await lab.agree()
        await peer.until(Record.PING)
        peer.writer.transport.abort()
        peer = await lab.peer()
        assert (await peer.frame()).record is Record.RESUME
        await peer.send(PREFACE, frames.resume_failed(Why.UNKNOWN))
        assert (await peer.frame()).record is Record.HELLO
        await peer.send(frames.welcome(resume=30_000, ticket=lab.ticket.welcome()))
        await peer.until(Record.PING)
        await peer.send(frames.open(2))
        assert (await peer.until(Kind.RESET)).channel == 2
        assert isinstance(sessions[0].exception, muxtcp.SessionLost)
        assert sessions[1].granted == 30.0
        connector.stop()
        sessions[1].abort()
        await looping


Answering = Callable[[Conversation], bytes]


def changed(**values: Any) -> Answering:
    return lambda talk: replaced(talk, **values).resume_ok(talk.account.position)


def replaced(talk: Conversation, **values: Any) -> tickets.Ticket:
    other = replace(talk.ticket, **values)
    other.question = talk.ticket.question
    return other


def at(change: Callable[[tickets.Position], tickets.Position]) -> Answering:
    return lambda talk: talk.ticket.resume_ok(change(talk.account.position))


WRONG: dict[str, tuple[Answering, str]] = {
    "another secret": (changed(secret=bytes(32)), "denied"),
    "another generation": (changed(generation=7), "stale generation"),
    "an answer to another question": (
        lambda talk: replace(talk.ticket).resume_ok(talk.account.position),
        "denied",
    ),
    "more frames than were sent": (at(lambda it: (it[0] + 1, it[1], 1)), "position lost"),
    "2^62 frames": (at(lambda it: (2**62, it[1], 1)), "position lost"),
    "fewer frames than were acknowledged": (at(lambda it: (0, 0, 1)), "position lost"),
    "frames that we lack are gone": (at(lambda it: (it[0], it[1], 4)), "position lost"),
    "other sizes": (at(lambda it: (it[0], it[1] + 1, 1)), "diverged"),
    "2^63 - 1 bytes": (at(lambda it: (it[0], 2**63 - 1, 1)), "diverged"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_server_that_cannot_be_right(name: str) -> None:
    answer, why = WRONG[name]
    async with conversation() as talk:
        await talk.peer.send(frames.ack(3))
        await talk.peer.probe()
        talk.breaks()
        peer, _ = await talk.lab.asked()
        await peer.send(PREFACE, answer(talk))
        assert why in (await talk.lost()).cause
        assert [item.record for item in await peer.rest()] == [Record.RESUME]


@pytest.mark.parametrize(
    ("instead", "code"),
    [
        (frames.record(Record.RESUME_OK), Code.BAD_FRAME),
        (frames.record(Record.RESUME_OK, bytes(60)), Code.BAD_FRAME),
        (frames.record(Record.RESUME_OK, b"\x80" * 60), Code.BAD_FRAME),
        (frames.record(Record.RESUME_FAILED, b"\x0a\0\0"), Code.BAD_FRAME),
        (frames.record(Record.RESUME_FAILED, b"\x01\0\x02"), Code.BAD_FRAME),
        (frames.record(Record.RESUME, bytes(93)), Code.EARLY_FRAME),
        (frames.record(Record.RESUME_CONFIRM, bytes(32)), Code.EARLY_FRAME),
        (frames.welcome(), Code.EARLY_FRAME),
        (frames.ping(1), Code.EARLY_FRAME),
        (frames.open(2), Code.EARLY_FRAME),
    ],
)
async def test_something_else_in_place_of_the_answer(instead: bytes, code: Code) -> None:
    async with conversation() as talk:
        talk.breaks()
        peer, _ = await talk.lab.asked()
        await peer.send(PREFACE, instead)
        assert code.name in (await talk.lost()).cause
        assert [item.record for item in await peer.rest()] == [Record.RESUME]
