"""Plays out of `tests/vectors`: wrongs after the handshake and in it, and good handshakes of every form."""

from functools import partial
from typing import Any

from conformance.lab import Lab, User, ensure, expect, fails
from conformance.plays import add, right, wrong
from conformance.stand import ROLES
from support import frames
from support.frames import PREFACE, Code, Kind, Record
from support.raw import RawPeer
from support.vectors import load, raw

VIOLATIONS = load("violations")
OPENS = load("opens")
HANDSHAKES = load("handshakes")

HASTY = 200  # ms for a handshake


# --- after the handshake ----------------------------------------------------------------------------------------------


async def obey(command: dict[str, Any], lab: Lab, peer: RawPeer, user: User) -> None:
    """Have the user of the implementation do it, and wait until its frame has arrived here."""
    match command:
        case {"do": "open", "name": name, "mode": mode}:
            await user.open(name, mode)
            await peer.until(Kind.OPEN)
        case {"do": "finish", "channel": number}:
            await user.finish(number)
            await peer.until(Kind.FINISH, number)
        case {"do": "reset", "channel": number, "code": code}:
            await user.reset(number, code)
            await peer.until(Kind.RESET, number)
        case {"do": "go_away"}:
            lab.later(user.leave())
            await peer.until(Record.GOAWAY)


async def bad_open(vector: dict[str, Any], lab: Lab) -> None:
    peer, user = await lab.meet()
    await peer.send(frames.frame(lab.ours, Kind.OPEN, raw(vector["hex"])))
    await lab.violated(peer, user, Code[vector["code"]])


async def after_the_handshake(vector: dict[str, Any], lab: Lab) -> None:
    peer, user = await lab.meet(**VIOLATIONS["announced"])
    for step in vector["steps"]:
        if isinstance(step, dict) and "do" in step:
            await obey(step, lab, peer, user)
        else:
            await peer.send(raw(step))
    if vector["code"] is None:
        await peer.probe()
    else:
        await lab.violated(peer, user, Code[vector["code"]])


@wrong("E-4")
async def after_a_violation_nothing_is_answered(lab: Lab) -> None:
    peer, user = await lab.meet()
    one, other = lab.ours, lab.ours + 2
    late = frames.open(other, "echo") + frames.data(other, b"late") + frames.ping(5)
    await peer.send(frames.open(one) + frames.frame(one, 7) + late)
    await lab.violated(peer, user, Code.BAD_KIND)
    said = [item for item in peer.heard if item.record is Record.PONG or item.channel == other]
    expect(said, [], "said after the violation:")


# --- in the handshake -------------------------------------------------------------------------------------------------


async def refused_by_a_server(peer: RawPeer, code: Code) -> None:
    last = (await peer.rest())[-1]
    expect((last.record, Code(last.fields["code"]).name), (Record.REFUSED, code.name), "the last record, and its code,")


async def given_up(lab: Lab, peer: RawPeer, code: Code) -> None:
    """A client ends the handshake, and tells its user why."""
    [_, named, *_] = await fails(lab.connecting)
    expect(Code(int(named)).name, code.name, "refused with")
    for item in (await peer.rest())[1:]:
        expect((item.record, Code(item.fields["code"]).name), (Record.GOAWAY, code.name), "a goodbye, if any,")


async def bad_handshake(vector: dict[str, Any], lab: Lab) -> None:
    code = Code[vector["code"]]
    peer, _ = await lab.begin()
    if lab.role == "client":
        await peer.until(Record.HELLO)
        await peer.send(raw(vector["hex"]))
        await given_up(lab, peer, code)
        return
    await peer.send(raw(vector["hex"]))
    if vector["name"] == "text":
        line = await peer.reader.read()
        lab.should(line.isascii() and line.endswith(b"\n") and b"muxtcp" in line, "a readable line for text")
    else:
        await refused_by_a_server(peer, code)


@wrong("H-5", roles=["server"], each={
    "nothing": b"", "half a preface": PREFACE[:3], "a preface": PREFACE,
    "most of a HELLO": PREFACE + frames.hello()[:-1],
})  # fmt: skip
async def a_server_does_not_wait_for_ever(lab: Lab, sent: bytes) -> None:
    peer, _ = await lab.begin(handshake_timeout=HASTY)
    await peer.send(sent)
    await refused_by_a_server(peer, Code.HANDSHAKE_TIMEOUT)


@wrong("H-5", roles=["client"])
async def a_client_does_not_wait_for_ever(lab: Lab) -> None:
    peer, _ = await lab.begin(handshake_timeout=HASTY)
    await peer.send(PREFACE)
    await fails(lab.connecting)
    expect([item.record for item in await peer.rest()], [Record.HELLO], "said:")


async def good_handshake(vector: dict[str, Any], lab: Lab) -> None:
    peer, _ = await lab.begin()
    if lab.role == "client":
        expect((await peer.until(Record.HELLO)).fields["version"], [1, 1], "versions")
        await peer.send(PREFACE, raw(vector["hex"]))
        await lab.connecting
    else:
        await peer.send(PREFACE, raw(vector["hex"]))
        expect((await peer.until(Record.WELCOME)).fields["version"], [1], "version")
    await peer.probe()


async def refusal(vector: dict[str, Any], lab: Lab) -> None:
    peer, _ = await lab.begin()
    await peer.until(Record.HELLO)
    await peer.send(PREFACE, raw(vector["hex"]))
    told = vector["fields"]
    words = ["refused", str(told["code"]), str(told["retry_after"]), *told["reason"].split(" ")]
    expect(await fails(lab.connecting), words, "what the user hears")


@right("H-5")
async def a_handshake_is_small(lab: Lab) -> None:
    peer, _ = await lab.meet()
    [said] = [item for item in peer.heard if item.record in (Record.HELLO, Record.WELCOME)]
    ensure(len(said.payload) <= 16_384, "at most 16,384 bytes", len(said.payload))


for case in VIOLATIONS["cases"]:
    kind = "right" if case["code"] is None else "wrong"
    add(kind, case["musts"], case["receiver"], case["name"], partial(after_the_handshake, case))
for at, case in enumerate(OPENS["bad"]):  # in turns, for a payload means the same to both
    add("wrong", case["musts"], ROLES[at % 2], f"OPEN: {case['name']}", partial(bad_open, case))
for case in HANDSHAKES["bad"]:
    add("wrong", case["musts"], case["receiver"], f"{case['name']} (handshake)", partial(bad_handshake, case))
for case in HANDSHAKES["records"]:
    role = "server" if case["record"] == "HELLO" else "client"
    play = refusal if case["record"] == "REFUSED" else good_handshake
    add("right", case.get("musts", ["H-7", "H-8"]), role, f"a {case['record']}: {case['name']}", partial(play, case))
