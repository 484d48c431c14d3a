"""Clients in admission while the server ends: each hears what lets it come back."""

import asyncio

import pytest
from support.authority import LOCALHOST, Authority
from support.basics import echo

from muxtcp import (
    Code,
    Credentials,
    HandshakeError,
    Server,
    Session,
    SessionClosed,
    connect,
    serve,
    worth_retrying,
)


async def refused(server: Server, **options) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        await connect(server.addresses[0], **options)
    return caught.value


class Door:
    """An `authenticate` or `on_session` that waits to be told."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def __call__(self, _: object) -> str:
        self.reached.set()
        await self.opened.wait()
        return "alice"


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("question", ["authenticate", "on_session"])
async def test_a_server_that_closes_tells_those_who_wait(question: str, secure: bool, authority: Authority) -> None:
    door = Door()
    ssl = authority.server(authority.issue("server", hosts=LOCALHOST)) if secure else None
    server = await serve(echo, "127.0.0.1", 0, ssl=ssl, **{question: door})
    trust = {"ssl": authority.client(), "server_hostname": "localhost"} if secure else {}
    client = asyncio.create_task(refused(server, **trust))
    await door.reached.wait()
    await server.close()
    error = await client
    assert (error.code, error.reason) == (Code.SHUTDOWN, "the server is shutting down")
    assert worth_retrying(error)
    assert server.counters["SHUTDOWN"] == 1


@pytest.mark.parametrize("question", ["authenticate", "on_session"])
async def test_a_question_that_is_cancelled_is_no_fault_of_the_clients(question: str) -> None:
    async def cancelled(_: object) -> None:
        raise asyncio.CancelledError

    async with serve(echo, "127.0.0.1", 0, **{question: cancelled}) as server:
        error = await refused(server)
    assert error.code is Code.BUSY
    assert worth_retrying(error)


@pytest.mark.parametrize("question", ["authenticate", "on_session"])
@pytest.mark.parametrize("outage", [ConnectionRefusedError("the directory"), TimeoutError("the directory")], ids=repr)
async def test_an_outage_of_whom_it_asks_passes(
    question: str, outage: OSError, caplog: pytest.LogCaptureFixture
) -> None:
    async def asks(_: object) -> str:
        if outages:
            raise outages.pop()
        return "alice"

    outages = [outage, outage]
    async with serve(echo, "127.0.0.1", 0, **{question: asks}) as server:
        for _ in range(2):
            error = await refused(server)
            assert (error.code, error.retry_after) == (Code.BUSY, 1.0)
            assert error.reason == "whom the server asks about its clients does not answer"
            assert worth_retrying(error)
        async with connect(server.addresses[0]) as session:
            assert await session.ping() >= 0
    assert caplog.text.count("had no answer from whom it asks") == 1  # of two


class TestDrain:
    """Another session with an open channel holds the drain up."""

    async def test_who_is_asked_about_meanwhile_is_not_admitted(self) -> None:
        async def authenticate(credentials: Credentials) -> str:
            return "alice" if credentials.meta else await door(credentials)

        door = Door()
        server = await serve(echo, "127.0.0.1", 0, authenticate=authenticate)
        async with connect(server.addresses[0], meta={"first": "yes"}) as first, first.open("echo") as channel:
            await channel.send(b"one")
            assert await channel.recv() == b"one"
            client = asyncio.create_task(refused(server))
            await door.reached.wait()
            draining = asyncio.create_task(server.drain())
            while server.sockets:
                await asyncio.sleep(0)
            door.opened.set()
            error = await client
            assert not draining.done()
        assert error.code is Code.SHUTDOWN
        await draining

    async def test_who_comes_up_as_it_begins_is_told(self) -> None:
        async def on_session(session: Session) -> None:
            if not session.peer_meta:
                asyncio.get_running_loop().call_soon(server._stop_listening)  # after this session's admission

        server = await serve(echo, "127.0.0.1", 0, on_session=on_session)
        async with connect(server.addresses[0], meta={"first": "yes"}) as first, first.open("echo"):
            late = await connect(server.addresses[0])
            await late.wait_closed()
            assert isinstance(late.exception, SessionClosed)
            assert late.exception.code is Code.SHUTDOWN
            assert not first.closed
        await server.close()
