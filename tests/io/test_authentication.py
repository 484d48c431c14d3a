"""Who a client is: what authenticate= sees and decides, and where auth= comes from."""

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any

import pytest
from support import frames
from support.authority import LOCALHOST, Authority
from support.basics import echo, until
from support.frames import PREFACE
from support.raw import RawPeer
from support.resuming import linked

import muxtcp
from muxtcp import (
    Code,
    Config,
    Credentials,
    HandshakeError,
    ReconnectFailed,
    Session,
    SessionLost,
    State,
    StateInfo,
    connect,
    constant,
    same_secret,
    serve,
)

TOKENS = {"alice": "alice's token", "bob": "bob's token"}
AT_ONCE = constant(0.0, jitter=0.0)


async def by_token(credentials: Credentials) -> str | None:
    for name, token in TOKENS.items():
        if same_secret(credentials.token, token):
            return name
    return None


def of(server: muxtcp.Server) -> Session:
    [session] = server.sessions
    return session


class TestDecision:
    @pytest.mark.parametrize("auth", ["bob's token", b"bob's token"])
    async def test_a_token_names_the_client(self, auth: str | bytes) -> None:
        async with serve(echo, "127.0.0.1", 0, authenticate=by_token) as server:
            async with connect(server.addresses[0], auth=auth) as session:
                assert of(server).peer_identity == "bob"
                assert session.peer_identity is None
                assert await session.request("", b"hello") == b"hello"

    @pytest.mark.parametrize("auth", ["", "nobody's token", "alice"])
    async def test_none_refuses(self, auth: str) -> None:
        async with serve(echo, "127.0.0.1", 0, authenticate=by_token) as server:
            with pytest.raises(HandshakeError, match="the credentials were not accepted") as refused:
                await connect(server.addresses[0], auth=auth)
            assert refused.value.code is Code.UNAUTHENTICATED
            await until(lambda: server.counters["UNAUTHENTICATED"] == 1)
            assert not server.sessions

    async def test_who_forgets_to_return_admits_nobody(self) -> None:
        async def authenticate(credentials: Credentials) -> None:
            credentials.token == b"right"  # noqa: B015

        async with serve(echo, "127.0.0.1", 0, authenticate=authenticate) as server:  # type: ignore[arg-type]
            with pytest.raises(HandshakeError, match="UNAUTHENTICATED"):
                await connect(server.addresses[0], auth="right")

    async def test_a_refusal_of_its_own_reaches_the_client_whole(self) -> None:
        async def authenticate(credentials: Credentials) -> str:
            raise HandshakeError(code=Code.BUSY, reason="the directory is away", retry_after=2.5)

        async with serve(echo, "127.0.0.1", 0, authenticate=authenticate) as server:
            with pytest.raises(HandshakeError) as refused:
                await connect(server.addresses[0])
        assert (refused.value.code, refused.value.reason) == (Code.BUSY, "the directory is away")
        assert refused.value.retry_after == 2.5

    @pytest.mark.parametrize(
        ("result", "logged"),
        [
            (LookupError("no directory"), "LookupError: no directory"),
            (True, "authenticate() returned an object of type bool, not text or None"),
            (b"alice's token", "authenticate() returned an object of type bytes, not text or None"),
            ("", "authenticate() returned an empty identity"),
        ],
        ids=str,
    )
    async def test_a_failure_is_logged_once_and_tells_nothing(
        self, result: Any, logged: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def authenticate(credentials: Credentials) -> Any:
            if isinstance(result, Exception):
                raise result
            return result

        async with serve(echo, "127.0.0.1", 0, authenticate=authenticate) as server:
            with pytest.raises(HandshakeError) as refused:
                await connect(server.addresses[0], auth="alice's token")
        assert (refused.value.code, refused.value.reason) == (Code.INTERNAL, "admission failed")
        errors = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(errors) == 1
        assert logged in caplog.text
        assert "token" not in caplog.text

    async def test_on_session_comes_after_it(self) -> None:
        seen = []

        async def on_session(session: Session) -> None:
            seen.append(session.peer_identity)

        async with serve(echo, "127.0.0.1", 0, authenticate=by_token, on_session=on_session) as server:
            with pytest.raises(HandshakeError):
                await connect(server.addresses[0], auth="wrong")
            async with connect(server.addresses[0], auth="alice's token"):
                assert seen == ["alice"]


class TestCredentials:
    async def test_what_it_sees(self) -> None:
        seen: list[Credentials] = []

        async def authenticate(credentials: Credentials) -> str:
            seen.append(credentials)
            return "somebody"

        async with serve(echo, "127.0.0.1", 0, authenticate=authenticate) as server:
            async with connect(server.addresses[0], auth="s3cr3t", meta={"zone": "b"}) as session:
                address = session.transport.get_extra_info("sockname")  # type: ignore[union-attr]
        [credentials] = seen
        assert credentials == Credentials(b"s3cr3t", {"zone": "b"}, None, address)
        assert credentials.certificate_identity is None
        assert "s3cr3t" not in repr(credentials)
        assert "<secret of 6 bytes>" in repr(credentials)
        with pytest.raises(AttributeError):
            credentials.token = b""  # type: ignore[misc]

    async def test_a_certificate_that_was_verified(self, authority: Authority) -> None:
        async def authenticate(credentials: Credentials) -> str | None:
            assert credentials.certificate is not None
            assert ("commonName", "worker 7") in [field for [field] in credentials.certificate["subject"]]
            return f"{credentials.certificate_identity} of {credentials.meta['zone']}"

        theirs = authority.server(authority.issue("server", hosts=LOCALHOST), clients=True)
        ours = authority.client(authority.issue("worker 7"))
        async with serve(echo, "127.0.0.1", 0, ssl=theirs, authenticate=authenticate) as server:
            async with connect(server.addresses[0], ssl=ours, meta={"zone": "b"}):
                assert of(server).peer_identity == "worker 7 of b"


class Undecided:
    """An authenticate= that never ends by itself."""

    def __init__(self) -> None:
        self.asked, self.cancelled = asyncio.Event(), asyncio.Event()

    async def __call__(self, credentials: Credentials) -> str | None:
        self.asked.set()
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            self.cancelled.set()


class TestTime:
    async def test_it_has_the_time_of_the_handshake(self) -> None:
        undecided = Undecided()
        config = Config(handshake_timeout=0.3)  # enough for a HELLO, wherever this runs
        async with serve(echo, "127.0.0.1", 0, authenticate=undecided, config=config) as server:
            with pytest.raises(HandshakeError) as refused:
                await connect(server.addresses[0])
            assert refused.value.code is Code.HANDSHAKE_TIMEOUT
            await undecided.cancelled.wait()
            await until(lambda: server.counters["HANDSHAKE_TIMEOUT"] == 1)

    async def test_it_is_cancelled_when_the_client_goes(self) -> None:
        undecided = Undecided()
        async with serve(echo, "127.0.0.1", 0, authenticate=undecided) as server:
            host, port = server.sockets[0].getsockname()
            peer = RawPeer(*await asyncio.open_connection(host, port), client=True)
            await peer.send(PREFACE, frames.hello())
            await undecided.asked.wait()
            peer.end()
            await undecided.cancelled.wait()
            await until(lambda: server.counters["lost_in_handshake"] == 1)

    async def test_it_is_cancelled_when_the_server_closes(self) -> None:
        undecided = Undecided()
        async with serve(echo, "127.0.0.1", 0, authenticate=undecided) as server:
            connecting = asyncio.ensure_future(connect(server.addresses[0]))
            await undecided.asked.wait()
        assert undecided.cancelled.is_set()
        with pytest.raises((HandshakeError, SessionLost)):
            await connecting

    async def test_nothing_is_served_before_it_has_decided(self) -> None:
        """Who does not wait for the answer has broken the protocol, and is not authenticated by that."""
        undecided = Undecided()
        async with serve(echo, "127.0.0.1", 0, authenticate=undecided) as server:
            host, port = server.sockets[0].getsockname()
            peer = RawPeer(*await asyncio.open_connection(host, port), client=True)
            await peer.send(PREFACE, frames.hello())
            await undecided.asked.wait()
            await peer.send(frames.open(1, "echo"), frames.data(1, b"hello"))
            assert {item.record for item in await peer.rest()} == {frames.Record.REFUSED}
            await until(lambda: server.counters["EARLY_FRAME"] == 1)


class Source:
    """An auth= that gives another token each time, and fails as told before."""

    def __init__(self, *failures: Exception) -> None:
        self.failures, self.asked, self.seen = list(failures), 0, list[bytes]()

    async def __call__(self) -> str:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return f"token {self.asked}"

    async def authenticate(self, credentials: Credentials) -> str:
        self.seen.append(bytes(credentials.token))
        return "somebody"


class TestSource:
    async def test_each_attempt_asks(self) -> None:
        source = Source()

        async def twice_busy(session: Session) -> None:
            if source.asked < 3:
                raise HandshakeError(code=Code.BUSY)

        async with serve(echo, "127.0.0.1", 0, authenticate=source.authenticate, on_session=twice_busy) as server:
            async with connect(server.addresses[0], auth=source, backoff=AT_ONCE):
                assert source.seen == [b"token 1", b"token 2", b"token 3"]

    async def test_its_failure_is_one_of_the_attempt(self) -> None:
        away, broken = OSError("the service of tokens is away"), ValueError("no key")
        source, told = Source(away, broken), list[tuple[State, StateInfo]]()
        connector = connect(
            "127.0.0.1", 1, auth=source, backoff=AT_ONCE, on_state=lambda state, info: told.append((state, info))
        )
        with pytest.raises(ValueError, match="no key"):  # not worth another attempt; the OSError was
            await connector
        assert [state.name for state, _ in told] == ["CONNECTING", "WAITING", "CONNECTING", "FAILED"]
        assert [told[index][1].cause for index in (1, 3)] == [away, broken]

    async def test_its_failures_are_limited_as_others_are(self) -> None:
        source = Source(*[OSError("away")] * 9)
        with pytest.raises(ReconnectFailed) as failed:
            await connect("127.0.0.1", 1, auth=source, backoff=AT_ONCE, max_attempts=2)
        assert (source.asked, str(failed.value.__cause__)) == (2, "away")

    async def test_it_has_the_time_of_a_dial(self) -> None:
        async def never() -> str:
            return await asyncio.get_running_loop().create_future()

        with pytest.raises(TimeoutError, match=r"auth\(\) gave no token within 0.01 s"):
            await connect("127.0.0.1", 1, auth=never, connect_timeout=0.01)

    @pytest.mark.parametrize(("auth", "finding"), [(lambda: "token", "nothing to await"), (5, "text or bytes")])
    async def test_what_is_no_source(self, auth: Any, finding: str) -> None:
        with pytest.raises(TypeError, match=finding):
            await connect("127.0.0.1", 1, auth=auth)

    async def test_what_is_no_token(self) -> None:
        async def number() -> int:
            return 5

        with pytest.raises(TypeError, match=r"auth\(\) is text or bytes, not of type int"):
            await connect("127.0.0.1", 1, auth=number)  # type: ignore[arg-type]


class TestResumption:
    async def test_who_resumes_is_known(self) -> None:
        source = Source()
        async with linked(server={"authenticate": source.authenticate}, auth=source) as link:
            source.failures = [OSError("the service of tokens is away")] * 9
            for times in (1, 2):
                link.cut()
                await link.resumed(times)
            assert await link.client.request("", b"hello") == b"hello"
            assert (source.asked, source.seen, link.peer.peer_identity) == (1, [b"token 1"], "somebody")

    async def test_a_new_session_after_one_that_is_not_resumed_asks_again(self) -> None:
        source, sessions = Source(), 0
        async with serve(echo, "127.0.0.1", 0, authenticate=source.authenticate) as server:
            async for session in connect(server.addresses[0], auth=source, resume=30.0, backoff=AT_ONCE):
                sessions += 1
                if sessions == 2:
                    break
                of(server)._give_up("the server has forgotten it")
                with pytest.raises(SessionLost, match="expired"):
                    while True:
                        await session.ping()
        assert source.seen == [b"token 1", b"token 2"]

    async def test_one_client_cannot_use_up_the_places_of_others(self) -> None:
        options: dict[str, Any] = {"resume": 30.0, "backoff": AT_ONCE}
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(
                serve(echo, "127.0.0.1", 0, authenticate=by_token, max_parked_per_identity=1)
            )
            clients, peers = list[Session](), list[Session]()
            for name in ("alice", "bob", "alice"):
                connector = connect(server.addresses[0], auth=TOKENS[name], **options)
                clients.append(await stack.enter_async_context(connector))
                peers += server.sessions - {*peers}
            for listener in server.sockets:  # nobody comes back for now
                asyncio.get_running_loop().remove_reader(listener)
            for peer in peers:
                assert peer.transport is not None
                peer.transport.abort()
                await until(lambda peer=peer: not peer.connected)
            assert [peer.closed for peer in peers] == [True, False, False]
            assert (len(server.parking), server.counters["evicted"]) == (2, 1)
            for listener in server.sockets:
                asyncio.get_running_loop().add_reader(listener, server._accept, listener)
            await until(lambda: [client.resumptions for client in clients] == [0, 1, 1] and clients[0].closed)
