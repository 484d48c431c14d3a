"""Section 11 at a client: whom it believes, what it asks, and which answers it does not take."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from conformance.lab import Lab, expect, fails
from conformance.plays import right, wrong
from conformance.resuming import KEY, WISH, Talk, talk
from conformance.stand import Role
from conformance.tables import given_up
from support import frames, tickets
from support.frames import PREFACE, Code, Record, Why
from support.raw import RawPeer
from support.tickets import Position

AT_A_CLIENT: list[Role] = ["client"]
TICKET = tickets.Ticket(bytes(range(16)), b"process1", bytes(range(32)))


# --- agreeing ---------------------------------------------------------------------------------------------------------


@right("S-1", roles=AT_A_CLIENT)
async def a_wish_comes_with_a_nonce(lab: Lab) -> None:
    peer, _ = await lab.begin(resume=12_500, replay_limit=262_144)
    told = (await peer.until(Record.HELLO)).fields
    expect((told["resume"], len(told["ticket"]), told["replay_limit"]), (12_500, 16, 262_144), "time, nonce, log:")


@right("S-1", roles=AT_A_CLIENT)
async def a_server_need_not_grant_anything(lab: Lab) -> None:
    peer, user = await lab.begin(resume=WISH)
    await lab.greet(peer, user)
    peer.writer.transport.abort()
    await user.ended("lost")


@wrong("S-1", roles=AT_A_CLIENT)
async def more_than_was_wished(lab: Lab) -> None:
    peer, _ = await lab.begin(resume=1_000)
    await peer.greet(resume=1_001, ticket=TICKET.welcome())
    await given_up(lab, peer, Code.BAD_PARAMETER)


SECRETS = {
    "another check": (TICKET.welcome()[:-1] + b"?", None, Code.UNAUTHENTICATED),
    "another key": (TICKET.welcome(derived=True), KEY, Code.UNAUTHENTICATED),
    "no key there": (TICKET.welcome(), KEY, Code.UNAUTHENTICATED),
    "no key here": (TICKET.welcome(derived=True), None, Code.UNAUTHENTICATED),
    "a secret of kind 2": (TICKET.welcome()[:40] + b"\x02" + TICKET.welcome()[41:], None, Code.BAD_PARAMETER),
    "89 bytes of kind 1": (TICKET.welcome()[:40] + b"\x01" + TICKET.welcome()[41:], KEY, Code.BAD_PARAMETER),
    "57 bytes of kind 0": (TICKET.welcome(derived=True)[:40] + bytes(17), None, Code.BAD_PARAMETER),
}


@wrong("S-2", roles=AT_A_CLIENT, each=SECRETS)
async def a_server_that_is_not_known(lab: Lab, known: Any) -> None:
    wire, key, code = known
    peer, _ = await lab.begin(resume=WISH, **({"key": key.hex()} if key else {}))
    await peer.greet(resume=WISH, ticket=wire)
    expect((await fails(lab.connecting))[1], str(int(code)), "what the user hears: code")
    await lab.goodbye(peer, code)


# --- asking -----------------------------------------------------------------------------------------------------------


@right("S-3", "S-4", roles=AT_A_CLIENT)
async def each_attempt_has_a_higher_generation(lab: Lab) -> None:
    """Also when the one before came to nothing, wherever it was; `Ticket.read_resume` looks at it."""
    it = await talk(lab)
    it.breaks()
    (await lab.dial()).writer.transport.abort()
    answered, _ = await it.asked()
    await answered.nothing()
    await answered.send(PREFACE, it.ticket.resume_ok(it.account.position)[:-1])
    answered.end()
    before = it.ticket.generation
    confirmed, _ = await it.resume()
    expect(it.ticket.generation, before + 1, "generation")
    confirmed.writer.transport.abort()
    peer, _ = await it.resume()
    expect(it.ticket.generation, before + 2, "generation")
    await it.goes_on(peer)


@right("S-3", roles=AT_A_CLIENT)
async def busy_is_asked_again(lab: Lab) -> None:
    it = await talk(lab)
    it.breaks()
    for _ in range(3):
        peer, _ = await it.asked()
        await peer.send(PREFACE, frames.resume_failed(Why.BUSY, 1))
    peer, _ = await it.resume()
    await it.goes_on(peer)


@right("S-3", roles=AT_A_CLIENT, each={why.name: why for why in Why if why is not Why.BUSY})
async def a_final_refusal_is_the_end(lab: Lab, why: Why) -> None:
    it = await talk(lab)
    it.breaks()
    peer, _ = await it.asked()
    await peer.send(PREFACE, frames.resume_failed(why))
    await it.user.ended("lost")


# --- answers that cannot be right -------------------------------------------------------------------------------------

Answering = Callable[[Talk], bytes]


def changed(**values: Any) -> Answering:
    def answer(it: Talk) -> bytes:
        other = replace(it.ticket, **values)
        other.question = it.ticket.question
        return other.resume_ok(it.account.position)

    return answer


def at(change: Callable[[Position], Position]) -> Answering:
    return lambda it: it.ticket.resume_ok(change(it.account.position))


WRONG: dict[str, Answering] = {
    "another secret": changed(secret=bytes(32)),
    "another generation": changed(generation=7),
    "an answer to another question": lambda it: replace(it.ticket).resume_ok(it.account.position),
    "more frames than were sent": at(lambda it: (it[0] + 1, it[1], 1)),
    "2^62 frames": at(lambda it: (2**62, it[1], 1)),
    "fewer frames than were acknowledged": at(lambda it: (0, 0, 1)),
    "frames that it lacks are gone": at(lambda it: (it[0], it[1], 4)),
    "other sizes": at(lambda it: (it[0], it[1] + 1, 1)),
    "2^63 - 1 bytes": at(lambda it: (it[0], 2**63 - 1, 1)),
}


async def lost(it: Talk, peer: RawPeer) -> None:
    """The session is over, and nothing of it was said to the server."""
    await it.user.ended("lost")
    said = [item.record for item in await peer.rest()]
    expect([record for record in said if record is not Record.GOAWAY], [Record.RESUME], "said:")


@wrong("S-6", "S-7", roles=AT_A_CLIENT, each=WRONG)
async def a_server_that_cannot_be_right(lab: Lab, answer: Answering) -> None:
    it = await talk(lab)
    await it.peer.send(frames.ack(3))
    await it.peer.probe()
    it.breaks()
    peer, _ = await it.asked()
    await peer.send(PREFACE, answer(it))
    await lost(it, peer)


# Where the fields of a RESUME_OK begin, for numbers of one byte each.
FIELDS = {"generation": 0, "nonce": 1, "frames": 17, "bytes": 18, "oldest": 19, "mac": 20}


@wrong("S-6", "S-7", roles=AT_A_CLIENT, each=FIELDS)
async def a_flipped_bit_in_a_resume_ok(lab: Lab, place: int) -> None:
    it = await talk(lab)
    it.breaks()
    peer, _ = await it.asked()
    it.ticket.resume_ok(it.account.position)
    good = it.ticket.answer
    await peer.send(
        PREFACE, frames.record(Record.RESUME_OK, good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
    )
    await lost(it, peer)


INSTEAD = {
    "an empty RESUME_OK": frames.record(Record.RESUME_OK),
    "a RESUME_OK that is too long": frames.record(Record.RESUME_OK, bytes(60)),
    "a RESUME_OK with a number that is too long": frames.record(Record.RESUME_OK, b"\x80" * 60),
    "a RESUME_FAILED for a reason that is none": frames.record(Record.RESUME_FAILED, b"\x09\0\0"),
    "a RESUME_FAILED that knows 2": frames.record(Record.RESUME_FAILED, b"\x01\0\x02"),
    "RESUME": frames.record(Record.RESUME, bytes(93)),
    "RESUME_CONFIRM": frames.record(Record.RESUME_CONFIRM, bytes(32)),
    "WELCOME": frames.welcome(),
    "PING": frames.ping(1),
    "OPEN": frames.open(2),
}


@wrong("S-13", roles=AT_A_CLIENT, each=INSTEAD)
async def something_else_in_place_of_the_answer(lab: Lab, instead: bytes) -> None:
    it = await talk(lab)
    it.breaks()
    peer, _ = await it.asked()
    await peer.send(PREFACE, instead)
    await lost(it, peer)
