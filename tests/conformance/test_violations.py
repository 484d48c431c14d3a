"""Every wrong that a peer can do, over a real connection: the named code reaches both ends, and nothing else happens.

The cases are `tests/vectors/violations.json` and `handshakes.json`, so other implementations can be held to the same.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from support import frames
from support.frames import PREFACE, Code, Kind, Record
from support.rawpeer import RawPeer, User, facing, facing_client, facing_server

import muxtcp

VECTORS = Path(__file__).parent.parent / "vectors"
VIOLATIONS: dict[str, Any] = json.loads((VECTORS / "violations.json").read_text())
HANDSHAKES: dict[str, Any] = json.loads((VECTORS / "handshakes.json").read_text())

ANNOUNCED = VIOLATIONS["announced"]
CONFIG = muxtcp.Config(
    max_frame=ANNOUNCED["max_frame"],
    max_message=ANNOUNCED["max_message"],
    channel_window=ANNOUNCED["channel_limit"],
    session_window=ANNOUNCED["session_limit"],
    max_channels=ANNOUNCED["max_channels"],
)


def raw(pieces: Any) -> bytes:
    match pieces:
        case str():
            return bytes.fromhex(pieces)
        case {"repeat": piece, "times": times}:
            return raw(piece) * times
        case _:
            return b"".join(map(raw, pieces))


def named(vectors: list[Any]) -> Any:
    return pytest.mark.parametrize("vector", vectors, ids=lambda vector: vector["name"])


async def obey(command: dict[str, Any], peer: RawPeer, user: User) -> None:
    """Give the command at the library's end, and wait until its frame has arrived here."""
    match command:
        case {"do": "open", **options}:
            await user.open(**options)
            await peer.until(Kind.OPEN)
        case {"do": "finish", "channel": number}:
            await (await user.channel(number)).send_eof()
            await peer.until(Kind.FINISH, number)
        case {"do": "reset", "channel": number, "code": code}:
            await (await user.channel(number)).reset(code)
            await peer.until(Kind.RESET, number)
        case {"do": "go_away"}:
            user.later((await user.session()).drain())
            await peer.until(Record.GOAWAY)


@named(VIOLATIONS["cases"])
async def test_after_the_handshake(vector: Any) -> None:
    async with facing(vector["receiver"], CONFIG) as (peer, user):
        await peer.greet()
        session = await user.session()
        for step in vector["steps"]:
            if isinstance(step, dict) and "do" in step:
                await obey(step, peer, user)
            else:
                await peer.send(raw(step))
        if vector["code"] is None:
            await peer.probe()
            assert not session.closed
            return
        last = (await peer.rest())[-1]
        assert (last.record, Code(last.fields["code"]).name) == (Record.GOAWAY, vector["code"])
        await session.wait_closed()
        assert isinstance(session.exception, muxtcp.RemoteProtocolError)
        assert session.exception.code == Code[vector["code"]]


@pytest.mark.musts("E-4")
async def test_nothing_is_processed_after_a_violation() -> None:
    async with facing_server() as (peer, user):
        await peer.greet()
        await peer.send(frames.open(1), frames.frame(1, 7), frames.open(3), frames.ping(5))
        await peer.rest()
        assert 3 not in user.channels
        assert not [item for item in peer.heard if item.record is Record.PONG]


@named([vector for vector in HANDSHAKES["bad"] if vector["receiver"] == "server"])
async def test_handshake_at_a_server(vector: Any) -> None:
    async with facing_server() as (peer, user):
        await peer.send(raw(vector["hex"]))
        if vector["name"] == "text":
            line = await peer.reader.read()
            assert line.isascii()
            assert b"muxtcp" in line
            assert line.endswith(b"\n")
        else:
            last = (await peer.rest())[-1]
            assert (last.record, Code(last.fields["code"]).name) == (Record.REFUSED, vector["code"])
        assert user.server is not None
        while not user.server.counters[vector["code"]]:
            await asyncio.sleep(0)
        assert user.sessions.empty() or vector["musts"] == ["H-3"]  # a HELLO that was good for itself


@named([vector for vector in HANDSHAKES["bad"] if vector["receiver"] == "client"])
async def test_handshake_at_a_client(vector: Any) -> None:
    async with facing_client() as (peer, user):
        await peer.until(Record.HELLO)
        await peer.send(raw(vector["hex"]))
        with pytest.raises((muxtcp.HandshakeError, muxtcp.RemoteProtocolError)) as caught:
            await user.tasks[0]
        assert caught.value.code == Code[vector["code"]]
        for item in (await peer.rest())[1:]:  # SHOULD: a goodbye with the code, and nothing else
            assert (item.record, Code(item.fields["code"]).name) == (Record.GOAWAY, vector["code"])


@pytest.mark.musts("H-5")
@pytest.mark.parametrize("sent", [b"", PREFACE[:3], PREFACE, PREFACE + frames.hello()[:-1]], ids=range(4))
async def test_a_server_does_not_wait_for_ever(sent: bytes) -> None:
    async with facing_server(muxtcp.Config(handshake_timeout=0.05)) as (peer, _):
        await peer.send(sent)
        (answer,) = await peer.rest()
        assert (answer.record, answer.fields["code"]) == (Record.REFUSED, Code.HANDSHAKE_TIMEOUT)


@pytest.mark.musts("H-5")
async def test_a_client_does_not_wait_for_ever() -> None:
    async with facing_client(muxtcp.Config(handshake_timeout=0.05)) as (peer, user):
        await peer.send(PREFACE)
        with pytest.raises((muxtcp.HandshakeError, TimeoutError)):
            await user.tasks[0]
        assert [item.record for item in await peer.rest()] == [Record.HELLO]


@pytest.mark.musts("H-7")
@named([vector for vector in HANDSHAKES["records"] if vector["record"] == "HELLO"])
async def test_good_hello(vector: Any) -> None:
    async with facing_server() as (peer, user):
        await peer.send(PREFACE, raw(vector["hex"]))
        welcome = await peer.until(Record.WELCOME)
        assert welcome.fields["version"] == [1]
        assert (await user.session()).peer_meta == vector["fields"].get("meta", {})


@pytest.mark.musts("H-7")
@named([vector for vector in HANDSHAKES["records"] if vector["record"] == "WELCOME"])
async def test_good_welcome(vector: Any) -> None:
    async with facing_client() as (peer, user):
        hello = await peer.until(Record.HELLO)
        assert hello.fields["version"] == [1, 1]
        await peer.send(PREFACE, raw(vector["hex"]))
        assert (await user.session()).peer_meta == vector["fields"].get("meta", {})


@named([vector for vector in HANDSHAKES["records"] if vector["record"] == "REFUSED"])
async def test_refused(vector: Any) -> None:
    async with facing_client() as (peer, user):
        await peer.until(Record.HELLO)
        await peer.send(PREFACE, raw(vector["hex"]))
        with pytest.raises(muxtcp.HandshakeError) as caught:
            await user.tasks[0]
        fields = vector["fields"]
        assert (caught.value.code, caught.value.reason) == (fields["code"], fields["reason"])
        assert caught.value.retry_after == fields["retry_after"] / 1000
