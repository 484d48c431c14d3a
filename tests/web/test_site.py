"""The site: whose WebSockets are sessions, what is refused and by which name, and what it serves over HTTP."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support import frames
from support.basics import echo, until
from support.frames import PREFACE, Code, Frame, Kind, NeedMore, Record
from support.tls import client_context, server_context
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

import muxtcp
from muxtcp import web
from muxtcp.web import bridge, pace
from muxtcp.web.site import Site


class Peer:
    """A raw client: frames over a WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.buffer = b""
        self.greeted = False

    async def send(self, *pieces: bytes) -> None:
        await self.socket.send(b"".join(pieces))

    async def frame(self) -> Frame:
        while True:
            if not self.greeted and len(self.buffer) >= len(PREFACE):
                assert self.buffer.startswith(PREFACE)
                self.buffer, self.greeted = self.buffer[len(PREFACE) :], True
            if self.greeted:
                try:
                    found, end = frames.take_frame(self.buffer)
                except NeedMore:
                    pass
                else:
                    self.buffer = self.buffer[end:]
                    return found
            piece = await self.socket.recv()
            assert isinstance(piece, bytes)
            self.buffer += piece

    async def until(self, what: Kind | Record) -> Frame:
        while True:
            found = await self.frame()
            if found.record is what or (found.channel and found.kind is what):
                return found

    async def closed(self) -> ConnectionClosed:
        """Read on to the end: how the WebSocket was closed."""
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                await self.socket.recv()
        return caught.value


@asynccontextmanager
async def dial(site: Site, path: str = "/mux", scheme: str = "ws", **options: Any) -> AsyncIterator[Peer]:
    async with connect(f"{scheme}://127.0.0.1:{site.port}{path}", compression=None, **options) as socket:
        yield Peer(socket)


@asynccontextmanager
async def greeted(site: Site, **said: Any) -> AsyncIterator[Peer]:
    async with dial(site, subprotocols=["muxtcp"]) as peer:
        assert peer.socket.subprotocol == "muxtcp"
        await peer.send(PREFACE, frames.hello(**said))
        await peer.until(Record.WELCOME)
        yield peer


async def echoes(peer: Peer, channel: int = 1, message: bytes = b"hello") -> None:
    await peer.send(frames.open(channel, "echo"), frames.data(channel, message))
    assert (await peer.until(Kind.DATA)).payload == message


# --- the same sessions ------------------------------------------------------------------------------------------------


async def test_a_handler_serves_browsers() -> None:
    async with web.serve_web(echo, "127.0.0.1", 0) as site, greeted(site) as peer:
        await echoes(peer)
        assert site.server is not None
        assert len(site.server.sessions) == 1
        await peer.send(frames.goaway(0))
        await peer.socket.close()
        await until(lambda: not site.server.sessions)  # type: ignore[union-attr]


async def test_frames_may_be_cut_anywhere() -> None:
    async with web.serve_web(echo, "127.0.0.1", 0) as site, dial(site) as peer:
        for byte in PREFACE + frames.hello():
            await peer.send(bytes([byte]))
        await peer.until(Record.WELCOME)
        for byte in frames.open(1, "echo") + frames.data(1, b"hello"):
            await peer.send(bytes([byte]))
        assert (await peer.until(Kind.DATA)).payload == b"hello"


async def test_one_server_over_both() -> None:
    async with muxtcp.serve(echo, "127.0.0.1", 0) as server, web.serve_web(server, "127.0.0.1", 0) as site:
        async with greeted(site) as peer, muxtcp.connect(server.addresses[0]) as session:
            await echoes(peer)
            assert await session.request("echo", b"there") == b"there"
            assert len(server.sessions) == 2
        assert site.server is server


async def test_a_bridge_to_a_server_elsewhere() -> None:
    async with muxtcp.serve(echo, "127.0.0.1", 0) as server:
        async with web.serve_web(server.addresses[0], "127.0.0.1", 0) as site, greeted(site) as peer:
            await echoes(peer, message=bytes(10_000))
            assert site.server is None


async def test_a_large_message_both_ways() -> None:
    async with (
        web.serve_web(echo, "127.0.0.1", 0) as site,
        greeted(site, session_limit=2**40, channel_limit=2**40) as peer,
    ):
        pieces = [frames.part(1, bytes(16_384)) for _ in range(15)]
        await peer.send(frames.open(1, "echo"), *pieces, frames.data(1, b"end"))
        size = 0
        while (found := await peer.frame()).kind is not Kind.DATA or not found.channel:
            size += len(found.payload) if found.channel and found.kind is Kind.PART else 0
        assert size + len(found.payload) == 15 * 16_384 + 3


async def test_who_comes_in_is_asked_as_over_tcp() -> None:
    seen: list[muxtcp.Credentials] = []

    async def authenticate(credentials: muxtcp.Credentials) -> str | None:
        seen.append(credentials)
        return "ann" if credentials.token == b"good" else None

    async with web.serve_web(echo, "127.0.0.1", 0, authenticate=authenticate) as site:
        async with dial(site) as peer:
            own = peer.socket.local_address
            await peer.send(PREFACE, frames.hello(auth=b"bad"))
            assert (await peer.frame()).fields["code"] == Code.UNAUTHENTICATED
        async with greeted(site, auth=b"good"):
            assert site.server is not None
            assert [session.peer_identity for session in site.server.sessions] == ["ann"]
        assert seen[0].address == own


async def test_tls() -> None:
    async with web.serve_web(echo, "127.0.0.1", 0, ssl=server_context()) as site:
        context: ssl.SSLContext = client_context()
        async with dial(site, scheme="wss", ssl=context) as peer:
            await peer.send(PREFACE, frames.hello())
            await peer.until(Record.WELCOME)
            await echoes(peer)


async def test_an_end_in_good_order() -> None:
    async with web.serve_web(echo, "127.0.0.1", 0) as site:
        async with greeted(site) as peer:
            assert site.server is not None
            [session] = site.server.sessions
            await peer.send(frames.goaway(0))
        await session.wait_closed()
        assert isinstance(session.exception, muxtcp.SessionClosed)


async def test_a_websocket_that_just_ends_is_a_loss() -> None:
    async with web.serve_web(echo, "127.0.0.1", 0) as site:
        async with greeted(site):
            assert site.server is not None
            [session] = site.server.sessions
        await session.wait_closed()
        assert isinstance(session.exception, muxtcp.SessionLost)


async def test_who_reads_slowly_is_not_written_ahead() -> None:
    """What waits in the process is bounded, however much credit there is; all of it comes when it is read."""
    count, size = 600, 60_000
    accepted = 0

    async def pours(channel: muxtcp.Channel) -> None:
        nonlocal accepted
        for _ in range(count):
            await channel.send(bytes(size))
            accepted += 1

    async with web.serve_web(pours, "127.0.0.1", 0) as site:
        async with greeted(site, session_limit=2**50, channel_limit=2**50) as peer:
            peer.socket.transport.pause_reading()
            await peer.send(frames.open(1, "pours"))
            before = -1
            while before < accepted:
                before = accepted
                for _ in range(200):
                    await asyncio.sleep(0)
            assert 0 < accepted * size < count * size / 2  # what the kernel takes is in it
            peer.socket.transport.resume_reading()
            left = count
            while left:
                found = await peer.frame()
                left -= found.kind is Kind.DATA and found.channel == 1


async def test_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(delay: float) -> None:
        waits.append(delay)

    it = pace.Pace(100)
    monkeypatch.setattr(pace.asyncio, "sleep", sleep)
    for _ in range(90):
        await it.step()
    assert waits == []
    for _ in range(1_000):
        await it.step()
    assert len(waits) > 900
    assert waits[-1] > waits[0]


async def test_a_session_that_broke_is_parked() -> None:
    async with web.serve_web(echo, "127.0.0.1", 0) as site:
        async with greeted(site, resume=30_000, ticket=bytes(16)) as peer:
            peer.socket.transport.abort()
        assert site.server is not None
        server = site.server
        await until(lambda: len(server.parking))


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origins", "origin", "let_in"),
    [
        (None, "http://127.0.0.1:{port}", True),
        (None, "http://evil.example", False),
        (None, "http://127.0.0.1:1", False),
        (None, "null", False),
        (["https://good.example"], "https://good.example", True),
        (["https://good.example"], "http://good.example", False),
        (["https://good.example"], "http://127.0.0.1:{port}", False),
        (["*"], "http://anything.example", True),
    ],
)
async def test_the_origin_of_a_page(origins: list[str] | None, origin: str, let_in: bool) -> None:
    async with web.serve_web(echo, "127.0.0.1", 0, origins=origins) as site:
        origin = origin.format(port=site.port)
        if let_in:
            async with dial(site, origin=origin):
                pass
            return
        with pytest.raises(InvalidStatus) as caught:
            async with dial(site, origin=origin):
                pass
        assert caught.value.response.status_code == 403
        assert b"bad_origin" in (caught.value.response.body or b"")
        assert site.counters["bad_origin"] == 1


@pytest.mark.parametrize(
    ("sent", "code", "name"),
    [("text", 1003, "text_message"), (b"", 1008, "empty_message"), (bytes(2_001), 1009, "too_large")],
    ids=["text", "empty", "too large"],
)
async def test_messages_that_end_their_websocket(sent: str | bytes, code: int, name: str) -> None:
    async with web.serve_web(echo, "127.0.0.1", 0, max_size=2_000) as site, dial(site) as peer:
        await peer.socket.send(sent)
        end = await peer.closed()
        assert end.rcvd is not None
        assert end.rcvd.code == code
        await until(lambda: site.counters[name] == 1)


@pytest.mark.parametrize(
    ("sent", "code", "name"),
    [("text", 1003, "text_message"), (bytes(2_001), 1009, "too_large")],
    ids=["text", "too large"],
)
async def test_the_same_at_a_bridge(sent: str | bytes, code: int, name: str) -> None:
    async with muxtcp.serve(echo, "127.0.0.1", 0) as server:
        async with web.serve_web(server.addresses[0], "127.0.0.1", 0, max_size=2_000) as site, dial(site) as peer:
            await peer.socket.send(sent)
            end = await peer.closed()
            assert end.rcvd is not None
            assert end.rcvd.code == code
            await until(lambda: site.counters[name] == 1)


async def test_garbage_is_refused_by_the_server() -> None:
    async with web.serve_web(echo, "127.0.0.1", 0) as site, dial(site) as peer:
        await peer.send(b"\x16\x03\x01 what is that")
        assert (await peer.frame()).fields["code"] == Code.BAD_PREFACE
        await peer.closed()
        server = site.server
        assert server is not None
        await until(lambda: server.counters["BAD_PREFACE"] == 1)


async def test_a_reader_that_never_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "STALLED", 0.2)

    async def pours(channel: muxtcp.Channel) -> None:
        while True:
            await channel.send(bytes(60_000))

    async with muxtcp.serve(pours, "127.0.0.1", 0) as server:
        async with web.serve_web(server.addresses[0], "127.0.0.1", 0) as site:
            async with greeted(site, session_limit=2**50, channel_limit=2**50) as peer:
                peer.socket.transport.pause_reading()
                await peer.send(frames.open(1, "pours"))
                while not site.counters["slow_reader"]:
                    await asyncio.sleep(0.01)
                peer.socket.transport.abort()


async def test_a_server_that_is_not_there() -> None:
    async with muxtcp.serve(echo, "127.0.0.1", 0) as server:
        address = server.addresses[0]
    async with web.serve_web(address, "127.0.0.1", 0) as site, dial(site) as peer:
        end = await peer.closed()
        assert end.rcvd is not None
        assert end.rcvd.code == 1013
        assert end.rcvd.reason.startswith("unreachable")
        assert site.counters["unreachable"] == 1


async def test_too_many_connections() -> None:
    async with web.serve_web(echo, "127.0.0.1", 0, max_connections=1) as site, dial(site):
        with pytest.raises(InvalidStatus, match="503"):
            async with dial(site):
                pass
        assert site.counters["over_max_connections"] == 1


@pytest.mark.parametrize(
    ("arguments", "finding"),
    [
        ({"path": "mux"}, "path is 'mux', which does not begin with /"),
        ({"max_size": 0, "max_rate": -1}, "max_size is 0, not more than 0; max_rate is -1, not more than 0"),
        ({"static": "/nowhere/at/all"}, "no folder /nowhere/at/all"),
        ({"static": {"page": "."}}, "'page' does not begin and end with /"),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], finding: str) -> None:
    with pytest.raises(ValueError, match=finding):
        web.serve_web(echo, "127.0.0.1", 0, **arguments)


def test_a_target_that_is_there_already_has_its_own_options() -> None:
    with pytest.raises(TypeError, match="resume: a target"):
        web.serve_web("tcp://h:1", "127.0.0.1", 0, resume=3)
    with pytest.raises(ValueError, match="bad address 'http://h:1'"):
        web.serve_web("http://h:1", "127.0.0.1", 0)


# --- pages ------------------------------------------------------------------------------------------------------------


async def get(site: Site, path: str) -> tuple[int, str, bytes]:
    """Status, headers and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n".encode())
    head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), head.decode().lower(), body


async def test_pages(tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("<p>here</p>")
    (tmp_path / "secret.txt").write_text("no")
    (page / "link").symlink_to(tmp_path / "secret.txt")
    async with web.serve_web(echo, "127.0.0.1", 0, static=page) as site:
        status, head, body = await get(site, "/?x=1")
        assert (status, body) == (200, b"<p>here</p>")
        assert "content-type: text/html" in head
        assert "content-security-policy: default-src 'self'" in head
        status, head, body = await get(site, "/muxtcp/muxtcp.js")
        assert (status, "text/javascript" in head) == (200, True)
        assert body == (web.STATIC / "muxtcp.js").read_bytes()
        for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/link", "/nothing", "/muxtcp/../_transport.py", "/%00"):
            assert (await get(site, path))[0] == 404, path
        assert (await get(site, "/mux"))[0] == 426
        assert (site.counters["pages"], site.counters["not_found"], site.counters["bad_request"]) == (2, 6, 1)
