"""serve(): admission, caps, and an end in good order."""

import asyncio
import errno
import math
import os
import signal
import socket
from pathlib import Path

import pytest
from support.basics import echo, until
from support.tls import server_context

from muxtcp import (
    Channel,
    Code,
    Config,
    HandshakeError,
    Server,
    SessionClosed,
    connect,
    serve,
)
from muxtcp import server as server_module


class Raw:
    """A peer that uses no library code."""

    def __init__(self, server: Server) -> None:
        self.sock = socket.create_connection(server.sockets[0].getsockname())
        self.sock.setblocking(False)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def everything(self) -> bytes:
        """What comes until the server closes or resets the connection."""
        received = b""
        with self.sock:
            try:
                while chunk := await asyncio.get_running_loop().sock_recv(self.sock, 65_536):
                    received += chunk
            except ConnectionResetError:
                pass
        return received


class TestStart:
    async def test_port_in_use_names_the_address(self) -> None:
        async with serve(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
                await serve(echo, "127.0.0.1", port)

    async def test_only_once(self) -> None:
        async with serve(echo, "127.0.0.1", 0) as server:
            with pytest.raises(RuntimeError, match="started only once"):
                await server
        with pytest.raises(RuntimeError, match="started only once"):
            await server

    async def test_two_servers_share_a_port(self) -> None:
        async with serve(echo, "127.0.0.1", 0, reuse_port=True) as one:
            port = one.sockets[0].getsockname()[1]
            async with serve(echo, "127.0.0.1", port, reuse_port=True) as two:
                assert two.addresses == one.addresses

    @pytest.mark.parametrize(
        ("arguments", "finding"),
        [
            ({"port": 1, "path": "/x"}, "port 1 goes with a host"),
            ({"host": "h"}, "host 'h' needs a port"),
            ({"host": "tls://h:1"}, "'tls://h:1' needs ssl=, a context with the server's certificate"),
            ({"host": "h", "port": 1, "meta": {"a": "x" * 20_000}}, "a handshake of 20,0.. bytes, over 16,384"),
            ({"psk": bytes(16), "resume": 0.0}, "psk= goes with resume="),
            ({"drain_timeout": -1.0}, "drain_timeout is -1 s, not 0 or more"),
            ({"drain_timeout": math.nan}, "drain_timeout is nan s, not 0 or more"),
            (
                {"max_parked": -1, "parked_memory": -2_000},
                "max_parked is -1, not 0 or more; parked_memory is -2,000 bytes, not 0 or more",
            ),
        ],
    )
    def test_arguments_that_make_no_sense(self, arguments, finding: str) -> None:
        with pytest.raises(ValueError, match=finding):
            serve(echo, **arguments)

    def test_meta_is_text(self) -> None:
        with pytest.raises(TypeError, match="meta maps str to str, not 'a' to 1"):
            serve(echo, "127.0.0.1", 0, meta={"a": 1})  # type: ignore[dict-item]

    @pytest.mark.parametrize("name", ["relative.sock", "a#b c?d%20e.sock", "\udcff.sock"])
    async def test_a_unix_socket_is_reached_by_its_address_and_removed(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        async with serve(echo, path=name) as server, connect(server.addresses[0]) as session:
            assert await session.ping() >= 0
        assert not (tmp_path / name).exists()

    async def test_a_unix_socket_that_another_has_replaced_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "x.sock"
        async with serve(echo, path=path):
            later = await serve(echo, path=path)
        async with connect(path=path) as session:
            assert await session.ping() >= 0
        path.unlink()
        await later.close()

    async def test_serve_forever_ends_when_closed(self) -> None:
        server = serve(echo, "127.0.0.1", 0)
        serving = asyncio.create_task(server.serve_forever())
        await until(lambda: server.sockets)
        await server.close()
        await serving

    async def test_serve_forever_closes_when_cancelled(self) -> None:
        server = serve(echo, "127.0.0.1", 0)
        serving = asyncio.create_task(server.serve_forever())
        await until(lambda: server.sockets)
        serving.cancel()
        await asyncio.wait([serving])
        await server.wait_closed()
        assert not server.sockets


class TestAdmission:
    @pytest.mark.parametrize(
        ("limits", "counter"),
        [
            ({"max_handshakes": 2}, "over_max_handshakes"),
            ({"max_handshakes_per_address": 2}, "over_max_handshakes_per_address"),
        ],
    )
    async def test_unfinished_handshakes_are_capped(self, limits: dict[str, int], counter: str) -> None:
        async with serve(echo, "127.0.0.1", 0, config=Config(**limits)) as server:
            silent = [Raw(server), Raw(server)]
            await until(lambda: server.counters["accepted"] == 2)
            for number in range(1, 20):
                with pytest.raises(HandshakeError, match="too many connections") as refused:
                    await connect(server.addresses[0])
                assert (refused.value.code, refused.value.retry_after) == (Code.BUSY, 1.0)
                assert server.counters[counter] == number
            for peer in silent:
                peer.sock.close()
            await until(lambda: server.counters["lost_in_handshake"] == 2)
            async with connect(server.addresses[0]) as session:
                assert await session.ping() >= 0

    async def test_one_too_many_hears_nothing_where_it_expects_tls(self) -> None:
        config = Config(max_handshakes=1)
        async with serve(echo, "127.0.0.1", 0, ssl=server_context(), config=config) as server:
            silent = Raw(server)
            await until(lambda: server.counters["accepted"] == 1)
            assert await Raw(server).everything() == b""
            assert server.counters["over_max_handshakes"] == 1
            silent.sock.close()

    async def test_a_silent_peer_is_closed_in_time_and_counted(self) -> None:
        async with serve(echo, "127.0.0.1", 0, config=Config(handshake_timeout=0.05)) as server:
            await Raw(server).everything()
            await until(lambda: server.counters["HANDSHAKE_TIMEOUT"] == 1)

    @pytest.mark.parametrize(
        "nonsense",
        [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\xff" * 100],
        ids=["http", "tls", "noise"],
    )
    async def test_who_speaks_another_protocol_is_refused_by_name(self, nonsense: bytes) -> None:
        async with serve(echo, "127.0.0.1", 0) as server:
            peer = Raw(server)
            await peer.send(nonsense)
            answer = await peer.everything()
            if nonsense.startswith(b"GET"):
                assert b"muxtcp" in answer
            await until(lambda: server.counters["BAD_PREFACE"] == 1)
            async with connect(server.addresses[0]) as session:  # the server goes on
                assert await session.ping() >= 0

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.EPERM, errno.EPROTO, errno.ENETDOWN], ids=os.strerror)
    async def test_when_it_cannot_accept_it_pauses_and_goes_on(
        self, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Exhausted(socket.socket):
            left = 2

            def accept(self):
                if self.left:
                    self.left -= 1
                    raise OSError(number, os.strerror(number))
                return super().accept()

        monkeypatch.setattr(server_module, "PAUSE", 0.01)
        listener = Exhausted()
        listener.bind(("127.0.0.1", 0))
        async with serve(echo, sock=listener) as server, connect(server.addresses[0]) as session:
            assert await session.ping() >= 0
        assert caplog.text.count(f"accepting nothing for 0.01 s: [Errno {number}] {os.strerror(number)}") == 1  # of two


class TestSessions:
    async def test_a_handler_that_waits_for_one_client_holds_up_no_other(self) -> None:
        """One client does not read, and its handler waits for the window; the other meanwhile moves many windows."""

        async def handler(channel: Channel) -> None:
            if channel.name != "feed":
                return await echo(channel)
            feeds.append(channel)
            for number in range(1_000):
                await channel.send(number.to_bytes(1_000))

        feeds: list[Channel] = []
        config = Config(channel_window=16_384, session_window=65_536)
        async with serve(handler, "127.0.0.1", 0) as server:
            async with connect(server.addresses[0], config=config) as idle, connect(server.addresses[0]) as busy:
                feed = await idle.open("feed")
                await until(lambda: feeds and feeds[0].stall)
                sent = -1
                while sent != (
                    sent := feeds[0].stats().sent
                ):  # what the announcement of the wait brings about may come late
                    for _ in range(3):
                        await idle.ping()
                stalled, sent = feeds[0].stall, feeds[0].stats().sent
                assert stalled.reason == "peer_window"
                async with busy.open("echo") as channel:
                    for number in range(400):
                        await channel.send(number.to_bytes(1_000))
                        assert await channel.recv() == number.to_bytes(1_000)
                assert await busy.request("another", b"?") == b"?"
                assert (feeds[0].stall, feeds[0].stats().sent) == (stalled, sent)
                assert [int.from_bytes(message) async for message in feed] == list(range(1_000))


class TestEnd:
    async def test_closing_tells_the_clients_why(self) -> None:
        server = await serve(echo, "127.0.0.1", 0)
        session = await connect(server.addresses[0])
        await server.close()
        await session.wait_closed()
        assert isinstance(session.exception, SessionClosed)
        assert session.exception.code is Code.SHUTDOWN
        assert not server.sessions
        await server.close()
        await server.wait_closed()

    async def test_closing_ends_handshakes(self) -> None:
        server = await serve(echo, "127.0.0.1", 0)
        peer = Raw(server)
        await until(lambda: server.counters["accepted"] == 1)
        await server.close()
        await peer.everything()

    async def test_closing_at_any_moment_of_a_handshake_leaves_nothing_open(self) -> None:
        for turns in range(20):
            server = await serve(echo, "127.0.0.1", 0)
            peer = Raw(server)
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.close()
            await peer.everything()

    async def test_draining_lets_channels_finish_and_takes_no_new_sessions(self) -> None:
        server = await serve(echo, "127.0.0.1", 0)
        [address] = server.addresses
        session = await connect(address)
        channel = await session.open("echo")
        await channel.send(b"one")
        assert await channel.recv() == b"one"
        draining = asyncio.create_task(server.drain())
        await until(lambda: not server.sockets)
        with pytest.raises(ConnectionRefusedError):
            await connect(address)
        await channel.send(b"two")
        assert await channel.recv() == b"two"
        assert not draining.done()
        await channel.close()
        await draining
        await session.wait_closed()

    async def test_draining_is_bounded(self) -> None:
        server = await serve(echo, "127.0.0.1", 0, config=Config(close_timeout=0.1))
        session = await connect(server.addresses[0])
        channel = await session.open("echo")
        await channel.send(b"one")
        assert await channel.recv() == b"one"
        await server.drain(timeout=0.01)
        assert server.counters["drains_cut_short"] == 1
        await session.wait_closed()

    async def test_a_drain_that_is_cut_short_waits_no_second_time(self, caplog: pytest.LogCaptureFixture) -> None:
        """With `close_timeout` at its default of 5 s, only the first of the two waits would be short."""
        caplog.set_level("INFO", "muxtcp")
        server = await serve(echo, "127.0.0.1", 0)
        session = await connect(server.addresses[0])
        channel = await session.open("echo")
        await channel.send(b"one")
        assert await channel.recv() == b"one"
        async with asyncio.timeout(Config().close_timeout / 2):
            await server.drain(timeout=0.01)
        assert "draining for at most 0.01 s; channels: 1, sessions: 1" in caplog.text
        await session.wait_closed()
        assert isinstance(session.exception, SessionClosed)
        assert session.exception.code is Code.SHUTDOWN

    async def test_a_client_sees_that_its_server_drains(self) -> None:
        server = await serve(echo, "127.0.0.1", 0)
        session = await connect(server.addresses[0])
        channel = await session.open("echo")
        await channel.send(b"one")
        assert await channel.recv() == b"one"
        assert not session.peer_going_away
        draining = asyncio.create_task(server.drain())
        await until(lambda: session.peer_going_away)
        await channel.close()
        await draining
        await session.wait_closed()

    async def test_a_cancelled_drain_closes_at_once(self) -> None:
        server = await serve(echo, "127.0.0.1", 0)
        session = await connect(server.addresses[0])
        channel = await session.open("echo")
        await channel.send(b"one")
        assert await channel.recv() == b"one"
        draining = asyncio.create_task(server.drain())
        await until(lambda: session.peer_going_away)
        draining.cancel()
        async with asyncio.TaskGroup() as group:  # its handler ends with the channel, and so does the close
            group.create_task(server.wait_closed())
            group.create_task(session.wait_closed())
            await until(lambda: server._closing)
            await channel.close()

    async def test_a_signal_drains(self) -> None:
        async with serve(echo, "127.0.0.1", 0, signals=True) as server:
            async with connect(server.addresses[0]) as session:
                assert await session.ping() >= 0
            os.kill(os.getpid(), signal.SIGTERM)
            await server.wait_closed()

    async def test_a_second_signal_ends_at_once(self) -> None:
        async with serve(echo, "127.0.0.1", 0, signals=True) as server:
            session = await connect(server.addresses[0])
            channel = await session.open("echo")
            await channel.send(b"one")
            assert await channel.recv() == b"one"
            os.kill(os.getpid(), signal.SIGTERM)
            await until(lambda: not server.sockets)
            os.kill(os.getpid(), signal.SIGINT)
            await server.wait_closed()
            await session.wait_closed()

    async def test_a_client_on_its_way_while_draining_is_told(self) -> None:
        async def admit(session) -> None:
            admitting.set()
            await asyncio.get_running_loop().create_future()

        admitting = asyncio.Event()
        server = await serve(echo, "127.0.0.1", 0, on_session=admit)
        client = asyncio.ensure_future(connect(server.addresses[0]))
        await admitting.wait()
        await server.close()
        with pytest.raises((OSError, HandshakeError)):
            await client
