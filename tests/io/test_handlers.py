"""Handlers: what they may do, and what becomes of their channel and session."""

import asyncio
import gc
from collections.abc import Awaitable
from functools import partial

import pytest

from muxtcp import Channel, ChannelListener, ChannelReset, Code, EndOfStream, Session, SessionClosed, connect, serve
from muxtcp.session import Handler
from muxtcp.testing import pair


async def test_a_handler_that_ends_by_the_end_of_its_channel_has_sent_its_replies() -> None:
    async def handler(channel: Channel) -> None:
        while True:
            await channel.send(await channel.recv())

    async with pair(handler) as p:
        channel = await p.client.open("echo")
        await channel.send_many([bytes(10_000)] * 10)
        await channel.send_eof()
        assert [message async for message in channel] == [bytes(10_000)] * 10


@pytest.mark.parametrize("upstream_ends", ["reset", "eof"])
async def test_what_fails_upstream_is_not_taken_for_the_end_of_the_handlers_own_channel(
    upstream_ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Both channels are called alike, and are number 1 of their sessions."""

    async def backend(channel: Channel) -> None:
        await channel.recv()
        if upstream_ends == "reset":
            await channel.reset(0x1001, "the backend says no")

    async with pair(backend) as upstream:

        async def proxy(channel: Channel) -> None:
            await channel.send(await upstream.client.request("work", await channel.recv()))

        async with pair(proxy) as p:
            with pytest.raises(ChannelReset) as caught:
                await p.client.request("work", b"1")
            assert caught.value.code is Code.INTERNAL
    assert "the handler of channel 1 ('work') failed" in caplog.text


async def answer(greeting: bytes, channel: Channel) -> None:
    await channel.send(greeting)


class Service:
    async def greet(self, channel: Channel) -> None:
        await answer(b"hello", channel)

    __call__ = greet


@pytest.mark.parametrize(
    "handler",
    [lambda channel: answer(b"hello", channel), partial(answer, b"hello"), Service(), Service().greet],
    ids=["lambda", "partial", "object", "method"],
)
async def test_what_a_handler_returns_is_awaited(handler: Handler) -> None:
    async with pair(handler) as p:
        assert await p.client.request("greet", b"") == b"hello"


async def test_a_handler_whose_session_ends_before_its_first_step_never_begins() -> None:
    begun: list[str] = []

    async def begin(channel: Channel) -> None:
        begun.append(channel.name)

    def handler(channel: Channel) -> Awaitable[None]:
        channel.session.abort()
        return begin(channel)  # a coroutine that is dropped without a word would warn, which fails the test

    async with pair(handler) as p:
        await p.client.open("late")
        await p.server.wait_closed()
    gc.collect()
    assert not begun


async def test_a_callback_of_on_close_that_raises_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def fails(session: Session) -> None:
        raise ZeroDivisionError("as planned")

    async def admit(session: Session) -> None:
        session.on_close.append(fails)

    told: list[Session] = []
    server = await serve(None, "127.0.0.1", 0, on_session=admit)
    async with connect(server.addresses[0]) as session:
        session.on_close += [fails, told.append]
    assert told == [session]
    await server.close()
    assert not server.sessions
    assert caplog.text.count("a callback in on_close of <Session") == 1  # twice the same cause


class TestEnds:
    """A handler ends what it runs in."""

    @pytest.mark.parametrize("way", ["close", "drain"])
    async def test_its_server(self, way: str) -> None:
        async def handler(channel: Channel) -> None:
            await (server.close() if way == "close" else server.drain())

        server = await serve(handler, "127.0.0.1", 0)
        async with connect(server.addresses[0]) as session:
            channel = await session.open("shutdown")
            with pytest.raises(SessionClosed, match="SHUTDOWN"):
                await channel.recv()
        await server.wait_closed()

    @pytest.mark.parametrize("way", ["close", "drain"])
    async def test_its_session(self, way: str) -> None:
        """Two of them at once do not wait for each other either; what they sent arrives."""
        done: list[str] = []
        both = asyncio.Barrier(2)

        async def handler(channel: Channel) -> None:
            await both.wait()
            await channel.send(b"good bye")
            await (channel.session.close() if way == "close" else channel.session.drain())
            done.append(channel.name)

        async with pair(handler) as p:
            channels = [await p.client.open(name) for name in ("one", "two")]
            for channel in channels:
                assert await channel.recv() == b"good bye"
                with pytest.raises(SessionClosed if way == "close" else EndOfStream):
                    await channel.recv()
            if way == "close":
                await p.server.wait_closed()  # the one that closed goes on; the other is cancelled by the end
            assert len(done) == (1 if way == "close" else 2)

    async def test_what_a_handler_does_after_its_drain_is_awaited_by_others(self) -> None:
        drained = asyncio.Event()

        async def handler(channel: Channel) -> None:
            await channel.session.drain()
            drained.set()
            assert await channel.recv() == b"thanks"

        async with pair(handler) as p:
            channel = await p.client.open("last")
            await p.client.ping()
            draining = asyncio.create_task(p.server.drain())
            await drained.wait()
            await p.client.ping()
            assert not draining.done()
            await channel.send(b"thanks")
            await channel.close()
            await draining

    async def test_its_server_while_others_finish(self) -> None:
        """The channels of others have their time, with the caller's channel still open."""
        asked, finished = asyncio.Event(), asyncio.Event()

        async def handler(channel: Channel) -> None:
            if channel.name == "shutdown":
                asked.set()
                await server.drain()
            else:
                await channel.send(await channel.recv())
                finished.set()

        server = await serve(handler, "127.0.0.1", 0)
        async with connect(server.addresses[0]) as session:
            working = await session.open("work")
            await session.open("shutdown")
            await asked.wait()
            await working.send(b"late, and not too late")
            assert await working.recv() == b"late, and not too late"
            await working.close()
        await server.wait_closed()
        assert finished.is_set()


@pytest.mark.parametrize("end", ["reset", "the session's loss"])
async def test_a_handler_of_several_tasks_may_end_by_its_channel(end: str, caplog: pytest.LogCaptureFixture) -> None:
    """A TaskGroup raises a group, of what each of its tasks met."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def receive(channel: Channel) -> None:
        async for _ in channel:
            pass

    async def send(channel: Channel) -> None:
        while True:
            await channel.send(bytes(10_000))

    async def handler(channel: Channel) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(receive(channel))
                group.create_task(send(channel))
        finally:
            ended.set_result(None)

    async with pair(handler) as p:
        channel = await p.client.open("both")
        await channel.recv()
        if end == "reset":
            await channel.reset()
        else:
            p.link.cut()
        await ended
        await asyncio.sleep(0)
    assert caplog.text == ""


@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_handler_may_raise_what_its_listener_was_told(side: str, caplog: pytest.LogCaptureFixture) -> None:
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    class Wait(ChannelListener):
        def on_closed(self, channel: Channel, exc: Exception | None) -> None:
            assert exc is channel.exception
            ended.set_exception(exc)

    async def handler(channel: Channel) -> None:
        channel.listen(Wait())
        await channel.send(b"listening")
        if side == "server":
            await channel.reset()
        await ended

    async with pair(handler) as p:
        channel = await p.client.open("told")
        await channel.recv()
        if side == "client":
            await channel.reset()
        with pytest.raises(ChannelReset):
            await ended
        await asyncio.sleep(0)
    assert caplog.text == ""


@pytest.mark.parametrize("own", [True, False], ids=["its own", "another"])
async def test_only_the_end_of_its_own_session_goes_without_saying(own: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that looks after something outlives its session by that, and then meets the end of one or other."""
    began, ended = asyncio.Event(), asyncio.Event()

    async with pair(None) as elsewhere:
        elsewhere.link.cut()
        await elsewhere.client.wait_closed()

        async def handler(channel: Channel) -> None:
            began.set()
            try:
                await channel.recv()
            finally:
                ended.set()
                await (channel.session if own else elsewhere.client).open("next")

        async with pair(handler) as p:
            await p.client.open("work")
            await began.wait()
            p.link.cut()
            await ended.wait()
            await p.server.wait_closed()
    assert ("the handler of channel 1 ('work') failed" in caplog.text) is not own
