"""Section 11 at a server: what it grants, whom it refuses, and that a bad attempt disturbs nobody."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from conformance.lab import Lab, ensure, expect
from conformance.plays import right, wrong
from conformance.resuming import KEY, NONCE, WISH, talk
from conformance.stand import Role
from conformance.tables import HASTY, refused_by_a_server
from support import frames, tickets
from support.frames import PREFACE, Code, Record, Why
from support.raw import RawPeer
from support.tickets import FORGED, Asking, Position, changed

AT_A_SERVER: list[Role] = ["server"]


# --- granting ---------------------------------------------------------------------------------------------------------


@right("S-1", roles=AT_A_SERVER, each={str(wish): wish for wish in (1, 5_000, 90_000)})
async def no_more_is_granted_than_was_wished(lab: Lab, wish: int) -> None:
    peer, _ = await lab.begin(resume=30_000)
    told = (await peer.greet(resume=wish, ticket=NONCE)).fields
    ensure(told["resume"] <= min(wish, 30_000), f"at most {min(wish, 30_000)} ms", told["resume"])
    expect(len(told["ticket"]), 89 if told["resume"] else 0, "a ticket of")


@right("S-1", roles=AT_A_SERVER, each={"not wished": (0, 30_000), "not offered": (30_000, 0)})
async def no_ticket_without_time(lab: Lab, times: tuple[int, int]) -> None:
    wish, most = times
    peer, user = await lab.begin(resume=most)
    told = (await lab.greet(peer, user, **({"resume": wish, "ticket": NONCE} if wish else {}))).fields
    expect((told["resume"], told["ticket"]), (0, b""), "time and ticket")
    peer.end()
    await user.ended("lost")


@right("S-3", "S-4", roles=AT_A_SERVER)
async def a_server_without_resumption(lab: Lab) -> None:
    """It grants nothing: the answer is final, and a new session comes on the same connection."""
    peer, _ = await lab.begin(resume=0)
    ticket = tickets.Ticket(bytes(16), bytes(8), bytes(32))
    await peer.send(PREFACE, ticket.resume((0, 0, 1)))
    expect(Why((await peer.frame()).fields["why"]).name, "WRONG_INCARNATION", "RESUME_FAILED with")
    await peer.send(frames.hello(resume=WISH, ticket=NONCE))
    expect((await peer.until(Record.WELCOME)).fields["resume"], 0, "granted:")
    await peer.probe()


# --- refusals that disturb nobody -------------------------------------------------------------------------------------


@wrong("S-4", roles=AT_A_SERVER, each=FORGED)
async def a_forged_resume_disturbs_nobody(lab: Lab, forged: tuple[Asking, Why]) -> None:
    question, why = forged
    it = await talk(lab)
    await it.refused(question(it), why)
    await it.still_lives()


@wrong("S-4", roles=AT_A_SERVER)
async def a_wrong_key_disturbs_nobody(lab: Lab) -> None:
    it = await talk(lab, key=KEY)
    secret = tickets.hkdf(b"a key that is not theirs", NONCE, NONCE, it.ticket.id, it.ticket.incarnation)
    await it.refused(replace(it.ticket, secret=secret).resume(it.account.position), Why.DENIED)
    await it.still_lives()


# Where the fields of a RESUME begin, for numbers of one byte each.
FIELDS = {"version": (0, 1), "id": (1, 17), "incarnation": (17, 25), "generation": (25, 26), "nonce": (26, 42),
          "frames": (42, 43), "bytes": (43, 44), "oldest": (44, 45), "limits": (45, 61), "mac": (61, 93)}  # fmt: skip
FLIPPED = {"id": Why.UNKNOWN, "incarnation": Why.WRONG_INCARNATION}


@wrong("S-4", "S-13", roles=AT_A_SERVER, each={field: field for field in FIELDS})
async def a_flipped_bit_in_a_resume(lab: Lab, field: str) -> None:
    it = await talk(lab)
    it.ticket.resume(it.account.position)
    question = it.ticket.question
    ensure(len(question) == 93, "a RESUME of 93 bytes, or the fields are elsewhere", len(question))
    for at in range(*FIELDS[field]):
        bad = question[:at] + bytes([question[at] ^ 1 << at % 7]) + question[at + 1 :]
        if field == "version":
            await refused_by_a_server(await it.ask(frames.record(Record.RESUME, bad)), Code.BAD_FRAME)
        else:
            peer = await it.refused(frames.record(Record.RESUME, bad), FLIPPED.get(field, Why.DENIED))
            await leave(peer)
    await it.still_lives()
    it.ticket.generation = 0
    peer, _ = await it.resume()  # they did not use the generation up
    await it.goes_on(peer)


async def leave(peer: RawPeer) -> None:
    """End the connection, and wait until the server knows: it bears only so many that are in their handshake."""
    peer.writer.write_eof()
    await peer.rest()


@wrong("S-4", roles=AT_A_SERVER)
async def a_replayed_resume_is_stale(lab: Lab) -> None:
    it = await talk(lab)
    it.breaks()
    peer, _ = await it.resume()
    await it.goes_on(peer)
    await it.refused(frames.record(Record.RESUME, it.ticket.question), Why.STALE_GENERATION)
    await it.goes_on(peer)


@right("S-4", roles=AT_A_SERVER)
async def a_copy_of_a_resume_that_comes_first_proves_nothing(lab: Lab) -> None:
    """Who copied it cannot confirm it; the client is told to ask once more, and its new generation is good."""
    it = await talk(lab)
    question = it.ticket.resume(it.account.position)
    copied = await it.ask(question)
    await copied.until(Record.RESUME_OK)
    await it.refused(question, Why.BUSY)
    it.account.takes(it.peer)
    peer, _ = await it.resume()
    await it.goes_on(peer)


@wrong("S-4", roles=AT_A_SERVER)
async def a_delayed_attempt_after_a_later_one_is_stale(lab: Lab) -> None:
    it = await talk(lab)
    delayed = it.ticket.resume(it.account.position)
    it.breaks()
    peer, _ = await it.resume()
    await it.refused(delayed, Why.STALE_GENERATION)
    await it.goes_on(peer)


@right("S-3", roles=AT_A_SERVER)
async def a_new_session_after_a_final_refusal(lab: Lab) -> None:
    it = await talk(lab)
    peer = await it.refused(changed(id=bytes(16))(it), Why.UNKNOWN)
    await peer.send(frames.hello(resume=WISH, ticket=NONCE))
    ensure((await peer.until(Record.WELCOME)).fields["resume"], "some time to resume in", 0)
    await peer.send(frames.open(1))
    await peer.probe()
    await it.still_lives()


@wrong("S-3", roles=AT_A_SERVER)
async def a_second_resume_is_too_early(lab: Lab) -> None:
    it = await talk(lab)
    peer = await it.refused(changed(id=bytes(16))(it), Why.UNKNOWN)
    await peer.send(it.ticket.resume(it.account.position))
    await refused_by_a_server(peer, Code.EARLY_FRAME)
    await it.still_lives()


BEHIND = {"HELLO": frames.hello(), "PING": frames.ping(1), "OPEN": frames.open(1)}


@wrong("S-3", roles=AT_A_SERVER, each=BEHIND)
async def nothing_may_be_sent_behind_resume(lab: Lab, behind: bytes) -> None:
    it = await talk(lab)
    await refused_by_a_server(await it.ask(changed(id=bytes(16))(it) + behind), Code.EARLY_FRAME)
    await it.still_lives()


MALFORMED: dict[str, tuple[Callable[[bytes], bytes], Code]] = {
    "ends inside a field": (lambda said: said[:40], Code.BAD_FRAME),
    "a byte too many": (lambda said: said + b"?", Code.BAD_FRAME),
    "a number of ten bytes": (lambda said: said[:25] + b"\x80" * 9 + b"\x01" + said[26:], Code.BAD_FRAME),
    "16 KiB": (lambda said: said + bytes(16_384), Code.HANDSHAKE_TOO_LARGE),
}


@wrong("S-13", "H-5", roles=AT_A_SERVER, each=MALFORMED)
async def a_malformed_resume_disturbs_nobody(lab: Lab, malformed: tuple[Callable[[bytes], bytes], Code]) -> None:
    payload, code = malformed
    it = await talk(lab)
    it.ticket.resume(it.account.position)
    await refused_by_a_server(await it.ask(frames.record(Record.RESUME, payload(it.ticket.question))), code)
    await it.still_lives()


@wrong("H-5", roles=AT_A_SERVER, each={"at once": 0.0, "half way": 0.5, "near the end": 0.99})
async def a_resume_that_stalls_holds_nobody_up(lab: Lab, share: float) -> None:
    it = await talk(lab, handshake_timeout=HASTY)
    question = PREFACE + it.ticket.resume(it.account.position)
    stalled = await lab.dial()
    await stalled.send(question[: int(len(question) * share)])
    await it.still_lives()
    await refused_by_a_server(stalled, Code.HANDSHAKE_TIMEOUT)
    await it.still_lives()


# --- the fence, and the proof -----------------------------------------------------------------------------------------


@right("S-5", roles=AT_A_SERVER)
async def the_old_connection_is_fenced(lab: Lab) -> None:
    """It is dropped as soon as a good RESUME comes, and what it still delivers is ignored."""
    it = await talk(lab)
    old = it.peer
    peer = await it.ask(it.ticket.resume(it.account.position))
    expect(await it.answered(peer), it.theirs, "position")
    old.writer.write(frames.data(1, b"late"))
    try:
        while True:
            await old.more()
    except (EOFError, ConnectionError):
        await peer.send(it.ticket.confirm())
    await it.goes_on(peer)  # the user reads what came over the new connection, and nothing else


@right("S-5", roles=AT_A_SERVER)
async def the_newest_attempt_wins(lab: Lab) -> None:
    """Two at once: the fenced one cannot be confirmed any more, and does no harm."""
    it = await talk(lab)
    it.breaks()
    slow = replace(it.ticket)
    early = await it.ask(slow.resume(it.account.position))
    slow.read_ok((await early.until(Record.RESUME_OK)).payload[1:])
    it.ticket.generation = slow.generation
    peer, _ = await it.resume()
    await it.goes_on(peer)
    await early.send(slow.confirm())
    await early.rest()
    await it.goes_on(peer)


@wrong("H-5", "S-6", roles=AT_A_SERVER)
async def an_attempt_without_proof_is_closed_in_time_and_the_session_kept(lab: Lab) -> None:
    """Silently: the client may have proven itself already, and then REFUSED would be a violation."""
    it = await talk(lab, handshake_timeout=HASTY)
    it.breaks()
    stalled = await it.ask(it.ticket.resume(it.account.position))
    expect([item.record for item in await stalled.rest()], [Record.RESUME_OK], "said:")
    peer, _ = await it.resume()
    await it.goes_on(peer)


UNPROVEN = {
    "a wrong mac": frames.resume_confirm(bytes(32)),
    "a short mac": frames.resume_confirm(bytes(31)),
    "PING": frames.ping(1),
    "OPEN": frames.open(3),
    "HELLO": frames.hello(),
}


@wrong("S-6", roles=AT_A_SERVER, each=UNPROVEN)
async def a_wrong_proof_releases_nothing(lab: Lab, instead: bytes) -> None:
    it = await talk(lab)
    it.breaks()
    peer = await it.ask(it.ticket.resume(it.account.position))
    await peer.until(Record.RESUME_OK)
    await peer.send(instead)
    expect([item.record for item in await peer.rest()], [Record.RESUME_OK], "said:")
    peer, _ = await it.resume(it.account.before(0))  # still kept: nothing was released
    await it.goes_on(peer, 0)


# --- positions that cannot be -----------------------------------------------------------------------------------------

IMPOSSIBLE: dict[str, tuple[Callable[[Position], Position], Why]] = {
    "more frames than were sent": (lambda at: (at[0] + 1, at[1], at[2]), Why.POSITION_LOST),
    "2^62 frames": (lambda at: (2**62, at[1], at[2]), Why.POSITION_LOST),
    "2^63 - 1 of everything": (lambda at: (2**63 - 1,) * 3, Why.POSITION_LOST),
    "fewer frames than were acknowledged": (lambda at: (0, 0, 1), Why.POSITION_LOST),
    "frames that it lacks are gone": (lambda at: (at[0], at[1], 5), Why.POSITION_LOST),
    "a byte more": (lambda at: (at[0], at[1] + 1, at[2]), Why.DIVERGED),
    "a byte less": (lambda at: (at[0], at[1] - 1, at[2]), Why.DIVERGED),
    "2^62 bytes": (lambda at: (at[0], 2**62, at[2]), Why.DIVERGED),
}


@wrong("S-7", roles=AT_A_SERVER, each={
    f"{name}, {where}": (*how, where) for name, how in IMPOSSIBLE.items() for where in ("fenced", "parked")
})  # fmt: skip
async def an_impossible_position_ends_the_session(lab: Lab, how: Any) -> None:
    """With a good mac: this is the client, and the two have lost each other."""
    change, why, where = how
    it = await talk(lab)
    await it.peer.send(frames.ack(2))
    await it.peer.probe()
    if where == "parked":
        it.breaks()
    else:
        it.account.takes(it.peer)
    peer = await it.refused(it.ticket.resume(change(it.account.position)), why)
    await it.user.ended("lost")
    await peer.send(frames.hello())
    await peer.until(Record.WELCOME)


@right("S-7", roles=AT_A_SERVER)
async def the_lowest_possible_position(lab: Lab) -> None:
    it = await talk(lab)
    await it.peer.send(frames.ack(1))
    await it.peer.probe()
    it.breaks()
    at = it.account.before(1)
    peer, told = await it.resume((at[0], at[1], len(it.account.sent) + 1))
    expect(told[:2], it.theirs[:2], "position")
    ensure(told[2] in (1, 2), "the oldest frame, 1 or 2", told[2])
    await it.goes_on(peer, 1)


@right("S-12", roles=AT_A_SERVER)
async def a_session_that_ended_is_not_resumed(lab: Lab) -> None:
    it = await talk(lab)
    await it.peer.send(frames.goaway(0, Code.SHUTDOWN, "bye"), frames.end())
    it.peer.writer.write_eof()
    await it.user.ended("closed", str(int(Code.SHUTDOWN)))
    peer = await it.ask(it.ticket.resume(it.account.position))
    answer = await peer.frame()
    ensure(answer.record is Record.RESUME_FAILED and answer.fields["why"] in (Why.UNKNOWN, Why.EXPIRED),
           "RESUME_FAILED with UNKNOWN or EXPIRED", answer)  # fmt: skip
