"""A session belongs to the thread of its event loop; `send_threadsafe` is for the others."""

import asyncio
import contextlib
import gc
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest
from support import loops

from muxtcp import Channel, ChannelListener, ChannelReset, Config, Session, codecs, connect, serve
from muxtcp.testing import pair

MANY = 500
TURNS_UNTIL_NOTHING_MOVES = 100  # of the loop; a message needs about four from one end to the other


class Sink:
    """Handler of channels whose messages it keeps."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.reading = asyncio.Event()
        self.reading.set()

    async def __call__(self, channel: Channel) -> None:
        await self.reading.wait()
        async for message in channel:
            self.received.append(message)


def step(awaitable: Any) -> None:
    awaitable.send(None)


USES: dict[str, Callable[[Channel], object]] = {
    "send": lambda channel: channel.send(b"x"),
    "send_nowait": lambda channel: channel.send_nowait(b"x"),
    "send_many": lambda channel: step(channel.send_many([b"x"])),
    "recv": lambda channel: step(channel.recv()),
    "recv_nowait": lambda channel: channel.recv_nowait(),
    "async for": lambda channel: step(anext(channel)),
    "batches": lambda channel: step(anext(channel.batches())),
    "listen": lambda channel: channel.listen(ChannelListener()),
    "send_eof": lambda channel: step(channel.send_eof()),
    "flush": lambda channel: step(channel.flush()),
    "close": lambda channel: step(channel.close()),
    "reset": lambda channel: step(channel.reset()),
    "refuse": lambda channel: step(channel.refuse()),
    "open": lambda channel: channel.session.open("x"),
    "request": lambda channel: step(channel.session.request("x", b"x")),
    "ping": lambda channel: step(channel.session.ping()),
    "drain": lambda channel: step(channel.session.drain()),
    "session.close": lambda channel: step(channel.session.close()),
    "abort": lambda channel: channel.session.abort(),
    "set_memory_limit": lambda channel: channel.session.set_memory_limit(1 << 24),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_the_wrong_thread_is_told_both_threads_and_the_right_way(use: Callable[[Channel], object]) -> None:
    def elsewhere(channel: Channel) -> str:
        threading.current_thread().name = "worker"
        with pytest.raises(RuntimeError) as caught:
            use(channel)
        return str(caught.value)

    sink = Sink()
    async with pair(sink) as p:
        channel = await p.client.open("sink")
        told = await asyncio.to_thread(elsewhere, channel)
        assert f"thread {threading.current_thread().name!r} ({threading.get_ident()})" in told
        assert "used in thread 'worker' (" in told
        assert "send_threadsafe" in told
        await channel.send(b"on")
        await channel.send_eof()
        while not sink.received:
            await asyncio.sleep(0)
        assert sink.received == [b"on"]


def test_a_loop_may_move_to_another_thread() -> None:
    loop = asyncio.new_event_loop()

    async def start() -> tuple[Any, Session]:
        async def echo(channel: Channel) -> None:
            async for message in channel:
                await channel.send(message)

        server = await serve(echo, "127.0.0.1", 0)
        return server, await connect(server.addresses[0])

    async def use() -> bytes:
        async with session.open("echo") as channel:
            await channel.send(b"moved")
            return bytes(await channel.recv())

    async def stop() -> None:
        await session.close()
        await server.close()

    server, session = loop.run_until_complete(start())
    results: list[bytes] = []
    thread = threading.Thread(target=lambda: results.append(loop.run_until_complete(use())))
    thread.start()
    thread.join()
    assert results == [b"moved"]
    loop.run_until_complete(stop())
    loop.close()


async def test_each_threads_messages_come_in_its_order() -> None:
    """Of several threads, through a window that holds a few messages."""

    def send(name: bytes) -> None:
        for future in [channel.send_threadsafe(name + b"%d" % number) for number in range(MANY)]:
            future.result()

    sink = Sink()
    async with pair(sink, config=Config(channel_window=4_096, max_message=1_024)) as p:
        channel = await p.client.open("sink")
        await asyncio.gather(*(asyncio.to_thread(send, name) for name in (b"a", b"b", b"c")))
        await channel.flush()
        while len(sink.received) < 3 * MANY:
            await asyncio.sleep(0)
        for name in b"a", b"b", b"c":
            own = [message for message in sink.received if message.startswith(name)]
            assert own == [name + b"%d" % number for number in range(MANY)]


async def test_a_cancelled_message_that_waited_is_never_sent_and_the_others_are() -> None:
    def send() -> list[Future[None]]:
        return [channel.send_threadsafe(b"%3d" % number + bytes(1_000)) for number in range(10)]

    sink = Sink()
    sink.reading.clear()
    async with pair(sink, config=Config(channel_window=4_096, max_message=1_024)) as p:
        channel = await p.client.open("sink")
        futures = await asyncio.to_thread(send)
        for _ in range(TURNS_UNTIL_NOTHING_MOVES):  # the window holds three, and may grow to hold seven
            await asyncio.sleep(0)
        waiting = [future for future in futures if not future.done()]
        assert len(waiting) >= 3
        assert waiting == futures[-len(waiting) :]
        assert waiting[0].cancel()
        with pytest.raises(CancelledError):
            waiting[0].result()
        sink.reading.set()
        await asyncio.gather(*(asyncio.wrap_future(future) for future in waiting[1:]))
        while len(sink.received) < 9:
            await asyncio.sleep(0)
        expected = [number for number in range(10) if number != futures.index(waiting[0])]
        assert [int(message[:3]) for message in sink.received] == expected


async def test_what_goes_wrong_reaches_the_thread() -> None:
    def send(channel: Channel, message: Any) -> BaseException | None:
        return channel.send_threadsafe(message).exception()

    async with pair(Sink()) as p:
        channel = await p.client.open("sink")
        mutable = bytearray(b"before")
        sent = await asyncio.to_thread(send, channel, mutable)
        assert sent is None
        with pytest.raises(TypeError, match="a message is bytes"):
            await asyncio.to_thread(send, channel, 7)
        spoken = await p.client.open("sink", codec=codecs.json())
        assert isinstance(await asyncio.to_thread(send, spoken, object()), TypeError)
        await channel.reset()
        assert isinstance(await asyncio.to_thread(send, channel, b"late"), ChannelReset)


def test_after_the_loop_is_closed_it_says_so_at_once() -> None:
    async def main() -> Channel:
        async with pair(Sink()) as p:
            return await p.client.open("sink")

    channel = asyncio.run(main())
    with pytest.raises(RuntimeError, match=r"the event loop of channel 1 \('sink'\) is closed"):
        channel.send_threadsafe(b"late")


@pytest.mark.parametrize("name", loops.NAMES)
@pytest.mark.filterwarnings("error")
def test_what_a_closing_loop_throws_away_is_not_warned_of(name: str) -> None:
    async def main() -> Channel:
        async with pair(Sink()) as p:
            return await p.client.open("sink")

    with contextlib.closing(loops.runner(name).get_loop()) as loop:
        channel = loop.run_until_complete(main())
        thrown_away = channel.send_threadsafe(b"never run")
    gc.collect()
    assert not thrown_away.done()


async def test_what_another_thread_drops_gives_its_credit_back() -> None:
    """The collector runs in any thread; what is to be said of it is said by the loop."""

    async def handler(channel: Channel) -> None:
        await channel.send_many([bytes(1_000)] * 3)

    async with pair(handler, config=Config(channel_window=4_096, session_window=4_096, max_message=1_024)) as p:
        for _ in range(3):  # a session window holds the messages of one
            held = [await p.client.open("dropped", mode="r")]
            while held[0].stats().unread < 3 or p.client.channels:
                await asyncio.sleep(0)
            await asyncio.to_thread(held.clear)
