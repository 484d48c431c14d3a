"""Clients in admission while the server ends: each hears what lets it come back."""

import asyncio

import pytest
from support.authority import LOCALHOST, Authority

from muxtcp import Channel, Code, HandshakeError, Server, connect, serve, worth_retrying


async def echo(channel: Channel) -> None:
    async for message in channel:
        await channel.send(message)


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
