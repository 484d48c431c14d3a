"""A broken handler, codec, listener or callback harms its own channel, or nothing; a broken session no other."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from support import frames, loops
from support.basics import echo

from muxtcp import Channel, ChannelListener, ChannelReset, Code, HandshakeError, Session, connect, serve
from muxtcp.testing import pair

ERRORS = [ZeroDivisionError, asyncio.CancelledError, GeneratorExit]  # of which the loop's callbacks survive each, too
LEAVING = [SystemExit, KeyboardInterrupt]
MANY = 1_000


async def works(session: Session) -> None:
    async with session.open("echo") as channel:
        await channel.send(b"on")
        assert await channel.recv() == b"on"


def at_once(awaitable: Coroutine[Any, Any, None]) -> None:
    """Run what never waits, such as close() and reset()."""
    with pytest.raises(StopIteration):
        awaitable.send(None)


class Fails(ChannelListener):
    """In each of its calls, or in one."""

    def __init__(self, kind: type[BaseException], call: str) -> None:
        setattr(self, call, self.fail)
        self.kind = kind
        self.failed = asyncio.Event()

    def fail(self, *_: object) -> None:
        self.failed.set()
        raise self.kind("as planned")


class Codec:
    """Does something of the test's in one of its methods."""

    def __init__(self, **methods: Callable[[Any], Any]) -> None:
        self.encode = self.decode = bytes
        self.__dict__.update(methods)


def raises(kind: type[BaseException]) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise kind("as planned")

    return fail


# --- what fails -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("way", ["function", "coroutine"])
async def test_a_handler_that_fails(way: str, kind: type[BaseException]) -> None:
    async def later(channel: Channel) -> None:
        raise kind("as planned")

    def handler(channel: Channel) -> Any:
        return echo(channel) if channel.name == "echo" else raises(kind)() if way == "function" else later(channel)

    async with pair(handler) as p:
        channel = await p.client.open("broken")
        with pytest.raises(ChannelReset) as caught:
            await channel.recv()
        cancelled = kind is asyncio.CancelledError and way == "coroutine"
        assert caught.value.code is (Code.CANCELLED if cancelled else Code.INTERNAL)
        await works(p.client)


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("call", ["on_message", "on_eof", "on_closed", "on_writable"])
async def test_a_listener_that_fails(call: str, kind: type[BaseException]) -> None:
    listeners: list[Fails] = []

    def handler(channel: Channel) -> Any:
        if channel.name == "echo":
            return echo(channel)
        listeners.append(Fails(kind, call))
        channel.listen(listeners[0])
        if call == "on_writable":
            while channel.send_nowait(bytes(60_000)):
                pass
        return None

    async with pair(handler) as p:
        channel = await p.client.open("broken")
        await channel.send(b"message")
        await channel.send_eof()
        await works(p.client)
        if call == "on_closed":
            await channel.reset()
        else:
            with pytest.raises(ChannelReset) as caught:
                while True:
                    await channel.recv()
            assert caught.value.code is Code.INTERNAL
        await listeners[0].failed.wait()
        await works(p.client)


@pytest.mark.parametrize("kind", ERRORS)
async def test_callbacks_of_a_session_that_fail(kind: type[BaseException]) -> None:
    told: list[Session] = []

    async def on_session(session: Session) -> None:
        session.on_close += [raises(kind), told.append]

    async with serve(echo, "127.0.0.1", 0, on_session=on_session) as server:
        async with connect(server.addresses[0], on_state=raises(kind)) as session:
            await works(session)
            session.on_close += [raises(kind), told.append]
        async with connect(server.addresses[0]) as other:
            await works(other)
            assert session in told
    assert len(told) == 3


@pytest.mark.parametrize("kind", ERRORS)
async def test_an_admission_that_fails(kind: type[BaseException]) -> None:
    async def on_session(session: Session) -> None:
        if session.peer_meta:
            raise kind("as planned")

    async with serve(echo, "127.0.0.1", 0, on_session=on_session) as server, connect(server.addresses[0]) as other:
        with pytest.raises(HandshakeError) as caught:
            await connect(server.addresses[0], meta={"a": "b"})
        assert caught.value.code is (Code.BUSY if kind is asyncio.CancelledError else Code.INTERNAL)
        await works(other)


# --- who leaves the loop ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("kind", LEAVING)
@pytest.mark.parametrize("where", ["function", "coroutine", "on_message", "on_closed", "on_close", "on_session"])
def test_who_wants_to_leave_the_loop_leaves_it_and_the_session_is_whole(
    where: str, kind: type[BaseException], loop: str
) -> None:
    async def later(channel: Channel) -> None:
        raise kind("as planned")

    def handler(channel: Channel) -> Any:
        if channel.name == "echo":
            return echo(channel)
        if where == "function":
            raise kind("as planned")
        if where == "coroutine":
            return later(channel)
        channel.listen(Fails(kind, where))
        return None

    async def on_session(session: Session) -> None:
        if session.peer_meta and where == "on_session":
            raise kind("as planned")
        if session.peer_meta and where == "on_close":
            session.on_close.append(raises(kind))

    async def provoke(session: Session) -> None:
        if where in ("on_session", "on_close"):
            async with connect(server.addresses[0], meta={"a": "b"}):
                pass
        else:
            channel = await session.open("broken")
            await channel.send(b"message")
            if where == "on_closed":
                await works(session)
                await channel.reset()
        await asyncio.get_running_loop().create_future()

    with loops.runner(loop) as runner:
        run = runner.get_loop().run_until_complete
        server = run(serve(handler, "127.0.0.1", 0, on_session=on_session)._start())
        session = run(connect(server.addresses[0])._once())
        provoking = runner.get_loop().create_task(provoke(session))
        with pytest.raises(kind, match="as planned"):
            run(provoking)
        run(works(session))
        provoking.cancel()
        run(asyncio.wait([provoking]))
        run(session.close())
        run(server.close())


# --- who calls back ---------------------------------------------------------------------------------------------------

Deed = Callable[[Channel], None]
DEEDS: dict[str, Deed] = {
    "close": lambda channel: at_once(channel.close()),
    "reset": lambda channel: at_once(channel.reset()),
    "abort": lambda channel: channel.session.abort(),
    "send": lambda channel: channel.send_nowait(b"more") and None,
    "receive": lambda channel: channel.stats().unread and channel.recv_nowait(),
}


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
@pytest.mark.parametrize("way", ["decode", "batches", "encode"])
async def test_a_codec_that_meddles_with_its_channel(way: str, deed: Deed) -> None:
    depth: list[int] = []

    def meddle(message: bytes) -> bytes:
        if not depth:
            depth.append(1)
            deed(channel)
        return message

    async def three(channel: Channel) -> None:
        if channel.name == "three":
            await channel.send_many([b"1", b"2", b"3"])
        await echo(channel)

    async with pair(three) as p, pair(echo) as other:
        channel = await p.client.open("three", codec=Codec(**{"encode" if way == "encode" else "decode": meddle}))
        while channel.stats().unread < 3:
            await asyncio.sleep(0)
        try:
            if way == "decode":
                assert await channel.recv() == b"1"
            elif way == "batches":
                assert (await anext(channel.batches()))[0] == b"1"
            else:
                await channel.send(b"message")
        except muxtcp_errors(channel):
            pass
        await works(other.client)
        if not p.client.closed:
            await works(p.client)


def muxtcp_errors(channel: Channel) -> tuple[type[Exception], ...]:
    """What a send or a receive may raise of a channel that the codec has ended; nothing for one that goes on."""
    return (type(channel._how_it_ended()),) if channel.closed else ()


# --- what is said of it -----------------------------------------------------------------------------------------------


async def test_a_handler_that_fails_a_thousand_times_is_a_handful_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(channel: Channel) -> None:
        raise ZeroDivisionError(channel.name)

    async with pair(handler) as p:
        for number in range(MANY):
            channel = await p.client.open(f"number {number}")
            with pytest.raises(ChannelReset):
                await channel.recv()
    assert len(caplog.records) == 4
    assert "and 899 more in the last" in caplog.messages[-1]


async def test_a_scanner_is_a_handful_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    async with serve(echo, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        with caplog.at_level(logging.INFO, "muxtcp"):
            for _ in range(100):
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(b"GET / HTTP/1.1\r\n\r\n" + frames.PREFACE)
                await reader.read()
                writer.close()
                await writer.wait_closed()
        assert server.counters["BAD_PREFACE"] == 100
    assert [message for message in caplog.messages if "no session with" in message][2:] == [caplog.messages[2]]
    assert "and 89 more" in caplog.messages[2]
