"""TLS: what fails says why, in the same words at both ends; and whom a certificate names."""

import asyncio
import logging
import socket
import ssl
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

import pytest
from support.authority import LOCALHOST, Authority
from support.basics import echo, until
from support.leftovers import sockets
from support.resuming import Link, linked

from muxtcp import Code, Config, HandshakeError, Server, SessionLost, connect, serve, tls, worth_retrying
from muxtcp.attempt import attempt
from muxtcp.authentication import Token
from muxtcp.resumption import Failed, Why
from muxtcp.session import Session
from muxtcp.sockets import Address

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]  # of the server and of the client


class Case(NamedTuple):
    """One certificate is wrong: whose, how it is issued, and what comes of that."""

    whose: str
    counter: str
    said: str  # of the certificate, at both ends
    certificate: dict[str, Any] | None  # for `Authority.issue`; None: there is none
    by_stranger: bool = False
    to_client: str = ""  # where the client has more to say

    def contexts(self, authority: Authority, stranger: Authority, version: ssl.TLSVersion) -> Contexts:
        issuer = stranger if self.by_stranger else authority
        wrong = None if self.certificate is None else issuer.issue(self.whose, **self.certificate)
        if self.whose == "client":
            good = authority.issue("server", hosts=LOCALHOST)
            return authority.server(good, clients=True, version=version), authority.client(wrong)
        assert wrong is not None
        return authority.server(wrong, version=version), authority.client()


UNTRUSTED = "was issued by nobody whom the {} trusts"
BY_CLIENT, BY_SERVER = UNTRUSTED.format("client"), UNTRUSTED.format("server")
REJECTED = "was rejected by the client, as one for another host is"
HERE = {"hosts": LOCALHOST}
CASES = {
    "server, expired": Case("server", "expired", "has expired", HERE | {"days": -1}),
    "server, other host": Case(
        "server", "rejected", REJECTED, {"hosts": ("a.example",)}, to_client="is for another host"
    ),
    "server, other authority": Case("server", "untrusted", BY_CLIENT, HERE, by_stranger=True),
    "server, self-signed": Case("server", "untrusted", BY_CLIENT, HERE | {"self_signed": True}),
    "client, missing": Case("client", "missing", "is missing", None),
    "client, expired": Case("client", "expired", "has expired", {"days": -1}),
    "client, other authority": Case("client", "untrusted", BY_SERVER, {}, by_stranger=True),
    "client, self-signed": Case("client", "untrusted", BY_SERVER, {"self_signed": True}),
}


async def failure(server: Server, client: ssl.SSLContext | None, counter: str) -> Exception:
    """What the client is told; the server has counted it, and nothing else."""
    host, port = server.sockets[0].getsockname()
    with pytest.raises((OSError, HandshakeError)) as failed:
        await connect(host, port, ssl=client)
    await until(lambda: server.counters[counter] == 1 and not server._handshakes)
    assert server.counters == {"accepted": 1, counter: 1}
    return failed.value


def said_by_server(caplog: pytest.LogCaptureFixture) -> str:
    """One line."""
    [record] = [record for record in caplog.records if record.name.startswith("muxtcp")]
    assert record.levelno == logging.INFO
    return record.getMessage()


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("name", CASES)
async def test_a_wrong_certificate(
    name: str, version: ssl.TLSVersion, authority: Authority, stranger: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    case = CASES[name]
    theirs, ours = case.contexts(authority, stranger, version)
    before = sockets()
    async with serve(None, "127.0.0.1", 0, ssl=theirs) as server:
        error = await failure(server, ours, f"tls_{case.whose}_certificate_{case.counter}")
    assert f"the {case.whose}'s certificate {case.said}: [SSL: " in said_by_server(caplog)
    assert not worth_retrying(error)
    if case.certificate is None and version is ssl.TLSVersion.TLSv1_2:
        assert "the client lacks a certificate" in str(error)  # TLS 1.2 has no alert of its own for that
    else:
        assert f"the {case.whose}'s certificate {case.to_client or case.said}" in str(error)
    if case.whose == "client" and version is ssl.TLSVersion.TLSv1_3:  # told after the client's handshake
        assert isinstance(error, HandshakeError)
        assert error.code is Code.UNAUTHENTICATED
    else:
        assert isinstance(error, ssl.SSLError)
        assert "cannot connect to 127.0.0.1:" in str(error)
        assert isinstance(error, ssl.SSLCertVerificationError) is (case.whose == "server")
    assert sockets() == before


@pytest.mark.parametrize("old", ["server", "client"])
async def test_no_common_version(old: str, authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    certificate = authority.issue("server", hosts=LOCALHOST)
    only_old = {"version": ssl.TLSVersion.TLSv1_1, "seclevel": 0}
    theirs = authority.server(certificate, **(only_old if old == "server" else {}))
    ours = authority.client(**(only_old if old == "client" else {}))
    async with serve(None, "127.0.0.1", 0, ssl=theirs) as server:
        error = await failure(server, ours, "tls_no_common_version")
    said = "the two sides have no version of TLS in common"
    assert said in str(error)
    assert said in said_by_server(caplog)
    assert isinstance(error, ssl.SSLError)
    assert not worth_retrying(error)


async def test_no_common_cipher(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    two = ssl.TLSVersion.TLSv1_2
    theirs, ours = authority.server(authority.issue("s", hosts=LOCALHOST), version=two), authority.client(version=two)
    theirs.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    ours.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    async with serve(None, "127.0.0.1", 0, ssl=theirs) as server:
        error = await failure(server, ours, "tls_no_common_cipher")
    assert "no cipher in common" in str(error)
    assert "no cipher in common" in said_by_server(caplog)


async def test_a_plain_client_at_a_tls_port(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    theirs = authority.server(authority.issue("server", hosts=LOCALHOST))
    async with serve(None, "127.0.0.1", 0, ssl=theirs) as server:
        error = await failure(server, None, "tls_plain_peer")
    assert isinstance(error, HandshakeError)
    assert (error.code, error.reason) == (Code.BAD_PREFACE, "the peer speaks TLS, and this side does not")
    assert "the peer does not speak TLS" in said_by_server(caplog)
    assert not worth_retrying(error)


async def test_a_tls_client_at_a_plain_port(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serve(None, "127.0.0.1", 0) as server:
        error = await failure(server, authority.client(), "BAD_PREFACE")
    assert isinstance(error, ssl.SSLError)
    assert "the peer does not speak TLS" in str(error)
    assert "the peer speaks TLS, and this side does not" in said_by_server(caplog)
    assert not worth_retrying(error)


async def test_a_client_that_goes_in_the_middle(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    theirs = authority.server(authority.issue("server", hosts=LOCALHOST))
    async with serve(None, "127.0.0.1", 0, ssl=theirs) as server:
        socket.create_connection(server.sockets[0].getsockname()).close()
        await until(lambda: server.counters["lost_in_handshake"] == 1)
    assert "the peer closed the connection in the TLS handshake" in said_by_server(caplog)


async def test_what_scanners_do_hides_no_other_failure(
    authority: Authority, stranger: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    theirs = authority.server(authority.issue("server", hosts=LOCALHOST), clients=True)
    async with serve(None, "127.0.0.1", 0, ssl=theirs) as server:
        host, port = server.sockets[0].getsockname()
        for _ in range(3):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await reader.read()
            writer.close()
        for certificate in None, stranger.issue("client"):
            with pytest.raises((OSError, HandshakeError)):
                await connect(host, port, ssl=authority.client(certificate))
        await until(lambda: server.counters["tls_client_certificate_untrusted"] == 1)
    said = [message for message in caplog.messages if "no session with" in message]
    assert len(said) == 3
    assert "the peer does not speak TLS" in said[0]
    assert "the client's certificate is missing" in said[1]
    assert "the client's certificate was issued by nobody whom the server trusts" in said[2]


async def test_the_time_to_connect_does_not_hide_what_was_found_in_it(
    authority: Authority, stranger: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    late = loop.time() + 0.6

    async def slowly(line: socket.socket, alert: bytes) -> None:
        await until(lambda: loop.time() > late)

    theirs = authority.server(stranger.issue("server", hosts=LOCALHOST))
    async with serve(None, "127.0.0.1", 0, ssl=theirs) as server:
        host, port = server.sockets[0].getsockname()
        monkeypatch.setattr(tls, "_say", slowly)
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(host, port, ssl=authority.client(), connect_timeout=0.5)


async def test_the_time_of_a_handshake_does_not_hide_what_was_found_in_it(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    late = loop.time() + 0.2

    async def slowly(line: socket.socket, alert: bytes) -> None:
        await until(lambda: loop.time() > late)

    monkeypatch.setattr(tls, "_say", slowly)
    context = authority.server(authority.issue("server", hosts=LOCALHOST))
    async with serve(None, "127.0.0.1", 0, ssl=context, config=Config(handshake_timeout=0.1)) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello")
        await until(lambda: loop.time() > late and not server._handshakes)
        assert server.counters == {"accepted": 1, "tls_plain_peer": 1}
        writer.close()


async def test_who_stays_after_an_alert_holds_nothing_up(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "LAST_WORDS", 0.01)
    before = sockets()
    theirs = authority.server(authority.issue("server", hosts=LOCALHOST))
    async with serve(None, "127.0.0.1", 0, ssl=theirs) as server:
        with socket.create_connection(server.sockets[0].getsockname()) as peer:
            peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
            await until(lambda: server.counters["tls_plain_peer"] == 1 and not server._handshakes)
            assert peer.recv(100) == tls.UNEXPECTED_MESSAGE
            assert peer.recv(100) == b""
    assert sockets() == before


async def test_who_waits_for_the_end_after_an_alert_sees_it(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LAST_WORDS", 3_600.0)
    theirs = authority.server(authority.issue("server", hosts=LOCALHOST))
    async with serve(None, "127.0.0.1", 0, ssl=theirs) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == tls.UNEXPECTED_MESSAGE
        writer.close()
        await until(lambda: server.counters["tls_plain_peer"] == 1 and not server._handshakes)


# What ssl=True means


async def test_the_systems_authorities_and_the_hosts_name(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = authority.server(authority.issue("server", hosts=("localhost",)))
    async with serve(echo, "localhost", 0, ssl=theirs) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ssl.SSLCertVerificationError, match="was issued by nobody whom the client trusts"):
            await connect(f"tls://localhost:{port}")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))  # now the system trusts it
        async with connect("localhost", port, ssl=True) as session:
            assert await session.request("", b"hello") == b"hello"
            assert session.ssl_object.version() == "TLSv1.3"
        with pytest.raises(ssl.SSLCertVerificationError, match="is for another host"):
            await connect("localhost", port, ssl=True, server_hostname="feeds.example")


async def test_another_name_than_the_hosts(authority: Authority) -> None:
    theirs = authority.server(authority.issue("server", hosts=("feeds.example",)))
    async with serve(echo, "127.0.0.1", 0, ssl=theirs) as server:
        host, port = server.sockets[0].getsockname()
        async with connect(host, port, ssl=authority.client(), server_hostname="feeds.example") as session:
            assert session.peer_identity == "feeds.example"


def test_a_name_is_needed() -> None:
    with pytest.raises(ValueError, match="needs server_hostname="):
        connect(path="/run/x.sock", ssl=True)


# Whom a certificate names


@pytest.mark.parametrize(
    ("certificate", "identity"),
    [
        ({}, "worker 7"),
        ({"hosts": ("10.0.0.7", "worker-7.example", "w7.example")}, "worker-7.example"),
        ({"hosts": ("worker-7.example",), "uris": ("spiffe://example/worker/7", "urn:7")}, "spiffe://example/worker/7"),
    ],
)
async def test_mutual_tls(certificate: dict[str, tuple[str, ...]], identity: str, authority: Authority) -> None:
    theirs = authority.server(authority.issue("server", hosts=LOCALHOST), clients=True)
    ours = authority.client(authority.issue("worker 7", **certificate))
    async with serve(echo, "localhost", 0, ssl=theirs) as server:
        async with connect("localhost", server.sockets[0].getsockname()[1], ssl=ours) as session:
            [peer] = server.sessions
            assert (peer.peer_identity, session.peer_identity) == (identity, "localhost")


async def test_nobody_is_named_without_a_verified_certificate(authority: Authority) -> None:
    unsure = authority.client()
    unsure.check_hostname, unsure.verify_mode = False, ssl.CERT_NONE
    theirs = authority.server(authority.issue("server", hosts=LOCALHOST))
    async with serve(None, "localhost", 0, ssl=theirs) as server, serve(None, "localhost", 0) as plain:
        async with connect("localhost", server.sockets[0].getsockname()[1], ssl=unsure) as session:
            [peer] = server.sessions
            assert (peer.peer_identity, session.peer_identity) == (None, None)
        async with connect(plain.addresses[0]) as session:
            [peer] = plain.sessions
            assert (peer.peer_identity, session.peer_identity) == (None, None)


# Resumption is bound to it


def linked_as(name: str, authority: Authority, context: ssl.SSLContext) -> AbstractAsyncContextManager[Link]:
    context.load_cert_chain(authority.issue(name))
    theirs = authority.server(authority.issue("server", hosts=LOCALHOST), clients=True)
    return linked(server={"ssl": theirs}, ssl=context, server_hostname="localhost")


async def test_a_renewed_certificate_of_the_same_client_resumes(authority: Authority) -> None:
    context = authority.client()
    async with linked_as("worker 7", authority, context) as link:
        channel = await link.client.open("echo")
        context.load_cert_chain(authority.issue("worker 7", days=2))
        link.cut()
        await link.resumed(1)
        await channel.send(b"hello")
        assert await channel.recv() == b"hello"
        assert link.peer.peer_identity == "worker 7"


async def test_another_clients_certificate_does_not_resume(authority: Authority) -> None:
    context = authority.client()
    async with linked_as("worker 7", authority, context) as link:
        channel = await link.client.open("echo")
        context.load_cert_chain(authority.issue("worker 8"))
        link.cut()
        with pytest.raises(SessionLost, match="the session cannot be resumed: other identity"):
            await channel.recv()
        assert link.server.counters["resume_other_identity"] == 1


async def test_who_has_stolen_a_ticket_disturbs_nobody(authority: Authority) -> None:
    """Everything is right but the certificate, and the session has its connection."""
    context = authority.client()
    async with linked_as("worker 7", authority, context) as link:
        place = Address.of(*link.server.sockets[0].getsockname(), None, None)
        thief = authority.client(authority.issue("worker 8"))

        def new_session(**resumption: object) -> Session:
            return Session(client=True, resume=30.0, **resumption)  # type: ignore[arg-type]

        with pytest.raises(Failed) as refused:
            await attempt(place, new_session, Token(b""), tls.StandIn(thief), "localhost", 10.0, guest_of=link.client)
        assert refused.value.why is Why.OTHER_IDENTITY
        assert link.server.counters["resume_other_identity"] == 1
        assert await link.client.request("echo", b"still here") == b"still here"
        assert (link.client.resumptions, link.peer.resumptions) == (0, 0)


async def test_the_handshake_ends_in_time(authority: Authority) -> None:
    theirs = authority.server(authority.issue("server", hosts=LOCALHOST))
    async with serve(None, "127.0.0.1", 0, ssl=theirs, config=Config(handshake_timeout=0.05)) as server:
        with socket.create_connection(server.sockets[0].getsockname()) as peer:
            await until(lambda: server.counters["HANDSHAKE_TIMEOUT"] == 1 and not server._handshakes)
            assert peer.recv(100) == b""
