"""connect() against real servers, over every kind of socket."""

import asyncio
import re
import socket
import ssl
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.basics import echo
from support.tls import client_context, server_context

import muxtcp
from muxtcp import (
    Channel,
    ChannelRefused,
    Code,
    Config,
    Connector,
    HandshakeError,
    MuxError,
    ReconnectFailed,
    Session,
    SessionClosed,
    SessionLost,
    State,
    StateInfo,
    connect,
    constant,
    serve,
)


async def echoed(session: Session, message: bytes = b"hello") -> bool:
    async with session.open("echo") as channel:
        await channel.send(message)
        return await channel.recv() == message


class TestTransports:
    async def test_host_and_port(self) -> None:
        async with serve(echo, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            async with connect(host, port) as session:
                assert await echoed(session)

    @pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
    async def test_ipv6(self) -> None:
        async with serve(echo, "::1", 0) as server:
            [address] = server.addresses
            assert address.startswith("tcp://[::1]:")
            async with connect(address) as session:
                assert await echoed(session)

    async def test_unix_socket(self, tmp_path: Path) -> None:
        path = tmp_path / "x.sock"
        async with serve(echo, path=path) as server:
            assert server.addresses == [f"unix://{path}"]
            async with connect(path=path) as by_path, connect(f"unix://{path}") as by_url:
                assert await echoed(by_path)
                assert await echoed(by_url)

    async def test_connected_sockets(self) -> None:
        async with serve(echo, "127.0.0.1", 0) as server:
            sock = socket.create_connection(server.sockets[0].getsockname())
            async with connect(sock=sock) as session:
                assert await echoed(session)

    async def test_bound_socket(self) -> None:
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        async with serve(echo, sock=bound) as server, connect(server.addresses[0]) as session:
            assert await echoed(session)

    async def test_tls(self) -> None:
        async with serve(echo, "127.0.0.1", 0, ssl=server_context()) as server:
            [address] = server.addresses
            assert address.startswith("tls://127.0.0.1:")
            async with connect(address, ssl=client_context()) as session:
                assert session.ssl_object is not None
                assert await echoed(session, bytes(1_000_000))

    async def test_tls_to_a_stranger_is_final(self) -> None:
        async with serve(echo, "127.0.0.1", 0, ssl=server_context()) as server:
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(server.addresses[0], backoff=constant(0.0))


class TestHandshake:
    async def test_each_side_sees_the_others_metadata(self) -> None:
        seen = []

        async def admit(session: Session) -> None:
            seen.append((dict(session.peer_meta), session.peer_auth))

        async with serve(echo, "127.0.0.1", 0, meta={"name": "server"}, on_session=admit) as server:
            async with connect(server.addresses[0], meta={"name": "client"}, auth=b"secret") as session:
                assert dict(session.peer_meta) == {"name": "server"}
        assert seen == [({"name": "client"}, b"secret")]

    async def test_a_refusal_reaches_the_client_whole_and_is_final(self) -> None:
        async def admit(session: Session) -> None:
            raise HandshakeError(code=Code.UNAUTHENTICATED, reason="who are you?")

        async with serve(echo, "127.0.0.1", 0, on_session=admit) as server:
            with pytest.raises(HandshakeError, match="UNAUTHENTICATED .0x20.: who are you"):
                await connect(server.addresses[0], backoff=constant(0.0))
            assert server.counters["UNAUTHENTICATED"] == 1
            assert not server.sessions

    async def test_a_busy_server_is_tried_again_and_not_before_it_said(self) -> None:
        admitted = iter([False, False, True])
        delays = []

        async def admit(session: Session) -> None:
            if not next(admitted):
                raise HandshakeError(code=Code.BUSY, reason="full", retry_after=0.02)

        def on_state(state: State, info: StateInfo) -> None:
            if state is State.WAITING:
                delays.append(info.delay)

        async with serve(echo, "127.0.0.1", 0, on_session=admit) as server:
            async with connect(server.addresses[0], backoff=constant(0.01, jitter=0), on_state=on_state) as session:
                assert await echoed(session)
        assert len(delays) == 2
        assert all(0.03 <= delay < 0.05 for delay in delays)

    async def test_a_failing_admission_refuses_with_internal(self, caplog: pytest.LogCaptureFixture) -> None:
        async def admit(session: Session) -> None:
            raise KeyError("a bug")

        async with serve(echo, "127.0.0.1", 0, on_session=admit) as server:
            with pytest.raises(HandshakeError, match="INTERNAL"):
                await connect(server.addresses[0])
        assert "a bug" in caplog.text

    async def test_a_refusal_that_cannot_be_told_refuses_with_internal(self, caplog: pytest.LogCaptureFixture) -> None:
        async def admit(session: Session) -> None:
            raise HandshakeError(code=Code.BUSY, retry_after=-1)

        async with serve(echo, "127.0.0.1", 0, on_session=admit) as server:
            with pytest.raises(HandshakeError, match="INTERNAL"):
                await connect(server.addresses[0])
        assert "cannot be told: handshake refused: BUSY (0x12) (retry after -1 s)" in caplog.text

    async def test_a_server_that_says_nothing(self) -> None:
        async with plain_server(b"") as address:
            with pytest.raises((TimeoutError, MuxError)):
                await connect(address, config=Config(handshake_timeout=0.05))

    async def test_a_server_of_another_kind(self) -> None:
        async with plain_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
            with pytest.raises(MuxError, match="BAD_PREFACE"):
                await connect(address)


class TestErrors:
    async def test_nobody_there_names_the_address(self) -> None:
        with pytest.raises(ConnectionRefusedError, match="cannot connect to 127.0.0.1:1: Connection refused"):
            await connect("127.0.0.1", 1)

    async def test_no_answer_in_time_names_address_and_time(self) -> None:
        silent = socket.socket()
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        fill = [socket.socket() for _ in range(3)]
        for one in fill:  # the backlog is full: what else comes is dropped
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        with pytest.raises(TimeoutError, match=r"cannot connect to 127.0.0.1:\d+: no answer within 0.05 s"):
            await connect(*silent.getsockname(), connect_timeout=0.05)
        for one in [silent, *fill]:
            one.close()

    async def test_cancelled_at_any_point_it_leaves_nothing(self) -> None:
        async with serve(echo, "127.0.0.1", 0) as server:
            for turns in range(40):
                attempt = asyncio.ensure_future(connect(server.addresses[0]))
                for _ in range(turns):
                    await asyncio.sleep(0)
                attempt.cancel()
                await asyncio.wait([attempt])
                if not attempt.cancelled():
                    await attempt.result().close()


class TestReconnection:
    async def test_a_new_session_after_each_loss(self) -> None:
        states: list[State] = []
        connector: Connector | None = None
        async with serve(echo, "127.0.0.1", 0) as server:
            connector = connect(
                server.addresses[0], backoff=constant(0.0), on_state=lambda state, info: states.append(state)
            )
            rounds = 0
            async for session in connector:
                assert await echoed(session)
                rounds += 1
                if rounds == 3:
                    connector.stop()
                    continue
                for served in list(server.sessions):
                    served.abort("cut")
                with pytest.raises((SessionLost, SessionClosed, ChannelRefused)):
                    while True:
                        await echoed(session)
        once = [State.CONNECTING, State.CONNECTED, State.DISCONNECTED]
        assert states == [*once, State.WAITING, *once, State.WAITING, *once, State.STOPPED]

    async def test_a_restarted_server_is_found_again(self) -> None:
        server = await serve(echo, "127.0.0.1", 0)
        [address] = server.addresses
        port = server.sockets[0].getsockname()[1]
        connector = connect(address, backoff=constant(0.01))
        rounds = 0
        async for session in connector:
            assert await echoed(session)
            rounds += 1
            if rounds == 2:
                connector.stop()
                continue
            await server.close()
            await session.wait_closed()
            server = await serve(echo, "127.0.0.1", port)
        await server.close()
        assert rounds == 2

    async def test_the_recipe_of_the_readme_outlives_a_server_that_restarts_in_good_order(self) -> None:
        readme = (Path(__file__).parents[2] / "README.md").read_text()
        [recipe] = re.findall(r"```python\n(async for .*?)```", readme, re.DOTALL)

        async def work(session: Session) -> None:
            async with session.open("echo") as channel:
                while True:
                    await channel.send(b"x")
                    assert await channel.recv() == b"x"
                    working.set()

        async def at_work() -> None:
            while not working.is_set():
                assert not client.done(), client.exception()
                await asyncio.sleep(0.001)

        working = asyncio.Event()
        server = await serve(echo, "127.0.0.1", 0, config=Config(close_timeout=0.05))
        names = {"muxtcp": muxtcp, "work": work}
        recipe = recipe.replace("tcp://feeds.example:7777", server.addresses[0])
        exec("async def client():\n" + textwrap.indent(recipe, "    "), names)
        client = asyncio.create_task(names["client"]())
        for _ in range(2):
            await at_work()
            [address] = server.addresses
            await server.close()
            working.clear()
            server = await serve(echo, address, config=Config(close_timeout=0.05))
        await at_work()
        client.cancel()
        await asyncio.wait([client])
        await server.close()

    async def test_gives_up_and_says_how_often_it_tried(self) -> None:
        with pytest.raises(ReconnectFailed, match="gave up after 3 attempts") as caught:
            await connect("127.0.0.1", 1, backoff=constant(0.001), max_attempts=3)
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)


class TestBothWays:
    async def test_the_server_opens_channels_too(self) -> None:
        answers: asyncio.Queue[bytes] = asyncio.Queue()

        async def ask(channel: Channel) -> None:
            answers.put_nowait(await channel.session.request("client-echo", b"are you there?"))

        async def answer(channel: Channel) -> None:
            assert channel.name == "client-echo"
            await channel.send(await channel.recv())

        async with serve(ask, "127.0.0.1", 0) as server, connect(server.addresses[0], handler=answer) as session:
            async with session.open("ask"):
                assert await answers.get() == b"are you there?"

    async def test_a_side_without_a_handler_refuses(self) -> None:
        async with serve(None, "127.0.0.1", 0) as server, connect(server.addresses[0]) as session:
            with pytest.raises(ChannelRefused, match="NOT_FOUND"):
                await session.request("anything", b"")

    async def test_codecs(self) -> None:
        async with serve(echo, "127.0.0.1", 0, codec="json") as server:
            async with connect(server.addresses[0], codec="json") as session, session.open("echo") as channel:
                await channel.send({"a": [1, None]})
                assert await channel.recv() == {"a": [1, None]}


@asynccontextmanager
async def plain_server(greeting: bytes) -> AsyncIterator[str]:
    """A server that speaks no muxtcp: it greets, and then only listens."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        yield f"tcp://{host}:{port}"
