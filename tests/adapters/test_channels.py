"""What is a channel's own about its transports and streams: messages, credit, codecs, sessions, and their ends."""

import asyncio
import gc
import hashlib
import logging
import os
from typing import Any

import pytest
from adapters.stage import Recorder
from support.basics import echo, until
from support.leftovers import objects

import muxtcp
from muxtcp import ChannelRefused, ChannelReset, Code, Config, SessionClosed, SessionLost
from muxtcp.testing import Pair, pair

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


async def joined(sessions: Pair, client: Any = None, server: Any = None) -> tuple[Any, Any]:
    """Two protocols in a channel."""
    client, server = client or Recorder(), server or Recorder()
    await sessions.server.create_server(lambda: server, "case")
    await sessions.client.create_connection(lambda: client, "case")
    await until(lambda: server.transport)
    return client, server


def received(sessions: Pair) -> int:
    return sessions.server.stats()["messages_received"]


# Messages and credit


async def test_it_is_a_transport_for_who_asks() -> None:
    async with pair() as sessions:
        client, _ = await joined(sessions)
        assert isinstance(client.transport, asyncio.Transport)
        channel = client.transport.get_extra_info("channel")
        assert client.transport.get_extra_info("session") is channel.session is sessions.client


async def test_small_writes_of_a_turn_are_one_message() -> None:
    async with pair() as sessions:
        client, server = await joined(sessions)
        for n in range(1_000):
            client.transport.write(b"%03d" % n)
        await until(lambda: server.received == 3_000)
        assert received(sessions) == 1


async def test_answers_to_one_message_are_one_message() -> None:
    def answer(side: Recorder, data: bytes) -> None:
        for _ in range(10):
            side.transport.write(data)

    async with pair() as sessions:
        client, _ = await joined(sessions, server=Recorder(data=answer))
        client.transport.write(b"?")
        await until(lambda: client.received == 10)
        assert sessions.client.stats()["messages_received"] == 1


@pytest.mark.parametrize(("limit", "messages"), [(1 << 20, 16), (1_024, 1_024)])
async def test_large_writes_are_cut_to_what_the_peer_takes(limit: int, messages: int) -> None:
    async with pair(config=Config(max_message=limit)) as sessions:
        client, server = await joined(sessions)
        client.transport.write(os.urandom(1 << 20))
        await until(lambda: server.received == 1 << 20)
        assert received(sessions) == messages


async def test_a_protocol_that_pauses_holds_its_peer_and_nobody_else() -> None:
    async with pair() as sessions:
        client, server = await joined(sessions)
        server.transport.pause_reading()
        client.transport.write(bytes(16 << 20))
        assert client.names() == ["made", "pause"]
        for _ in range(3):
            await sessions.client.ping()
        stats = server.transport.get_extra_info("channel").stats()
        assert stats.unread * 65_600 <= stats.receive_window < 2 << 20
        assert client.transport.get_write_buffer_size() > 14 << 20
        other, heard = Recorder(), Recorder(data=lambda side, data: side.transport.write(data))
        await sessions.server.create_server(lambda: heard, "other")
        await sessions.client.create_connection(lambda: other, "other")
        other.transport.write(b"on")
        await until(lambda: other.data == b"on")


async def test_small_writes_pause_their_writer_as_soon_as_they_are_too_many() -> None:
    async with pair() as sessions:
        client, server = await joined(sessions)
        server.transport.pause_reading()
        client.transport.set_write_buffer_limits(high=4 << 20)
        client.transport.write(bytes(4 << 20))  # some of it is gone already
        assert client.names() == ["made"]
        while client.transport.get_write_buffer_size() <= 4 << 20:
            client.transport.write(bytes(1_000))
        assert client.names() == ["made", "pause"]


async def test_empty_messages_are_nothing() -> None:
    protocol = Recorder()
    async with pair(lambda channel: muxtcp.as_transport(channel, protocol) and None) as sessions:
        async with sessions.client.open("case") as channel:
            await channel.send_many([b"", b"data", b""])
        await until(lambda: protocol.lost)
        assert protocol.calls == [("made",), ("data", b"data"), ("eof",), ("lost", "NoneType")]


async def test_a_codec_of_the_session_is_not_asked() -> None:
    async with pair(codec="json") as sessions:
        client, _ = await joined(sessions, server=Recorder(data=lambda side, data: side.transport.write(data)))
        client.transport.write(b"no {JSON")
        await until(lambda: client.data == b"no {JSON")


async def test_bytes_survive_broken_links() -> None:
    data = os.urandom(8 << 20)
    async with pair(resume=30.0) as sessions:
        client, server = await joined(sessions, server=Recorder(data=lambda side, data: side.transport.write(data)))
        client.transport.write(data)
        for part in range(1, 5):
            await until(lambda part=part: client.received > part << 20)
            sessions.link.cut()
        await until(lambda: client.received == len(data))
        assert hashlib.sha256(client.data).digest() == hashlib.sha256(data).digest()
        assert sessions.client.resumptions == 4
        assert "lost" not in client.names() + server.names()


# Ends


async def test_why_a_connection_was_lost_is_the_cause() -> None:
    reasons: list[Exception | None] = []

    class Reasons(Recorder):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            reasons.append(exc and exc.__cause__)  # type: ignore[arg-type]

    async with pair() as sessions:
        refused, _ = Reasons(), await joined(sessions)
        await sessions.client.create_connection(lambda: refused, "nobody")
        await until(lambda: refused.lost)
        left, right = await joined_anew(sessions, Reasons(), Reasons())
        left.transport.get_extra_info("channel")._reset(0x1234, "as planned")
        await until(lambda: left.lost and right.lost)
        left, right = await joined_anew(sessions, Reasons(), Reasons())
        sessions.link.cut()
        await until(lambda: left.lost and right.lost)
    assert [type(reason) for reason in reasons] == [ChannelRefused] + [ChannelReset] * 2 + [SessionLost] * 2
    assert isinstance(reasons[0], ChannelRefused)
    assert isinstance(reasons[2], ChannelReset)
    assert (reasons[0].code, reasons[2].code, reasons[2].reason) == (Code.NOT_FOUND, 0x1234, "as planned")


async def joined_anew(sessions: Pair, client: Recorder, server: Recorder) -> tuple[Any, Any]:
    [server.close() for server in sessions.server._servers.copy()]
    return await joined(sessions, client, server)


async def test_what_comes_while_a_transport_closes_was_not_received_and_the_peer_is_told() -> None:
    async with pair() as sessions:
        client, server = await joined(sessions, server=Recorder(eof=lambda side: True))
        server.transport.pause_reading()
        client.transport.write(bytes(4 << 20))
        client.transport.close()
        server.transport.write(b"too late")
        await sessions.server.ping()
        server.transport.resume_reading()
        await until(lambda: client.lost and server.lost)
        assert client.names() == ["made", "pause", "resume", "lost"]
        assert server.names() == ["made", "data", "eof", "lost"]
        assert server.calls[-1] == ("lost", "ConnectionResetError")


async def test_a_protocol_that_fails_is_an_internal_error_to_its_peer() -> None:
    def fail(side: Recorder, data: bytes) -> None:
        raise ZeroDivisionError("as planned")

    seen: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["exception"]))
    async with pair(lambda channel: muxtcp.as_transport(channel, Recorder(data=fail)) and None) as sessions:
        channel = await sessions.client.open("case")
        await channel.send(b"?")
        with pytest.raises(ChannelReset) as caught:
            await channel.recv()
    assert caught.value.code is Code.INTERNAL
    assert [type(error) for error in seen] == [ZeroDivisionError]


async def test_writes_after_the_end_are_warned_of_when_they_go_on(caplog: pytest.LogCaptureFixture) -> None:
    async with pair() as sessions:
        client, _ = await joined(sessions)
        client.transport.close()
        for _ in range(4):
            client.transport.write(b"?")
        assert client.transport.get_write_buffer_size() == 0
        assert caplog.messages == []
        client.transport.write(b"?")
        assert ["is over: what is written is dropped" in line for line in caplog.messages] == [True]


async def test_closing_a_session_sends_what_its_transports_hold() -> None:
    """And waits for the peer's side of them, as for any channel."""
    async with pair() as sessions:
        client, server = await joined(sessions)
        server.transport.pause_reading()
        client.transport.write(bytes(4 << 20))
        closing = asyncio.ensure_future(sessions.client.close())
        await asyncio.sleep(0)
        server.transport.resume_reading()
        await closing
        assert server.received == 4 << 20
        assert server.names() == ["made", "data", "eof", "lost"]
        assert client.calls[-1] == ("lost", "NoneType")


async def test_a_session_that_is_over_refuses_as_a_socket_would() -> None:
    async with pair() as sessions:
        await sessions.client.close()
        for dial in (sessions.client.create_connection(Recorder, "case"), sessions.client.open_stream("case")):
            with pytest.raises(ConnectionRefusedError) as caught:
                await dial
            assert isinstance(caught.value.__cause__, SessionClosed)


async def test_a_connection_that_is_cancelled_or_fails_leaves_no_channel() -> None:
    def fail() -> asyncio.Protocol:
        raise ZeroDivisionError

    protocol = Recorder()
    async with pair() as sessions:
        await sessions.server.create_server(Recorder, "case")
        with pytest.raises(ZeroDivisionError):
            await sessions.client.create_connection(fail, "case")
        dialling = asyncio.ensure_future(sessions.client.create_connection(lambda: protocol, "case"))
        await until(lambda: sessions.client.channels)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        await until(lambda: not sessions.client.channels and not sessions.server.channels)
    assert protocol.names() in ([], ["made", "lost"])


async def test_transports_leave_nothing_behind_also_without_the_collector() -> None:
    class Once(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            answered.set()

    async def use(times: int) -> None:
        for _ in range(times):
            answered.clear()
            transport, _ = await sessions.client.create_connection(Once, "case")
            transport.write(b"?")
            await answered.wait()
            transport.close()
        await until(lambda: not sessions.client.channels and not sessions.server.channels)

    answered = asyncio.Event()
    async with pair(lambda channel: muxtcp.as_transport(channel, Answering()) and None) as sessions:
        await use(200)
        gc.collect()
        gc.disable()
        try:
            before = objects()
            await use(300)
            assert objects() - before < 200  # which loops and caches may waver by: not one for each connection
        finally:
            gc.enable()


class Answering(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def test_a_transport_that_waits_for_credit_says_so() -> None:
    async with pair() as sessions:
        client, server = await joined(sessions)
        server.transport.pause_reading()
        channel = client.transport.get_extra_info("channel")
        client.transport.write(bytes(16 << 20))
        assert channel.stall.reason in ("peer_window", "session_window")
        server.transport.resume_reading()
        await until(lambda: server.received == 16 << 20)
        assert channel.stall is None


async def test_a_channel_that_a_task_receives_from_is_left_alone() -> None:
    async with pair(echo) as sessions:
        channel = await sessions.client.open("")
        receiving = asyncio.ensure_future(channel.recv())
        await asyncio.sleep(0)
        with pytest.raises(muxtcp.LocalProtocolError):
            muxtcp.as_transport(channel, Recorder())
        await channel.send(b"on")
        assert await receiving == b"on"


# Servers


async def test_servers_go_by_name_and_the_handler_has_the_rest() -> None:
    async with pair(echo) as sessions:
        shout = Recorder(data=lambda side, data: side.transport.write(data.upper()))
        server = await sessions.server.create_server(lambda: shout, "shout")
        with pytest.raises(ValueError, match="'shout'"):
            await sessions.server.create_server(Recorder, "shout")
        reader, writer = await sessions.client.open_stream("shout")
        writer.write(b"hello")
        assert await reader.read(5) == b"HELLO"
        assert await sessions.client.request("anything else", b"hello") == b"hello"

        assert server.is_serving()
        server.close()
        server.close()
        assert not server.is_serving()
        assert await sessions.client.request("shout", b"hello") == b"hello"  # the handler's again
        closing = asyncio.ensure_future(server.wait_closed())
        writer.write(b"still there")
        assert await reader.read(11) == b"STILL THERE"
        assert not closing.done()
        writer.close()
        await closing
        await sessions.server.create_server(Recorder, "shout")


async def test_serve_forever_closes_when_it_is_cancelled() -> None:
    async with pair() as sessions:
        async with await sessions.server.create_server(Recorder, "case") as server:
            assert server.get_loop() is asyncio.get_running_loop()
            await server.start_serving()
            serving = asyncio.ensure_future(server.serve_forever())
            await asyncio.sleep(0)
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
            assert not server.is_serving()


async def test_a_server_ends_with_its_session() -> None:
    async with pair() as sessions:
        server = await sessions.server.create_server(Recorder, "case")
        serving = asyncio.ensure_future(server.serve_forever())
        await sessions.server.close()
        await serving
        with pytest.raises(ConnectionRefusedError) as caught:
            await sessions.server.create_server(Recorder, "case")
        assert isinstance(caught.value.__cause__, SessionClosed)


async def test_a_limit_that_is_none_leaves_no_channel() -> None:
    async with pair() as sessions:
        with pytest.raises(ValueError, match="imit"):
            await sessions.client.open_stream("case", limit=0)
        assert sessions.client.channels == []


async def test_a_factory_that_fails_fails_its_channel(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> asyncio.Protocol:
        raise ZeroDivisionError("as planned")

    async with pair() as sessions:
        await sessions.server.create_server(fail, "case")
        channel = await sessions.client.open("case")
        with caplog.at_level(logging.CRITICAL, "muxtcp"), pytest.raises(ChannelReset) as caught:
            await channel.recv()
        assert caught.value.code is Code.INTERNAL


# Stream handlers


async def test_a_stream_handler_is_isolated_as_any_handler(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        match await reader.read(10):
            case b"fail":
                raise ZeroDivisionError("as planned")
            case b"elsewhere":
                raise ConnectionResetError("of a database")
            case question:
                writer.write(question.upper())  # and it need not close

    async with muxtcp.serve(None, "127.0.0.1", 0, stream_handler=handler) as server:
        async with muxtcp.connect(server.addresses[0]) as session:
            for question in (b"fail", b"elsewhere"):
                reader, writer = await session.open_stream("case")
                writer.write(question)
                with caplog.at_level(logging.CRITICAL, "muxtcp"), pytest.raises(ConnectionResetError) as caught:
                    await reader.read()
                assert isinstance(caught.value.__cause__, ChannelReset)
                assert caught.value.__cause__.code is Code.INTERNAL
            reader, writer = await session.open_stream("case")
            writer.write(b"fine")
            assert await reader.read() == b"FINE"
            writer.close()


async def test_a_stream_handler_whose_peer_goes_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    ended = asyncio.Queue[str]()

    async def handler(reader: Reader, writer: Writer) -> None:
        try:
            await reader.readexactly(2)
        except BaseException as error:
            ended.put_nowait(type(error).__name__)
            raise

    async with muxtcp.serve(None, "127.0.0.1", 0, stream_handler=handler) as server:
        async with muxtcp.connect(server.addresses[0]) as session:
            _, writer = await session.open_stream("reset")
            writer.write(b"1")
            await session.ping()
            writer.transport.abort()
            assert await ended.get() == "ConnectionResetError"
            _, writer = await session.open_stream("session lost")
            writer.write(b"1")
            await session.ping()
            session.abort()
            assert await ended.get() in ("ConnectionResetError", "CancelledError")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_one_kind_of_handler_at_a_time() -> None:
    async def handler(reader: Reader, writer: Writer) -> None: ...

    with pytest.raises(ValueError, match="exclude each other"):
        muxtcp.serve(echo, "127.0.0.1", 0, stream_handler=handler)
