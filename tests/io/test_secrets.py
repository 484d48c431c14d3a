"""Tokens, keys and tickets are in no line of any log, and in no repr() of whatever can be reached."""

import contextvars
import functools
import gc
import io
import logging
import types
from collections.abc import Iterator

import pytest
from support.basics import echo, until

from muxtcp import Credentials, HandshakeError, State, StateInfo, connect, constant, serve

TOKEN, PSK = b"the-token-of-alice", b"a-key-that-both-sides-have"
CODE = (type, types.ModuleType, types.FunctionType, types.FrameType, types.CoroutineType, types.GeneratorType)
NOT_ENTERED = (*CODE, contextvars.Context, logging.Logger)  # they lead to all of the program
RAW = (bytes, bytearray, memoryview, io.BytesIO)  # they are what they are: nobody prints them by accident


def reachable(*roots: object) -> Iterator[object]:
    """Every object that hangs on these, as the garbage collector sees it, but for code."""
    waiting, seen = list(roots), set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, NOT_ENTERED):
            continue
        seen.add(id(item))
        yield item
        waiting += gc.get_referents(item)


def forms(secret: bytes) -> set[str]:
    """How it could look in text."""
    return {secret.decode("latin-1"), repr(secret)[2:-1], secret.hex(), secret.hex(" "), str(list(secret))}


def shown(secrets: list[bytes], text: str) -> list[bytes]:
    return [secret for secret in secrets if any(form in text for form in forms(secret))]


@pytest.mark.parametrize("psk", [PSK, None], ids=["psk", "no psk"])
async def test_they_are_shown_nowhere(psk: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[tuple[State, StateInfo]] = []
    kept: list[Credentials] = []

    async def authenticate(credentials: Credentials) -> str | None:
        kept.append(credentials)
        return "alice" if credentials.token == TOKEN else None

    async with serve(echo, "127.0.0.1", 0, authenticate=authenticate, psk=psk) as server:
        connector = connect(
            server.addresses[0],
            auth=TOKEN,
            psk=psk,
            resume=30.0,
            backoff=constant(0.0, jitter=0.0),
            on_state=lambda state, info: told.append((state, info)),
        )
        wrong = connect(server.addresses[0], auth=TOKEN + b"!", psk=psk, resume=30.0)
        with pytest.raises(HandshakeError) as refused:
            await wrong
        async with connector as session:
            [peer] = server.sessions
            secrets = [TOKEN, PSK, bytes(session.ticket.secret)]
            assert bytes(peer.ticket.secret) == secrets[2]
            for times in (1, 2):
                assert session.transport is not None
                session.transport.abort()
                await until(lambda times=times: session.resumptions == peer.resumptions == times)
            assert await session.request("", b"hello") == b"hello"
            roots = [session, peer, connector, wrong, server, told, kept, refused.value]
            found = [item for item in reachable(*roots) if not isinstance(item, RAW)]
            assert len(found) > 200
            assert {type(session), type(session.ticket), functools.partial} <= {type(item) for item in found}
            leaks = {type(item): leaked for item in found if (leaked := shown(secrets, repr(item)))}
    assert leaks == {}
    assert shown(secrets, caplog.text) == []
    assert "UNAUTHENTICATED" in caplog.text
    assert shown(secrets, repr(session) + repr(session.engine.peer) + repr(session.stats())) == []


def test_the_search_finds_what_is_there() -> None:
    secret = b"\x00\xffsecret"
    for text in (repr({"psk": secret}), f"{secret.hex()}", f"log: {secret!r}", secret.decode("latin-1")):
        assert shown([secret, b"another"], text) == [secret]
    holder = functools.partial(print, [types.SimpleNamespace(key=secret)])
    assert [item for item in reachable(holder) if shown([secret], repr(item))]
