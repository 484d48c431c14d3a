"""aiohttp, unmodified, at both ends of a session: each of its connections is a channel."""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.pages import recipe

import muxtcp
from muxtcp.testing import pair

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed")
from aiohttp import web  # noqa: E402

HANGS, GONE = web.AppKey("hangs", asyncio.Event), web.AppKey("gone", asyncio.Event)
PARTS = [os.urandom(100_000) for _ in range(50)]  # 5 MB: many windows


ChannelConnector = recipe("docs/adapters.md", "ChannelConnector")


async def digest(request: web.Request) -> web.Response:
    """Of a body that is read as it comes."""
    found = hashlib.sha256()
    async for part in request.content.iter_any():
        found.update(part)
    return web.json_response({"digest": found.hexdigest(), "peer": request.transport.get_extra_info("peername")})


async def parts(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for part in PARTS:
        await response.write(part)
    await response.write_eof()
    return response


async def hang(request: web.Request) -> web.Response:
    request.app[HANGS].set()
    try:
        await asyncio.Event().wait()
    finally:
        request.app[GONE].set()
    raise AssertionError


async def talk(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(max_msg_size=1 << 25)
    await socket.prepare(request)
    async for message in socket:
        await socket.send_bytes(message.data[::-1])
    return socket


def application() -> web.Application:
    app = web.Application(client_max_size=1 << 25)
    app[HANGS], app[GONE] = asyncio.Event(), asyncio.Event()
    app.add_routes([web.post("/digest", digest), web.get("/parts", parts), web.get("/hang", hang)])
    app.add_routes([web.get("/talk", talk), web.static("/files", Path(__file__).parent)])
    return app


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[muxtcp.Session]:
    """A session to whose channels the application answers."""
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()

    def handler(channel: muxtcp.Channel) -> None:
        muxtcp.as_transport(channel, runner.server())

    try:
        async with pair(handler) as sessions:
            yield sessions.client
    finally:
        await runner.cleanup()


async def test_requests_with_streaming_bodies_and_a_pool() -> None:
    async with serving(application()) as session:
        async with aiohttp.ClientSession("http://over.muxtcp", connector=ChannelConnector(session, limit=4)) as http:

            async def upload() -> AsyncIterator[bytes]:
                for part in PARTS:
                    yield part

            async with http.post("/digest", data=upload()) as response:
                assert (await response.json())["digest"] == hashlib.sha256(b"".join(PARTS)).hexdigest()
            async with http.get("/parts") as response:
                assert await response.read() == b"".join(PARTS)
            async with http.get(f"/files/{Path(__file__).name}") as response:  # by sendfile, where the loop has it
                assert await response.read() == Path(__file__).read_bytes()  # noqa: ASYNC240

            async def one(n: int) -> bool:
                data = b"%d" % n * n
                async with http.post("/digest", data=data) as response:
                    return bool((await response.json())["digest"] == hashlib.sha256(data).hexdigest())

            assert all(await asyncio.gather(*map(one, range(100))))
            assert 1 <= len(session.channels) <= 4  # they are kept, and used again


async def test_a_web_socket() -> None:
    async with serving(application()) as session:
        async with aiohttp.ClientSession("http://over.muxtcp", connector=ChannelConnector(session)) as http:
            async with http.ws_connect("/talk", max_msg_size=1 << 25) as socket:
                for size in (0, 1, 125, 126, 65_535, 65_536, 5_000_000):
                    data = os.urandom(size)
                    await socket.send_bytes(data)
                    assert await socket.receive_bytes() == data[::-1]
                await socket.close()
                assert socket.close_code == aiohttp.WSCloseCode.OK


async def test_a_request_that_is_given_up_is_cancelled_at_the_server() -> None:
    app = application()
    async with serving(app) as session:
        async with aiohttp.ClientSession("http://over.muxtcp", connector=ChannelConnector(session)) as http:
            request = asyncio.ensure_future(http.get("/hang"))
            await app[HANGS].wait()
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            await app[GONE].wait()


async def test_a_response_that_is_not_read_waits_in_the_server() -> None:
    """Its channel has no credit, and the session goes on for others."""
    async with serving(application()) as session:
        async with aiohttp.ClientSession("http://over.muxtcp", connector=ChannelConnector(session)) as http:
            async with http.get("/parts") as unread:
                async with http.post("/digest", data=b"?") as response:
                    assert response.status == 200
                assert await unread.content.readexactly(len(PARTS[0])) == PARTS[0]


async def test_a_server_that_is_not_there_and_one_that_goes_away() -> None:
    async with pair() as sessions:
        async with aiohttp.ClientSession("http://over.muxtcp", connector=ChannelConnector(sessions.client)) as http:
            with pytest.raises(aiohttp.ClientConnectionError):
                await http.get("/parts")
    app = application()
    async with serving(app) as session:
        async with aiohttp.ClientSession("http://over.muxtcp", connector=ChannelConnector(session)) as http:
            request = asyncio.ensure_future(http.get("/hang"))
            await app[HANGS].wait()
            session.abort()
            with pytest.raises(aiohttp.ClientConnectionError):
                await request
