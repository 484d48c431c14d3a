"""Plays by the rules: what the implementation itself says and does, where the specification demands it.

Whatever arrives has passed the strict readers of `support.frames`, in every play: forms are right, or it fails.
"""

from typing import Any

from conformance.lab import Lab, User, cost, ensure, expect, fails, pattern
from conformance.plays import right
from support import frames
from support.frames import PREFACE, Code, Kind, Record
from support.raw import RawPeer

# --- handshake and records --------------------------------------------------------------------------------------------


@right("H-1", "H-2", "H-3", "H-6", "H-9", roles=["client"])
async def a_client_says_hello_and_waits(lab: Lab) -> None:
    peer, _ = await lab.begin()
    hello = await peer.frame()
    expect(hello.record, Record.HELLO, "the first frame")
    await peer.send(PREFACE)
    await peer.nothing()
    await peer.send(frames.welcome())
    await lab.connecting


@right("H-1", "H-2", "H-6", "H-9", roles=["server"])
async def a_server_chooses_the_highest_common_version(lab: Lab) -> None:
    peer, _ = await lab.begin()
    await peer.send(PREFACE, frames.hello(1, 9))
    welcome = await peer.frame()
    expect(welcome.record, Record.WELCOME, "the first frame")
    expect(welcome.fields["version"], [1], "version")


@right("H-4", "H-8")
async def the_handshake_is_said_once(lab: Lab) -> None:
    peer, user = await lab.meet()
    await user.open()
    await peer.probe()
    told = [item.record for item in peer.heard if item.record in (Record.HELLO, Record.WELCOME)]
    expect(len(told), 1, "records of the handshake:")


@right("F-1", "F-2", "F-3", "F-4", "F-6", "F-7", "F-8", "R-1")
async def whatever_is_said_has_the_right_form(lab: Lab) -> None:
    """Each kind of frame and record that a user can bring about, read by a reader that forgives nothing."""
    peer, user = await lab.meet({"channel_limit": 300, "session_limit": 2_000})
    first = await user.open("grüße")
    pinging = lab.later(user.ping())
    sending = lab.later(user.send(first, 100, 2))
    await peer.until(Kind.BLOCKED)
    await peer.send(frames.credit(first, 2**53))
    await sending
    await user.finish(first)
    await peer.until(Kind.FINISH)
    second = await user.open("held")
    await user.reset(second, 0x1234)
    expect((await peer.until(Kind.RESET)).fields["code"], 0x1234, "a RESET with code")
    for n in (0, 2**63 - 1):
        await peer.send(frames.ping(n))
        await peer.until(Record.PONG)
    for item in [item for item in peer.heard if item.record is Record.PING]:
        await peer.send(frames.pong(item.fields["n"]))
    await answer_pings(peer)
    await pinging
    lab.later(user.leave(Code.SHUTDOWN, "see-you"))
    expect((await peer.until(Record.GOAWAY)).fields["code"], Code.SHUTDOWN, "a GOAWAY with code")


async def answer_pings(peer: RawPeer) -> None:
    """Answer the newest PING that came, and any that comes while the other side reads what we sent."""
    for item in await peer.probe():
        if item.record is Record.PING:
            await peer.send(frames.pong(item.fields["n"]))


@right("R-2", each={str(n): n for n in (0, 1, 2**63 - 1)})
async def a_ping_is_answered(lab: Lab, n: int) -> None:
    peer, _ = await lab.meet()
    await peer.send(frames.ping(n))
    expect((await peer.until(Record.PONG)).fields["n"], n, "PONG")


@right("R-2")
async def of_many_pings_the_newest_is_answered(lab: Lab) -> None:
    peer, _ = await lab.meet()
    await peer.send(*(frames.ping(n) for n in range(500)))
    answers: list[int] = []
    while not answers or answers[-1] != 499:
        answers.append((await peer.until(Record.PONG)).fields["n"])
    expect(answers, sorted(answers), "answers in the order of the questions:")


@right("R-3")
async def an_old_or_repeated_pong_is_ignored(lab: Lab) -> None:
    peer, user = await lab.meet()
    ns: list[int] = []
    for _ in range(2):
        asking = lab.later(user.ping())
        while not asking.done():
            for item in await peer.probe():
                if item.record is Record.PING:
                    ns.append(item.fields["n"])
                    await peer.send(frames.pong(ns[-1]), frames.pong(ns[-1]))
        await asking
    await peer.send(frames.pong(ns[0]))
    await peer.probe()


# --- channels ---------------------------------------------------------------------------------------------------------


@right("C-1", "C-2", "C-3")
async def ids_are_consecutive_and_of_the_right_parity(lab: Lab) -> None:
    peer, user = await lab.meet()
    for number in range(lab.theirs, lab.theirs + 10, 2):
        told = await user.open()
        expect(((await peer.until(Kind.OPEN)).channel, told), (number, number), "a new channel, on the wire and told:")
        await user.reset(number, Code.CANCELLED)
        await peer.send(frames.reset(number))


@right("C-5")
async def no_more_channels_are_opened_than_allowed(lab: Lab) -> None:
    peer, user = await lab.meet({"max_channels": 1})
    await user.open("first")
    second = lab.later(user.open("second"))
    heard = [*peer.heard, *await peer.probe()]
    opened = {item.fields["name"] for item in heard if item.channel and item.kind is Kind.OPEN}
    expect(opened, {"first"}, "opened:")
    await peer.nothing()
    await peer.send(frames.channel_credit(2))
    expect((await peer.until(Kind.OPEN)).fields["name"], "second", "opened:")
    await second


@right("C-5", "C-6")
async def ended_channels_are_given_back(lab: Lab) -> None:
    """Three at a time are allowed, and thirty are opened."""
    peer, user = await lab.begin(max_channels=3)
    expect((await lab.greet(peer, user)).fields["max_channels"], 3, "max_channels")
    allowed = 3
    for count in range(30):
        while count == allowed:
            limit = (await peer.until(Record.CHANNEL_CREDIT)).fields["limit"]
            ensure(limit > allowed, f"a CHANNEL_CREDIT above {allowed}", limit)
            allowed = limit
        number = lab.ours + 2 * count
        await peer.send(frames.open(number, "sink"), frames.finish(number))


@right("C-4", "L-1", "L-4", "M-3", "M-4")
async def a_channel_ends_once(lab: Lab) -> None:
    """What is echoed stays on its channel, and after the last FINISH nothing more comes."""
    peer, _ = await lab.meet()
    number = lab.ours
    await peer.send(frames.open(number, "echo"), frames.data(number, b"one"), frames.data(number, b"two"))
    await peer.send(frames.finish(number))
    await peer.until(Kind.FINISH)
    await peer.probe()
    said = [item for item in peer.heard if item.channel and item.kind is not Kind.CREDIT]
    expect([(item.channel, item.kind) for item in said], [(number, Kind.DATA)] * 2 + [(number, Kind.FINISH)])
    expect(b" ".join(item.payload for item in said[:2]), b"one two", "echoed:")


@right("O-4", each={"the opener only receives": "r", "the opener only sends": "w"})
async def a_half_that_never_was_is_not_finished(lab: Lab, mode: str) -> None:
    peer, user = await lab.meet()
    number = await user.open("half", mode)
    expect((await peer.until(Kind.OPEN)).fields["mode"], mode, "mode")
    if mode == "r":
        await peer.send(frames.data(number, b"for you"), frames.finish(number))
        await user.reads(number, b"for you")
        await user.reads(number, None)
    else:
        await user.send(number, 7)
        await user.finish(number)
        await peer.until(Kind.FINISH)
    await user.drop(number)
    await peer.probe()
    expect(len(peer.on_channel(number, Kind.FINISH)), int(mode == "w"), "FINISH frames:")
    expect(peer.on_channel(number, Kind.RESET), [], "RESET frames:")


@right("O-1", "O-2", "O-3")
async def unknown_typed_fields_are_ignored(lab: Lab) -> None:
    peer, _ = await lab.meet()
    payload = frames.open_payload("echo", {"k": "v"}) + frames.fields([(9, b"?"), (99, b"")])
    await peer.send(frames.frame(lab.ours, Kind.OPEN, payload), frames.data(lab.ours, b"known"))
    expect((await peer.until(Kind.DATA)).payload, b"known", "echoed:")


# --- messages and credit ----------------------------------------------------------------------------------------------


@right("F-5", "F-9", "M-1", "M-3", each={str(size): size for size in (16_384, 16_385, 17_000, 100_000)})
async def fragments(lab: Lab, size: int) -> None:
    """No frame is larger than our max_frame, no PART smaller than 1,024, and FINISH waits for the whole message."""
    peer, user = await lab.meet({"max_frame": 16_384})
    number = await user.open("bulk")
    await user.send(number, size)
    await user.finish(number)
    await peer.until(Kind.FINISH)
    *parts, last = peer.on_channel(number, Kind.DATA, Kind.PART)
    ensure(b"".join(item.payload for item in [*parts, last]) == pattern(0, size), "the message", [*parts, last])
    for item in parts:
        expect(item.kind, Kind.PART, "before the last fragment")
        ensure(1_024 <= len(item.payload) <= 16_384, "a PART of 1,024 to 16,384 bytes", len(item.payload))
    expect(last.kind, Kind.DATA, "the last fragment")
    ensure(len(last.payload) <= 16_384, "a DATA of at most 16,384 bytes", len(last.payload))
    expect(peer.heard[-1].kind, Kind.FINISH, "the last frame")


@right("M-2")
async def a_message_that_the_peer_would_refuse_is_not_sent(lab: Lab) -> None:
    peer, user = await lab.meet({"max_message": 2_000})
    number = await user.open()
    await fails(user.send(number, 2_001), "too_large")
    await user.send(number, 2_000)
    expect(len((await peer.until(Kind.DATA)).payload), 2_000, "a DATA of size")
    expect(peer.on_channel(number, Kind.PART), [], "PART frames:")


WAITS = {
    "channel": ("channel_limit", Kind.BLOCKED, frames.credit),
    "session": ("session_limit", Record.SESSION_BLOCKED, lambda _, limit: frames.session_credit(limit)),
}


@right("K-1", "K-2", "K-7", each=WAITS)
async def credit_for_the_whole_message_comes_first(lab: Lab, which: Any) -> None:
    limited, announcement, raised = which
    peer, user = await lab.meet({limited: 20_000})
    number = await user.open()
    sending = lab.later(user.send(number, 30_000))
    for limit in (20_000, 30_063):
        blocked = (await peer.until(announcement)).fields
        expect((blocked["limit"], blocked["need"]), (limit, 30_064), "limit and need")
        expect(peer.on_channel(number, Kind.DATA, Kind.PART), [], "sent before there is credit:")
        await peer.send(raised(number, limit + 10_063 if limit == 20_000 else 30_064))
    await peer.until(Kind.DATA)
    await sending
    expect(cost(peer.on_channel(number, Kind.DATA, Kind.PART)), 30_064, "spent:")


@right("K-3", "K-4", "K-6")
async def limits_rise_for_who_is_blocked(lab: Lab) -> None:
    """A message larger than every window passes once the peer has announced it."""
    peer, user = await lab.begin(channel_limit=20_000, session_limit=30_000, max_message=100_000)
    told = (await lab.greet(peer, user)).fields
    number, spent = lab.ours, 0
    await peer.send(frames.open(number, "sink"))
    limits = {Kind.CREDIT: told["channel_limit"], Record.SESSION_CREDIT: told["session_limit"]}
    for size in (100, 100_000, 5_000, 100_000):
        spent += size + 64
        if limits[Kind.CREDIT] < spent:
            await peer.send(frames.blocked(number, limits[Kind.CREDIT], spent))
        if limits[Record.SESSION_CREDIT] < spent:
            await peer.send(frames.session_blocked(limits[Record.SESSION_CREDIT], spent))
        while min(limits.values()) < spent:
            risen(limits, await peer.frame(), number)
        await peer.send(*in_fragments(number, bytes(size)))
    for item in await peer.probe():
        risen(limits, item, number)


def risen(limits: dict[Any, int], item: frames.Frame, number: int) -> None:
    """Take a credit record in, which must not go backwards."""
    which = item.record or (item.kind if item.channel == number else None)
    if which in limits:
        limit = item.fields["limit"]
        ensure(limits[which] <= limit <= frames.MAX_LIMIT, f"{limits[which]} to 2^53", limit)
        limits[which] = limit


def in_fragments(number: int, message: bytes, size: int = 16_384) -> list[bytes]:
    """The frames of a message."""
    last = len(message) // size * size
    return [frames.part(number, message[at : at + size]) for at in range(0, last, size)] + [
        frames.data(number, message[last:])
    ]


async def spends(peer: RawPeer, number: int, limit: int, times: int) -> None:
    """Send so many messages of 10,000 bytes that nobody takes, as the session's limit allows."""
    spent = 0
    for _ in range(times):
        while spent + 10_064 > limit:
            limit = (await peer.until(Record.SESSION_CREDIT)).fields["limit"]
        spent += 10_064
        await peer.send(frames.data(number, bytes(10_000)))


@right("K-5", "L-3")
async def discarded_data_gives_its_credit_back(lab: Lab) -> None:
    """On a channel that it reset, a peer may send window after window without stopping the session."""
    peer, user = await lab.meet(channel_limit=200_000, session_limit=30_000)
    await peer.send(frames.open(lab.ours))
    await user.reset(lab.ours, Code.CANCELLED)
    await peer.until(Kind.RESET)
    await spends(peer, lab.ours, 30_000, 12)
    await peer.send(frames.reset(lab.ours))
    await peer.probe()


# --- ends -------------------------------------------------------------------------------------------------------------


async def held_by_user(lab: Lab, peer: RawPeer, user: User) -> int:
    """A channel that the runner opened, and on which the user has sent one message."""
    await peer.send(frames.open(lab.ours))
    await user.send(lab.ours, 6)
    await peer.until(Kind.DATA)
    return lab.ours


@right("L-2")
async def a_reset_is_answered_and_nothing_follows(lab: Lab) -> None:
    peer, user = await lab.meet()
    number = await held_by_user(lab, peer, user)
    await peer.send(frames.reset(number, 0x1234, "enough"))
    answer = await peer.until(Kind.RESET)
    expect((answer.channel, answer.fields["code"]), (number, Code.CANCELLED), "channel and code of the answer")
    expect(await fails(user.send(number, 5), "reset"), ["reset", str(0x1234), "enough"], "what the user hears")
    await peer.probe()
    expect(peer.on_channel(number)[-1], answer, "the last frame on the channel")


@right("L-2", "L-4")
async def a_reset_is_not_answered_by_who_has_finished(lab: Lab) -> None:
    peer, user = await lab.meet()
    number = await held_by_user(lab, peer, user)
    await user.finish(number)
    await peer.until(Kind.FINISH)
    await peer.send(frames.reset(number), frames.reset(number), frames.credit(number, 2**30))
    await peer.probe()
    expect(peer.on_channel(number, Kind.RESET), [], "RESET frames:")


@right("E-1")
async def after_goaway_nothing_is_opened_and_what_is_open_goes_on(lab: Lab) -> None:
    peer, user = await lab.meet()
    number = await user.open("stays")
    await peer.send(frames.goaway(number))
    await peer.probe()
    await fails(user.open("late"))
    await user.send(number, 5)
    expect((await peer.until(Kind.DATA)).payload, pattern(0, 5), "sent:")
    await peer.send(frames.data(number, b"here"))
    await user.reads(number, b"here")
    opened = [item.fields["name"] for item in peer.heard if item.channel and item.kind is Kind.OPEN]
    expect(opened, ["stays"], "opened:")


@right("E-1", "E-3")
async def channels_above_the_last_of_a_goaway_are_lost(lab: Lab) -> None:
    peer, user = await lab.meet()
    served, lost = await user.open(), await user.open()
    await peer.send(frames.goaway(served, Code.SHUTDOWN, "bye"))
    await fails(user.reads(lost, None))
    await peer.send(frames.data(served, b"fine"))
    await user.reads(served, b"fine")


@right("E-2", "E-3")
async def what_comes_after_goaway_is_ignored_and_its_credit_given_back(lab: Lab) -> None:
    peer, user = await lab.meet(session_limit=30_000)
    await peer.send(frames.open(lab.ours), frames.data(lab.ours, b"here"))
    await user.reads(lab.ours, b"here")
    lab.later(user.leave())
    goaway = (await peer.until(Record.GOAWAY)).fields
    expect((goaway["last"], goaway["code"]), (lab.ours, Code.NO_ERROR), "last channel and code")
    late = lab.ours + 2
    await peer.send(frames.open(late, "echo"))
    await spends(peer, late, 30_000 - 68, 6)
    await peer.send(frames.finish(late))
    await peer.probe()
    expect(peer.on_channel(late, Kind.DATA, Kind.PART, Kind.FINISH), [], "served:")


LAST_WORDS = {
    "no goodbye": (b"", "lost"),
    "inside a frame": (frames.ping(1)[:2], "lost"),
    "goodbye, then inside a frame": (frames.goaway(0) + frames.ping(1)[:2], "lost"),
    "goodbye": (frames.goaway(0), "closed"),
}


@right("E-5", each=LAST_WORDS)
async def end_and_loss(lab: Lab, how: Any) -> None:
    last_words, ends = how
    peer, user = await lab.meet()
    await peer.send(last_words)
    peer.writer.write_eof()
    await user.ended(ends)


@right("E-5", "E-3")
async def a_graceful_end_reads_to_the_end(lab: Lab) -> None:
    """GOAWAY 0, our answer is still read, then the end of the stream: no reset of the connection, nothing is lost."""
    peer, user = await lab.meet()
    closing = lab.later(user.close())
    expect((await peer.until(Record.GOAWAY)).fields["code"], Code.NO_ERROR, "a GOAWAY with code")
    await peer.send(frames.goaway(0))
    peer.writer.write_eof()
    await peer.rest()
    await closing
    await user.ended("closed")
