"""What the library itself says and does on the wire, where the specification demands it: a raw peer listens.

Whatever arrives here has passed the strict readers of `support.frames`, in every test: forms are right, or it fails.
"""

import asyncio
import itertools
from typing import Any

import pytest
from support import frames
from support.frames import PREFACE, Code, Frame, Kind, Record
from support.rawpeer import RawPeer, User, facing, facing_client

import muxtcp

in_both_roles = pytest.mark.parametrize("role", ["server", "client"])
musts = pytest.mark.musts


def first(role: str) -> int:
    """The first channel that the raw peer opens when the library plays `role`."""
    return 1 if role == "server" else 2


async def opened_by_peer(peer: RawPeer, user: User, role: str) -> tuple[int, muxtcp.Channel]:
    await peer.send(frames.open(first(role), "of the peer"))
    return first(role), await user.channel(first(role))


def cost(items: list[Frame]) -> int:
    return sum(len(item.payload) + (64 if item.kind is Kind.DATA else 0) for item in items)


# --- handshake and records --------------------------------------------------------------------------------------------


@musts("H-1", "H-2", "H-3", "H-6", "H-9")
async def test_a_client_says_hello_and_waits() -> None:
    async with facing_client() as (peer, user):
        hello = await peer.frame()
        assert hello.record is Record.HELLO
        await peer.send(PREFACE)
        await peer.nothing()
        await peer.send(frames.welcome())
        await user.session()


@musts("H-9")
async def test_a_server_chooses_the_highest_common_version() -> None:
    async with facing("server") as (peer, _):
        await peer.send(PREFACE, frames.hello(1, 9))
        assert (await peer.frame()).fields["version"] == [1]


@musts("H-4")
@in_both_roles
async def test_the_handshake_is_said_once(role: str) -> None:
    async with facing(role) as (peer, user):
        await peer.greet()
        await user.open("a")
        await peer.probe()
        told = [item.record for item in peer.heard if item.record in (Record.HELLO, Record.WELCOME)]
        assert len(told) == 1


@musts("R-2")
@in_both_roles
async def test_ping_is_answered(role: str) -> None:
    async with facing(role) as (peer, _):
        await peer.greet()
        for n in (0, 1, 2**63 - 1, 7):
            await peer.send(frames.ping(n))
            assert (await peer.until(Record.PONG)).fields["n"] == n


@musts("R-2")
@in_both_roles
async def test_of_many_pings_the_newest_is_answered(role: str) -> None:
    async with facing(role) as (peer, _):
        await peer.greet()
        await peer.send(*map(frames.ping, range(1_000)))
        answers = []
        while not answers or answers[-1] != 999:
            answers.append((await peer.until(Record.PONG)).fields["n"])
        assert answers == sorted(answers)


@musts("R-3")
@in_both_roles
async def test_an_old_or_repeated_pong_is_ignored(role: str) -> None:
    async with facing(role) as (peer, user):
        await peer.greet()
        session = await user.session()
        await peer.until(Record.PING)  # which measures the round trip from the start
        for _ in range(2):
            asking = user.later(session.ping())
            n = (await peer.until(Record.PING)).fields["n"]
            await peer.send(frames.pong(n), frames.pong(n))
            await asking
        await peer.send(frames.pong(n - 1))
        await peer.probe()
        assert not session.closed


# --- channels ---------------------------------------------------------------------------------------------------------


@musts("C-1", "C-2", "C-3")
@in_both_roles
async def test_ids_are_consecutive_and_of_the_right_parity(role: str) -> None:
    async with facing(role) as (peer, user):
        await peer.greet()
        for number in range(2 if role == "server" else 1, 12, 2):
            channel = await user.open("x")
            assert (await peer.until(Kind.OPEN)).channel == channel.id == number
            await channel.reset(2)
            await peer.send(frames.reset(number))


@musts("C-5")
@in_both_roles
async def test_no_more_channels_are_opened_than_allowed(role: str) -> None:
    async with facing(role) as (peer, user):
        await peer.greet(max_channels=1)
        await user.open("first")
        second = user.later(user.open("second"))
        assert [item.kind for item in await peer.probe() if item.channel] == [Kind.OPEN]
        assert not second.done()
        await peer.send(frames.channel_credit(2))
        assert (await peer.until(Kind.OPEN)).fields["name"] == "second"
        await second


@musts("C-5", "C-6")
@in_both_roles
async def test_ended_channels_are_given_back(role: str) -> None:
    """Three at a time are allowed, and thirty are opened."""
    async with facing(role, muxtcp.Config(max_channels=3)) as (peer, user):
        allowed = 3
        await peer.greet()
        user.leaving.set()  # every handler returns at once, so every channel is closed at both ends
        for count in range(30):
            while count == allowed:
                limit = (await peer.until(Record.CHANNEL_CREDIT)).fields["limit"]
                assert limit > allowed
                allowed = limit
            number = first(role) + 2 * count
            await peer.send(frames.open(number), frames.finish(number))


@musts("O-4")
@in_both_roles
@pytest.mark.parametrize("mode", ["r", "w"])
async def test_a_half_that_never_was_is_not_finished(role: str, mode: str) -> None:
    async with facing(role) as (peer, user):
        await peer.greet()
        channel = await user.open("half", mode=mode)
        opening = await peer.until(Kind.OPEN)
        assert opening.fields["mode"] == mode
        if mode == "r":
            await peer.send(frames.data(channel.id, b"for you"), frames.finish(channel.id))
            assert await channel.recv() == b"for you"
            with pytest.raises(muxtcp.EndOfStream):
                await channel.recv()
        else:
            await channel.send(b"from us")
            await channel.send_eof()
            await peer.until(Kind.FINISH)
        await channel.close()
        await peer.probe()
        assert len(peer.on_channel(channel.id, Kind.FINISH)) == (mode == "w")
        assert not peer.on_channel(channel.id, Kind.RESET)


@musts("O-1", "O-2", "O-3")
@in_both_roles
async def test_unknown_typed_fields_are_ignored(role: str) -> None:
    async with facing(role) as (peer, user):
        await peer.greet()
        payload = frames.open_payload("known", {"k": "v"}) + frames.fields([(9, b"?"), (99, b"")])
        await peer.send(frames.frame(first(role), Kind.OPEN, payload))
        channel = await user.channel(first(role))
        assert (channel.name, channel.meta) == ("known", {"k": "v"})


# --- messages and credit ----------------------------------------------------------------------------------------------


@musts("F-5", "F-9", "M-1", "M-3")
@in_both_roles
@pytest.mark.parametrize("size", [16_384, 16_385, 17_000, 100_000])
async def test_fragments(role: str, size: int) -> None:
    """No frame is larger than our max_frame, no PART smaller than 1,024, and FINISH waits for the whole message."""
    message = bytes(itertools.islice(itertools.cycle(range(251)), size))
    async with facing(role) as (peer, user):
        await peer.greet(max_frame=16_384)
        channel = await user.open("bulk")
        await channel.send(message)
        await channel.send_eof()
        await peer.until(Kind.FINISH)
        *parts, last = peer.on_channel(channel.id, Kind.DATA, Kind.PART)
        assert b"".join(item.payload for item in [*parts, last]) == message
        assert all(item.kind is Kind.PART and 1_024 <= len(item.payload) <= 16_384 for item in parts)
        assert last.kind is Kind.DATA
        assert peer.heard[-1].kind is Kind.FINISH


@musts("M-2")
@in_both_roles
async def test_a_message_that_the_peer_would_refuse_is_not_sent(role: str) -> None:
    async with facing(role) as (peer, user):
        await peer.greet(max_message=2_000)
        channel = await user.open("x")
        with pytest.raises(muxtcp.MessageTooLarge) as caught:
            await channel.send(bytes(2_001))
        assert (caught.value.size, caught.value.limit) == (2_001, 2_000)
        await channel.send(bytes(2_000))
        assert len((await peer.until(Kind.DATA)).payload) == 2_000


WAITS = [("channel_limit", Kind.BLOCKED), ("session_limit", Record.SESSION_BLOCKED)]


@musts("K-1", "K-2", "K-7")
@in_both_roles
@pytest.mark.parametrize(("limited", "announcement"), WAITS, ids=["channel", "session"])
async def test_credit_for_the_whole_message_comes_first(role: str, limited: str, announcement: Any) -> None:
    async with facing(role) as (peer, user):
        await peer.greet(**{limited: 20_000})
        channel = await user.open("x")
        sending = user.later(channel.send(bytes(30_000)))

        def raised(limit: int) -> bytes:
            return frames.credit(channel.id, limit) if limited == "channel_limit" else frames.session_credit(limit)

        blocked = (await peer.until(announcement)).fields
        assert (blocked["limit"], blocked["need"]) == (20_000, 30_064)
        await peer.send(raised(30_063))
        blocked = (await peer.until(announcement)).fields
        assert (blocked["limit"], blocked["need"]) == (30_063, 30_064)
        assert not peer.on_channel(channel.id, Kind.DATA, Kind.PART)
        await peer.send(raised(30_064))
        await peer.until(Kind.DATA)
        await sending
        assert cost(peer.on_channel(channel.id, Kind.DATA, Kind.PART)) == 30_064


@musts("K-3", "K-4", "K-6")
@in_both_roles
async def test_limits_rise_for_who_is_blocked(role: str) -> None:
    """A message larger than every window passes once the peer has announced it."""
    config = muxtcp.Config(channel_window=20_000, session_window=30_000, max_message=100_000)
    async with facing(role, config) as (peer, user):
        await peer.greet()
        number, channel = await opened_by_peer(peer, user, role)
        spent = channel_limit = session_limit = 0
        for size in (100, 100_000, 5_000, 100_000):
            need = spent + size + 64
            if need > 20_000:
                limits = {"session": session_limit or 30_000, "channel": channel_limit or 20_000}
                if limits["channel"] < need:
                    await peer.send(frames.blocked(number, limits["channel"], need))
                    while (channel_limit := max(channel_limit, (await peer.until(Kind.CREDIT)).fields["limit"])) < need:
                        pass
                session_limit = max([limits["session"], *session_limits(peer)])
                if session_limit < need:
                    await peer.send(frames.session_blocked(session_limit, need))
                    while session_limit < need:
                        session_limit = (await peer.until(Record.SESSION_CREDIT)).fields["limit"]
            spent = need
            chunks = [bytes(16_384)] * (size // 16_384)
            await peer.send(
                *(frames.part(number, chunk) for chunk in chunks), frames.data(number, bytes(size % 16_384))
            )
            assert len(await channel.recv()) == size
        announced = [item.fields["limit"] for item in peer.on_channel(number, Kind.CREDIT)]
        assert announced == sorted(announced)
        assert session_limits(peer) == sorted(session_limits(peer))


def session_limits(peer: RawPeer) -> list[int]:
    return [item.fields["limit"] for item in peer.heard if item.record is Record.SESSION_CREDIT]


@musts("K-5", "L-3")
@in_both_roles
async def test_discarded_data_gives_its_credit_back(role: str) -> None:
    """On a channel that we reset, a peer may send window after window without stopping the session."""
    async with facing(role, muxtcp.Config(channel_window=200_000, session_window=30_000)) as (peer, user):
        await peer.greet()
        number, channel = await opened_by_peer(peer, user, role)
        await channel.reset(2)
        await peer.until(Kind.RESET)
        spent, limit = 0, 30_000
        for _ in range(12):
            while spent + 10_064 > limit:
                limit = (await peer.until(Record.SESSION_CREDIT)).fields["limit"]
            spent += 10_064
            await peer.send(frames.data(number, bytes(10_000)))
        await peer.send(frames.reset(number))
        await peer.probe()


# --- ends -------------------------------------------------------------------------------------------------------------


@musts("L-2")
@in_both_roles
async def test_reset_is_answered_and_nothing_follows(role: str) -> None:
    async with facing(role) as (peer, user):
        await peer.greet()
        number, channel = await opened_by_peer(peer, user, role)
        await channel.send(b"before")
        await peer.until(Kind.DATA)
        await peer.send(frames.reset(number, 0x1234, "enough"))
        answer = await peer.until(Kind.RESET)
        assert (answer.channel, answer.fields["code"]) == (number, Code.CANCELLED)
        with pytest.raises(muxtcp.ChannelReset) as caught:
            await channel.send(b"after")
        assert (caught.value.code, caught.value.reason) == (0x1234, "enough")
        await peer.probe()
        assert peer.on_channel(number)[-1] == answer


@musts("L-2", "L-4")
@in_both_roles
async def test_reset_is_not_answered_by_who_has_finished(role: str) -> None:
    async with facing(role) as (peer, user):
        await peer.greet()
        number, channel = await opened_by_peer(peer, user, role)
        await channel.send_eof()
        await peer.until(Kind.FINISH)
        await peer.send(frames.reset(number), frames.reset(number), frames.credit(number, 2**30))
        await peer.probe()
        assert not peer.on_channel(number, Kind.RESET)


@musts("E-1")
@in_both_roles
async def test_after_goaway_nothing_is_opened_and_what_is_open_goes_on(role: str) -> None:
    async with facing(role) as (peer, user):
        await peer.greet()
        channel = await user.open("stays")
        await peer.send(frames.goaway(channel.id))
        await peer.probe()
        with pytest.raises(muxtcp.MuxError):
            await user.open("late")
        await channel.send(b"still")
        assert (await peer.until(Kind.DATA)).payload == b"still"
        await peer.send(frames.data(channel.id, b"here"))
        assert await channel.recv() == b"here"
        assert len([item for item in peer.heard if item.channel and item.kind is Kind.OPEN]) == 1


@musts("E-1", "E-3")
@in_both_roles
async def test_channels_above_the_last_of_a_goaway_are_lost(role: str) -> None:
    async with facing(role) as (peer, user):
        await peer.greet()
        served, lost = await user.open("served"), await user.open("lost")
        await peer.send(frames.goaway(served.id, Code.SHUTDOWN, "bye"))
        with pytest.raises(muxtcp.MuxError):
            await asyncio.wait_for(lost.recv(), 5)
        await peer.send(frames.data(served.id, b"fine"))
        assert await served.recv() == b"fine"


@musts("E-2")
@in_both_roles
async def test_what_comes_after_our_goaway_is_ignored_and_its_credit_given_back(role: str) -> None:
    async with facing(role, muxtcp.Config(session_window=30_000)) as (peer, user):
        await peer.greet()
        number, _ = await opened_by_peer(peer, user, role)
        user.later((await user.session()).drain())
        goaway = (await peer.until(Record.GOAWAY)).fields
        assert (goaway["last"], goaway["code"]) == (number, Code.NO_ERROR)
        spent, limit = 0, 30_000
        await peer.send(frames.open(number + 2, "too late"))
        for _ in range(6):
            while spent + 10_064 > limit:
                limit = (await peer.until(Record.SESSION_CREDIT)).fields["limit"]
            spent += 10_064
            await peer.send(frames.data(number + 2, bytes(10_000)))
        await peer.send(frames.finish(number + 2))
        await peer.probe()
        assert number + 2 not in user.channels


@musts("E-5")
@in_both_roles
@pytest.mark.parametrize(
    ("last_words", "ends"),
    [
        (b"", muxtcp.SessionLost),
        (frames.ping(1)[:2], muxtcp.SessionLost),
        (frames.goaway(0) + frames.ping(1)[:2], muxtcp.SessionLost),
        (frames.goaway(0), muxtcp.SessionClosed),
    ],
    ids=["no goodbye", "inside a frame", "goodbye, then inside a frame", "goodbye"],
)
async def test_end_and_loss(role: str, last_words: bytes, ends: type[Exception]) -> None:
    async with facing(role) as (peer, user):
        await peer.greet()
        session = await user.session()
        await peer.send(last_words)
        peer.writer.write_eof()
        await session.wait_closed()
        assert type(session.exception) is ends


@musts("E-5")
@in_both_roles
async def test_a_graceful_end_reads_to_the_end(role: str) -> None:
    """GOAWAY 0, our answer is still read, then the end of the stream: no reset of the connection, nothing is lost."""
    async with facing(role) as (peer, user):
        await peer.greet()
        session = await user.session()
        closing = user.later(session.close())
        goaway = (await peer.until(Record.GOAWAY)).fields
        assert goaway["code"] == Code.NO_ERROR
        await peer.send(frames.goaway(0))
        peer.writer.write_eof()
        await peer.rest()
        await closing
        assert isinstance(session.exception, muxtcp.SessionClosed)
