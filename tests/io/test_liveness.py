"""Who is found dead, when, and who is not: on a virtual clock."""

import asyncio
import math
from collections.abc import Coroutine
from typing import Any

import pytest

from muxtcp import Channel, Config, SessionClosed, SessionLost
from muxtcp.testing import VirtualClockLoop, pair

IMPATIENT = Config(keepalive=None, write_timeout=5.0)


def on_virtual_clock(scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(scenario)


async def sink(channel: Channel) -> None:
    async for _ in channel:
        pass


async def never_reads(channel: Channel) -> None:
    await channel.session.wait_closed()


def test_a_silent_peer_is_found_in_the_promised_time_and_the_loss_says_why() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with pair(sink) as p:
            channel = await p.client.open("sink")
            p.link.stall()
            silent_from = loop.time()
            await channel.send(bytes(1_000))
            with pytest.raises(SessionLost) as lost:
                await channel.recv()
            assert loop.time() - silent_from == pytest.approx(20.0, abs=1.0)
            assert lost.value.silent_for == pytest.approx(20.0, abs=1.0)
            assert lost.value.loop_lag < 0.5
            assert "nothing heard" in lost.value.cause

    on_virtual_clock(scenario())


def test_a_blocked_loop_does_not_kill_a_healthy_session() -> None:
    """The clock jumps by 30 s while nobody gets a turn, as it does for a process that computes or is suspended."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with pair(sink) as p:
            for _ in range(3):
                loop._clock.now += 30.0  # type: ignore[attr-defined]
                await asyncio.sleep(1.0)
                assert not p.client.closed
                assert not p.server.closed
                assert not math.isnan(await p.client.ping())

    on_virtual_clock(scenario())


def test_a_slow_line_with_a_long_queue_is_not_dead() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with pair(sink, bandwidth=4_000, socket_buffer=4_096) as p:
            async with p.client.open("sink") as channel:
                for _ in range(12):
                    await channel.send(bytes(20_000))
            await p.client.drain()
            assert loop.time() > 55.0
            assert not p.client.closed
            assert not p.server.closed

    on_virtual_clock(scenario())


def test_a_peer_that_takes_nothing_is_lost_after_the_write_timeout() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with pair(never_reads, config=IMPATIENT, socket_buffer=4_096) as p:
            channel = await p.client.open("void")
            p.link.stall("to_server")
            since = loop.time()
            with pytest.raises((SessionLost, SessionClosed)):
                while True:
                    await channel.send(bytes(100_000))
            assert loop.time() - since == pytest.approx(5.0, abs=0.5)

    on_virtual_clock(scenario())


@pytest.mark.parametrize("stalled", [False, True], ids=["never reads", "never answers"])
def test_every_close_ends_in_its_time(stalled: bool) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with pair(never_reads) as p:
            channel = await p.client.open("void")
            sending = [asyncio.create_task(channel.send(bytes(100_000))) for _ in range(40)]
            await asyncio.sleep(1.0)
            if stalled:
                p.link.stall()
            since = loop.time()
            await p.client.close()
            assert loop.time() - since <= 2 * Config().close_timeout + 0.5  # to drain, and to hear the peer's end
            await asyncio.wait(sending)
            assert all(task.done() for task in sending)
            assert any(task.exception() for task in sending)

    on_virtual_clock(scenario())


def test_a_handler_that_takes_long_to_end_does_not_hold_up_the_close(caplog: pytest.LogCaptureFixture) -> None:
    async def stubborn(channel: Channel) -> None:
        try:
            await channel.recv()
        finally:
            await asyncio.sleep(60.0)
            ended.set()

    ended = asyncio.Event()

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with pair(stubborn) as p:
            await p.client.open("slow")
            await p.client.ping()
            since = loop.time()
            await p.server.close()
            assert (
                loop.time() - since <= 2 * Config().close_timeout + 0.5
            )  # to finish, and to end when it was cancelled
            assert not ended.is_set()
        await ended.wait()

    on_virtual_clock(scenario())
    assert "handler of channel 1 ('slow')" in caplog.text


def test_a_cancelled_close_can_be_called_again() -> None:
    async def scenario() -> None:
        async with pair(never_reads) as p:
            channel = await p.server.open("ours")  # refused at once: the client has no handler
            del channel
            held = await p.client.open("void")
            await held.send(b"x")
            closing = asyncio.create_task(p.client.close())
            await asyncio.sleep(1.0)
            closing.cancel()
            await asyncio.wait([closing])
            assert closing.cancelled()
            await p.client.close()
            assert p.client.closed

    on_virtual_clock(scenario())


def test_a_timer_that_the_loop_calls_early_is_not_set_again_for_the_moment_that_is_left() -> None:
    """asyncio calls up to its clock's resolution early, uvloop up to a millisecond."""

    class Early(VirtualClockLoop):
        calls = 0

        def call_later(self, delay: float, *args: Any, **options: Any) -> asyncio.TimerHandle:
            self.calls += 1
            assert self.calls < 1_000
            return super().call_later(max(0.0, delay - 1e-6), *args, **options)

    async def scenario() -> None:
        async with pair(sink, config=Config(keepalive=1.0)):
            await asyncio.sleep(100.0)

    with asyncio.Runner(loop_factory=Early) as runner:
        runner.run(scenario())
