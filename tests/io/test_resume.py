"""Sessions over connections that break: nothing is lost, doubled or reordered."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from support.basics import until
from support.resuming import Link, linked
from support.tls import client_context, server_context

from muxtcp import Channel, ChannelReset, Config, EndOfStream, SessionLost, State

BOTH = pytest.mark.parametrize("side", ["client", "server"])


@BOTH
async def test_no_message_was_ever_sent(side: str) -> None:
    async with linked() as link:
        link.cut(side)
        await link.resumed(1)
        assert await link.client.request("echo", b"hello") == b"hello"
        assert link.path == "CONNECTING CONNECTED RECONNECTING RESUMED"
        info = link.states[-1][1]
        assert info.replayed == 0
        assert info.gap is not None
        assert isinstance(link.states[-2][1].cause, SessionLost)


async def test_a_thousand_resumes_in_a_row() -> None:
    """Without traffic between most of them, and none of it lost."""
    async with linked() as link:
        channel = await link.client.open("echo")
        for number in range(1_000):
            link.cut("client" if number % 2 else "server")
            if number % 50 == 0:
                await channel.send(number.to_bytes(8))
                assert await channel.recv() == number.to_bytes(8)
            await link.resumed(number + 1)
        assert link.server.counters["resumed"] == 1_000
        assert link.client.stats()["resumptions"] == 1_000


@BOTH
async def test_messages_both_ways_over_many_breaks(side: str) -> None:
    async with linked() as link:
        channel = await link.client.open("echo")

        async def send() -> None:
            for number in range(3_000):
                await channel.send(number.to_bytes(4) * (number % 200 + 1))
                if number % 150 == 149:
                    link.cut(side)
            await channel.send_eof()

        sending = asyncio.create_task(send())
        number = 0
        async for message in channel:
            assert message == number.to_bytes(4) * (number % 200 + 1)
            number += 1
            if number % 170 == 0:
                link.cut(side)
        assert number == 3_000
        await sending
        assert link.client.resumptions > 2


async def test_a_producer_that_sends_during_the_replay() -> None:
    async with linked() as link:
        channel = await link.client.open("echo")
        for number in range(500):
            await channel.send(number.to_bytes(2) * 100)
        link.cut()
        await until(lambda: link.client.resumptions)
        sending = asyncio.create_task(channel.send_many([number.to_bytes(2) * 100 for number in range(500, 1_000)]))
        for number in range(1_000):
            assert await channel.recv() == number.to_bytes(2) * 100
        await sending


async def test_both_logs_full_and_tiny_socket_buffers() -> None:
    """Each side has more to say again than the sockets take, and reads all the while."""
    config = Config(replay_limit=262_144, high_water=1_024, low_water=0, notsent_lowat=None)

    async def flood(channel: Channel) -> None:
        sending = asyncio.create_task(channel.send_many([bytes(9_000)] * 100))
        count = 0
        async for message in channel:
            assert message == bytes(9_000)
            count += 1
        assert count == 100
        await sending

    async with linked(flood, server={"config": config}, config=config) as link:
        shrink(link)
        async with link.client.open("flood") as channel:
            sending = asyncio.create_task(channel.send_many([bytes(9_000)] * 100))
            for number in range(100):
                if number % 10 == 0:
                    await until(lambda: link.client.connected)
                    link.cut()
                    await until(lambda: link.client.resumptions)
                    shrink(link)
                assert await channel.recv() == bytes(9_000)
            await sending
            await channel.send_eof()
            with pytest.raises(EndOfStream):
                await channel.recv()


def shrink(link: Link) -> None:
    for session in (link.client, link.peer):
        if session.transport is not None:
            sock = session.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)


async def test_a_peer_that_does_not_read() -> None:
    """What its user has not taken stays within the credit, over any number of breaks, and arrives when it does."""
    reading = asyncio.Event()
    received: list[bytes] = []

    async def slow(channel: Channel) -> None:
        await reading.wait()
        async for batch in channel.batches():
            received.extend(batch)

    async with linked(slow) as link:
        channel = await link.client.open("slow")
        messages = [number.to_bytes(2) * 2_000 for number in range(200)]
        sending = asyncio.create_task(channel.send_many(messages))
        for times in range(1, 6):
            await until(lambda: channel.stall is not None and channel.stall.reason in ("peer_window", "session_window"))
            link.cut()
            await link.resumed(times)
        assert not sending.done()
        reading.set()
        await sending
        await channel.flush()
        await until(lambda: len(received) == len(messages))
        assert received == messages


async def test_a_large_message_over_ten_breaks() -> None:
    size = 4 << 20
    config = Config(max_message=size, replay_limit=8 << 20, send_buffer=8 << 20, memory_limit=32 << 20)
    message = b"".join(number.to_bytes(4) for number in range(size // 4))
    async with linked(server={"config": config}, config=config) as link:
        channel = await link.client.open("echo")
        sending = asyncio.create_task(channel.send(message))
        receiving = asyncio.create_task(channel.recv())
        for times in range(10):
            link.cut("client" if times % 2 else "server")
            await link.resumed(times + 1)
            assert not receiving.done()
        assert await receiving == message
        await sending


@pytest.mark.parametrize("lost_at", ["client", "server"])
async def test_control_frames_lost_at_the_break_come_again(lost_at: str) -> None:
    """OPEN, CREDIT, FINISH and RESET, each written at the moment of the break."""
    seen: list[str] = []

    async def handler(channel: Channel) -> None:
        seen.append(channel.name)
        try:
            async for message in channel:
                await channel.send(message)
        except ChannelReset as reset:
            seen.append(f"{channel.name} {reset.code} {reset.reason}")
            raise
        seen.append(f"{channel.name} finished")

    async with linked(handler) as link:
        link.cut(lost_at)
        finished = await link.client.open("finished")
        await link.resumed(1)
        await finished.send(b"x")
        await finished.send_eof()
        link.cut(lost_at)
        await link.resumed(2)
        assert await finished.recv() == b"x"
        with pytest.raises(EndOfStream):
            await finished.recv()
        reset = await link.client.open("reset")
        await reset.send(b"y")
        assert await reset.recv() == b"y"
        await reset.reset(0x1234, "enough")
        link.cut(lost_at)
        await link.resumed(3)
        await until(lambda: len(seen) == 4)
        assert seen == ["finished", "finished finished", "reset", "reset 4660 enough"]
        credit = await link.client.open("credit")
        times = 3
        for number in range(40):  # many windows
            await credit.send(number.to_bytes(2) * 20_000)
            link.cut(lost_at)
            assert await credit.recv() == number.to_bytes(2) * 20_000
            times += 1
            await link.resumed(times)


async def test_request_across_a_break() -> None:
    asked = asyncio.Event()
    answer = asyncio.Event()

    async def handler(channel: Channel) -> None:
        message = await channel.recv()
        asked.set()
        await answer.wait()
        await channel.send(message + b"!")

    async with linked(handler) as link:
        requesting = asyncio.create_task(link.client.request("ask", b"what"))
        await asked.wait()
        await link.parted()
        answer.set()
        second = asyncio.create_task(link.client.request("ask", b"which"))  # begins while there is no connection
        await link.back()
        assert await requesting == b"what!"
        assert await second == b"which!"


async def test_ping_across_a_break() -> None:
    async with linked() as link:
        await link.parted()
        pinging = asyncio.create_task(link.client.ping())
        await asyncio.sleep(0)
        await link.back()
        assert await pinging > 0


async def test_old_connection_half_open() -> None:
    """The server has not noticed the break: the client's attempt fences the connection that it still has."""
    async with linked() as link:
        channel = await link.client.open("echo")
        await channel.send(b"a")
        assert await channel.recv() == b"a"
        old = link.peer.transport
        assert old is not None
        old.pause_reading()
        link.client._on_broken(SessionLost(cause="the test says so"))
        await link.resumed(1)
        assert old.is_closing()
        await channel.send(b"b")
        assert await channel.recv() == b"b"
        assert link.server.counters["resumed"] == 1


async def test_over_tls() -> None:
    async with linked(server={"ssl": server_context()}, ssl=client_context(), server_hostname="localhost") as link:
        await conversation(link)


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    async with linked(where={"path": tmp_path / "x.sock"}) as link:
        await conversation(link)


async def test_with_a_key() -> None:
    key = bytes(range(32))
    async with linked(server={"psk": key}, psk=key) as link:
        await conversation(link)


async def conversation(link: Link) -> None:
    channel = await link.client.open("echo")
    for number in range(10):
        await channel.send(b"%d" % number)
        link.cut("client" if number % 2 else "server")
        assert await channel.recv() == b"%d" % number
        await link.resumed(number + 1)


async def test_what_a_parted_session_says() -> None:
    async with linked() as link:
        channel = await link.client.open("echo")
        await channel.send(b"before")
        assert await channel.recv() == b"before"
        await link.parted()
        assert link.connector.state is State.RECONNECTING
        assert "broken" in repr(link.client)
        assert not link.client.closed
        assert not channel.send_nowait(b"no")
        sending = asyncio.create_task(channel.send(b"waits"))
        await asyncio.sleep(0)
        assert channel.stall is not None
        assert channel.stall.reason == "connection"
        await link.back()
        await sending
        assert channel.stall is None
        assert await channel.recv() == b"waits"


async def test_sends_that_waited_go_in_order() -> None:
    async with linked() as link:
        channel = await link.client.open("echo")
        await link.parted()
        sending = [asyncio.create_task(channel.send(b"%d" % number)) for number in range(50)]
        await asyncio.sleep(0)
        await link.back()
        assert [await channel.recv() for _ in sending] == [b"%d" % number for number in range(50)]
        await asyncio.gather(*sending)


@pytest.mark.parametrize("what", ["send", "recv", "open", "request", "flush", "ping"])
async def test_cancelling_while_parted_loses_nothing(what: str) -> None:
    async with linked(config=Config(max_channels=4), server={"config": Config(max_channels=2)}) as link:
        channel = await link.client.open("echo")
        await channel.send(b"first")
        await link.parted()
        waits: dict[str, Any] = {
            "send": lambda: channel.send(b"cancelled"),
            "recv": channel.recv,
            "open": lambda: link.client.open("echo"),
            "request": lambda: link.client.request("echo", b"cancelled"),
            "flush": channel.flush,
            "ping": link.client.ping,
        }
        if what == "open":
            await link.client.open("the last one allowed")
        waiting = asyncio.ensure_future(waits[what]())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        await link.back()
        assert await channel.recv() == b"first"
        await channel.send(b"second")
        assert await channel.recv() == b"second"


async def test_cancelling_at_any_turn_of_a_break() -> None:
    async with linked() as link:
        channel = await link.client.open("echo")
        number = 0
        for turns in range(30):
            before = link.client.stats()["messages_sent"]
            link.cut()
            sending = asyncio.ensure_future(channel.send(number.to_bytes(4)))
            receiving = asyncio.ensure_future(channel.recv())
            for _ in range(turns):
                await asyncio.sleep(0)
            sending.cancel()
            receiving.cancel()
            await asyncio.wait([sending, receiving])
            if link.client.stats()["messages_sent"] > before:  # accepted, also where nobody waited for it
                message = await channel.recv() if receiving.cancelled() else receiving.result()
                assert message == number.to_bytes(4)
                number += 1
            await link.resumed(turns + 1)
        assert number


async def test_flush() -> None:
    """Through a break, and only when the peer has everything."""
    async with linked() as link:
        channel = await link.client.open("echo")
        await channel.flush()
        for number in range(100):
            await channel.send(number.to_bytes(4) * 500)
        await link.parted()
        flushing = asyncio.create_task(channel.flush())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not flushing.done()
        await link.back()
        await flushing
        assert link.client.engine.acknowledged_frames >= 101
        assert link.peer.stats()["messages_received"] == 100


async def test_flush_without_resumption() -> None:
    async with linked(resume=None) as link:
        channel = await link.client.open("echo")
        await channel.send(bytes(200_000))
        await channel.flush()
        assert link.peer.stats()["messages_received"] == 1
        await channel.send(b"x")
        flushing = asyncio.create_task(channel.flush())
        link.cut()
        with pytest.raises(SessionLost):
            await flushing


async def test_flush_of_a_channel_that_is_reset() -> None:
    async def refuse(channel: Channel) -> None:
        await channel.recv()
        await channel.reset(0x1000, "no")

    async with linked(refuse) as link:
        channel = await link.client.open("refused")
        await channel.send(b"x")
        await link.parted()
        flushing = asyncio.create_task(channel.flush())
        await link.back()
        await asyncio.wait([flushing])
        with pytest.raises(ChannelReset):
            await channel.recv()
        with pytest.raises(ChannelReset):
            await channel.flush()
