"""What the user of the library is told of a peer that breaks the rules, or refuses: exceptions, counters, metadata."""

import asyncio

import pytest
from support import frames
from support.frames import PREFACE, Code, Kind
from support.rawpeer import facing, facing_client, facing_server

import muxtcp

in_both_roles = pytest.mark.parametrize("role", ["server", "client"])


@in_both_roles
async def test_a_violation(role: str) -> None:
    async with facing(role) as (peer, user):
        await peer.greet()
        session = await user.session()
        await peer.send(frames.frame(0, Kind.RESERVED))
        await peer.rest()
        await session.wait_closed()
        assert type(session.exception) is muxtcp.RemoteProtocolError
        assert session.exception.code is muxtcp.Code.BAD_KIND


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "BAD_PREFACE"),
        (PREFACE + frames.ping(1), "EARLY_FRAME"),
        (PREFACE + frames.hello(2, 2), "BAD_VERSION"),
        (PREFACE + frames.hello(max_frame=1), "BAD_PARAMETER"),
        (PREFACE + frames.hello() + frames.open(1), "EARLY_FRAME"),
    ],
)
async def test_a_server_counts_what_failed_in_a_handshake(said: bytes, name: str) -> None:
    async with facing_server() as (peer, user):
        await peer.send(said)
        assert user.server is not None
        while not user.server.counters[name]:
            await asyncio.sleep(0)
        assert user.sessions.empty()


async def test_a_violation_in_the_handshake_at_a_client() -> None:
    async with facing_client() as (peer, user):
        await peer.send(PREFACE, frames.ping(1))
        with pytest.raises((muxtcp.HandshakeError, muxtcp.RemoteProtocolError)) as caught:
            await user.tasks[0]
        assert caught.value.code is muxtcp.Code.EARLY_FRAME


async def test_a_client_that_is_refused() -> None:
    async with facing_client() as (peer, user):
        await peer.send(PREFACE, frames.refused(Code.BUSY, 1_500, "full"))
        with pytest.raises(muxtcp.HandshakeError) as caught:
            await user.tasks[0]
        assert (caught.value.code, caught.value.reason, caught.value.retry_after) == (muxtcp.Code.BUSY, "full", 1.5)


@in_both_roles
async def test_metadata_and_unknown_parameters(role: str) -> None:
    async with facing(role) as (peer, user):
        kind, versions = (frames.hello, [1, 1]) if role == "server" else (frames.welcome, [1])
        said = kind(*versions, meta={"tenant": "acme"})
        parameters = frames.take_frame(said)[0].payload + frames.fields([(99, b"?")])
        await peer.send(PREFACE, frames.frame(0, 0, parameters))
        assert (await user.session()).peer_meta == {"tenant": "acme"}


@in_both_roles
async def test_what_becomes_of_a_channel(role: str) -> None:
    """An opening of which nothing is unknown to the user; a message that is too large; a RESET."""
    async with facing(role) as (peer, user):
        await peer.greet(max_message=2_000)
        first = 1 if role == "server" else 2
        await peer.send(frames.open(first, "known", meta={"k": "v"}))
        channel = await user.channel(first)
        assert (channel.name, channel.meta) == ("known", {"k": "v"})
        with pytest.raises(muxtcp.MessageTooLarge) as too_large:
            await channel.send(bytes(2_001))
        assert (too_large.value.size, too_large.value.limit) == (2_001, 2_000)
        await peer.send(frames.reset(first, 0x1234, "enough"))
        with pytest.raises(muxtcp.ChannelReset) as reset:
            await channel.recv()
        assert (reset.value.code, reset.value.reason) == (0x1234, "enough")
