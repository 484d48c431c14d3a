"""The test kit itself: the link keeps the contract of sockets, its faults are exact, the virtual clock jumps."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, cast

import pytest

from muxtcp.testing import Link, VirtualClockLoop


def run_virtual(main: Coroutine[Any, Any, None], **bounds: float) -> None:
    with asyncio.Runner(loop_factory=lambda: VirtualClockLoop(**bounds)) as runner:
        runner.run(main)


class Recorder(asyncio.BufferedProtocol):
    """Notes what the transport calls, and how large each delivery was."""

    transport: asyncio.Transport

    def __init__(self, room: int = 4_096, keep_open: bool = True) -> None:
        self.buffer = bytearray(room)
        self.keep_open = keep_open
        self.received = bytearray()
        self.sizes: list[int] = []
        self.events: list[str] = []
        self.lost: BaseException | None = None
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_event(self, name: str) -> None:
        await self.until(lambda: name in self.events)

    def note(self, name: str) -> None:
        self.events.append(name)
        self._changed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self.note("made")

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self.buffer[:nbytes]
        self.sizes.append(nbytes)
        self._changed.set()

    def eof_received(self) -> bool:
        self.note("eof")
        return self.keep_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc
        self.note("lost")

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")


@contextlib.asynccontextmanager
async def linked(client: Recorder, server: Recorder, **options: Any) -> AsyncIterator[Link]:
    link = Link(client, server, **options)
    async with made(client, server):
        yield link


@contextlib.asynccontextmanager
async def made(*ends: Recorder) -> AsyncIterator[None]:
    """Wait for the connection; at the end of the block, see that each end loses it exactly once."""
    for end in ends:
        await end.until_event("made")
    try:
        yield
    finally:
        for end in ends:
            if "lost" not in end.events:
                end.transport.abort()
            await end.until_event("lost")
            assert end.events.count("lost") == 1


# --- the contract, against real sockets -------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def over_memory(client: Recorder, server: Recorder) -> AsyncIterator[None]:
    async with linked(client, server):
        yield


@contextlib.asynccontextmanager
async def over_sockets(client: Recorder, server: Recorder) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: server, "127.0.0.1", 0) as listener:
        await loop.create_connection(lambda: client, *listener.sockets[0].getsockname())
        async with made(client, server):
            yield


async def data_flows_both_ways(client: Recorder, server: Recorder) -> None:
    client.transport.writelines([b"ab", bytearray(b"cd"), memoryview(b"ef"), b""])
    await server.until(lambda: server.received == b"abcdef")
    server.transport.write(b"reply")
    await client.until(lambda: client.received == b"reply")


async def half_close_leaves_the_other_half(client: Recorder, server: Recorder) -> None:
    client.transport.write(b"x" * 10_000)
    client.transport.write_eof()
    await server.until_event("eof")
    assert len(server.received) == 10_000
    server.transport.write(b"answer")
    await client.until(lambda: client.received == b"answer")
    with pytest.raises(RuntimeError, match="write_eof"):
        client.transport.write(b"more")


async def an_unwanted_end_closes(client: Recorder, server: Recorder) -> None:
    server.keep_open = False
    client.transport.write_eof()
    await client.until_event("eof")
    await server.until_event("lost")
    assert server.lost is None


async def close_flushes_first(client: Recorder, server: Recorder) -> None:
    client.transport.write(b"x" * 1_000_000)
    client.transport.close()
    assert client.transport.is_closing()
    await server.until_event("eof")
    assert len(server.received) == 1_000_000
    await client.until_event("lost")
    assert client.lost is None


async def abort_drops_the_write_buffer(client: Recorder, server: Recorder) -> None:
    client.transport.write(b"x" * 20_000_000)
    client.transport.abort()
    await client.until_event("lost")
    await server.until_event("eof")
    assert client.lost is None
    assert len(server.received) < 20_000_000


async def close_with_unread_data_resets(client: Recorder, server: Recorder) -> None:
    client.transport.pause_reading()
    server.transport.write(b"never read")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    client.transport.close()
    await server.until_event("lost")
    assert isinstance(server.lost, ConnectionResetError)


async def reading_pauses(client: Recorder, server: Recorder) -> None:
    server.transport.pause_reading()
    assert not server.transport.is_reading()
    client.transport.write(b"abc")
    client.transport.write_eof()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not server.received
    assert "eof" not in server.events
    server.transport.resume_reading()
    assert server.transport.is_reading()
    await server.until_event("eof")
    assert server.received == b"abc"


async def writing_pauses_at_the_marks(client: Recorder, server: Recorder) -> None:
    client.transport.set_write_buffer_limits(high=100_000, low=1_000)
    server.transport.pause_reading()
    while "pause" not in client.events:
        client.transport.write(b"x" * 60_000)
        await asyncio.sleep(0)
    assert client.transport.get_write_buffer_size() > 100_000
    server.transport.resume_reading()
    await client.until_event("resume")
    assert client.transport.get_write_buffer_size() <= 1_000


CONTRACT = [
    data_flows_both_ways,
    half_close_leaves_the_other_half,
    an_unwanted_end_closes,
    close_flushes_first,
    abort_drops_the_write_buffer,
    close_with_unread_data_resets,
    reading_pauses,
    writing_pauses_at_the_marks,
]


@pytest.mark.parametrize("scenario", CONTRACT, ids=lambda scenario: scenario.__name__)
@pytest.mark.parametrize("joined", [over_memory, over_sockets], ids=lambda joined: joined.__name__)
async def test_link_keeps_the_contract_of_sockets(
    scenario: Callable[[Recorder, Recorder], Awaitable[None]], joined: Any
) -> None:
    client, server = Recorder(), Recorder()
    async with joined(client, server):
        await scenario(client, server)


# --- the link's own options -------------------------------------------------------------------------------------------


async def test_protocols_without_a_buffer_get_bytes() -> None:
    class Reader(asyncio.Protocol):
        def __init__(self) -> None:
            self.pieces: list[bytes] = []

        def data_received(self, data: bytes) -> None:
            self.pieces.append(data)

    client, reader = Recorder(), Reader()
    Link(client, reader)
    await client.until_event("made")
    client.transport.write(b"hello")
    client.transport.write_eof()
    await client.until_event("eof")
    assert reader.pieces == [b"hello"]


@pytest.mark.parametrize("chunk", [1, 3, 1_000])
async def test_chunk_bounds_each_delivery(chunk: int) -> None:
    client, server = Recorder(), Recorder()
    async with linked(client, server, chunk=chunk):
        client.transport.write(b"x" * 2_500)
        await server.until(lambda: len(server.received) == 2_500)
    assert set(server.sizes[:-1]) == {chunk}


async def test_random_chunks_are_those_of_the_seed() -> None:
    sent = bytes(range(256)) * 400

    async def sizes(seed: int) -> list[int]:
        client, server = Recorder(room=100_000), Recorder(room=100_000)
        async with linked(client, server, chunk="random", seed=seed):
            client.transport.write(sent)
            await server.until(lambda: len(server.received) == len(sent))
        assert server.received == sent
        return server.sizes

    assert await sizes(1) == await sizes(1)
    assert await sizes(1) != await sizes(2)


async def test_a_delivery_fills_the_buffer_it_is_given() -> None:
    client, server = Recorder(), Recorder(room=1_000)
    async with linked(client, server):
        client.transport.writelines([b"x" * 700, b"y" * 700, b"z" * 700])
        await server.until(lambda: len(server.received) == 2_100)
    assert server.sizes == [1_000, 1_000, 100]


async def test_socket_buffer_bounds_what_is_on_the_way() -> None:
    client, server = Recorder(), Recorder()
    async with linked(client, server, socket_buffer=4_096) as link:
        link.stall("to_server")
        client.transport.writelines([b"x" * 2_500] * 4)
        assert client.transport.get_write_buffer_size() == 10_000 - 4_096
        assert link.traffic("to_server") == (10_000, 0, 10_000)
        link.resume()
        await server.until(lambda: len(server.received) == 10_000)
        assert link.traffic("to_server") == (10_000, 10_000, 0)
        assert link.traffic("to_client") == (0, 0, 0)


def test_latency_and_bandwidth_are_exact_on_a_virtual_clock() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        client, server = Recorder(), Recorder()
        async with linked(client, server, latency=0.5, bandwidth=1_000):
            client.transport.write(b"x" * 4_000)
            await server.until(lambda: bool(server.received))
            assert loop.time() == pytest.approx(0.5 + 1.448)
            await server.until(lambda: len(server.received) == 4_000)
            assert loop.time() == pytest.approx(0.5 + 4.0)
            server.transport.write(b"y")
            await client.until(lambda: bool(client.received))
            assert loop.time() == pytest.approx(0.5 + 4.0 + 0.501)

    run_virtual(main())


async def test_latency_on_a_real_clock() -> None:
    client, server = Recorder(), Recorder()
    async with linked(client, server, latency=0.02):
        before = time.monotonic()
        client.transport.write(b"x")
        await server.until(lambda: bool(server.received))
        assert time.monotonic() - before > 0.015  # loops round to a millisecond


async def test_impossible_options_are_all_named() -> None:
    with pytest.raises(ValueError, match=r"latency .* -1; bandwidth .* 0; chunk .* 0; socket_buffer .* 0"):
        Link(Recorder(), Recorder(), latency=-1, bandwidth=0, chunk=0, socket_buffer=0)


# --- faults -----------------------------------------------------------------------------------------------------------


async def test_cut_loses_the_connection_on_both_sides() -> None:
    client, server = Recorder(), Recorder()
    async with linked(client, server) as link:
        client.transport.write(b"on the way")
        link.cut()
        for end in (client, server):
            await end.until_event("lost")
            assert isinstance(end.lost, ConnectionResetError)
            assert not end.received
        with pytest.raises(RuntimeError, match="connection_lost"):
            client.transport.write(b"late")


@pytest.mark.parametrize("size", [1, 4_095, 4_096, 4_097, 9_999])
async def test_cut_after_delivers_exactly_that_much(size: int) -> None:
    client, server = Recorder(), Recorder()
    async with linked(client, server) as link:
        link.cut_after(size, "to_server")
        client.transport.write(b"x" * 10_000)
        await client.until_event("lost")
        await server.until_event("lost")
        assert len(server.received) == size
        assert isinstance(server.lost, ConnectionResetError)


async def test_cut_after_needs_a_byte_and_a_direction() -> None:
    async with linked(Recorder(), Recorder()) as link:
        with pytest.raises(ValueError, match="at least 1 byte, not 0"):
            link.cut_after(0, "to_server")
        with pytest.raises(ValueError, match="not 'up'"):
            link.cut_after(1, "up")  # type: ignore[arg-type]


async def test_stall_holds_data_and_end_in_one_direction() -> None:
    client, server = Recorder(), Recorder()
    async with linked(client, server) as link:
        link.stall("to_server")
        client.transport.write(b"abc")
        client.transport.write_eof()
        server.transport.write(b"the other way")
        await client.until(lambda: client.received == b"the other way")
        assert not server.received
        link.resume("to_server")
        await server.until_event("eof")
        assert server.received == b"abc"


async def test_a_silent_network_tells_nobody_of_a_reset() -> None:
    client, server = Recorder(), Recorder()
    async with linked(client, server) as link:
        link.stall()
        server.transport.write(b"unread")
        client.transport.abort()
        await client.until_event("lost")
        server.transport.write(b"into the void")
        for _ in range(5):
            await asyncio.sleep(0)
        assert server.events == ["made"]
        link.resume()
        server.transport.write(b"and now")
        await server.until_event("lost")
        assert isinstance(server.lost, ConnectionResetError)


async def test_half_close_ends_one_direction_behind_the_senders_back() -> None:
    client, server = Recorder(), Recorder()
    async with linked(client, server) as link:
        client.transport.write(b"before")
        link.half_close("to_server")
        client.transport.write(b"after")
        await server.until_event("eof")
        assert server.received == b"before"
        server.transport.write(b"still here")
        await client.until(lambda: client.received == b"still here")


@pytest.mark.parametrize("failing", ["buffer_updated", "eof_received", "get_buffer"])
async def test_a_failing_protocol_loses_its_connection(failing: str) -> None:
    class Failing(Recorder):
        def buffer_updated(self, nbytes: int) -> None:
            if failing == "buffer_updated":
                raise ArithmeticError

        def eof_received(self) -> bool:
            raise ArithmeticError

        def get_buffer(self, sizehint: int) -> bytearray:
            if failing == "get_buffer":
                raise ArithmeticError
            return self.buffer

    contexts = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
    client, server = Recorder(), Failing()
    async with linked(client, server):
        client.transport.write(b"x")
        client.transport.write_eof()
        await server.until_event("lost")
        await client.until_event("eof" if failing == "eof_received" else "lost" if failing == "get_buffer" else "eof")
    assert isinstance(server.lost, ArithmeticError)
    assert [type(context["exception"]) for context in contexts] == [ArithmeticError]


async def test_a_buffer_changed_after_write_reaches_the_peer_changed() -> None:
    """As on uvloop, and on asyncio from 3.12: whoever reuses a buffer that was written finds out here."""

    client, server = Recorder(), Recorder()
    async with linked(client, server):
        data = bytearray(b"abc")
        client.transport.write(data)
        data[:] = b"xyz"
        await server.until(lambda: len(server.received) == 3)
        assert server.received == b"xyz"


# --- the clock --------------------------------------------------------------------------------------------------------


def test_virtual_time_jumps_in_order() -> None:
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append((name, asyncio.get_running_loop().time()))

    async def main() -> None:
        await asyncio.gather(sleeper("c", 3_000.0), sleeper("a", 0.001), sleeper("b", 30.0))

    before = time.monotonic()
    run_virtual(main())
    assert woken == [("a", pytest.approx(0.001)), ("b", pytest.approx(30.0)), ("c", pytest.approx(3_000.0))]
    assert time.monotonic() - before < 30


def test_virtual_time_stands_still_while_something_is_ready() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(1.0, pytest.fail, "the clock moved")
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert loop.time() == 0.0
        timer.cancel()

    run_virtual(main())


def test_virtual_time_is_bounded() -> None:
    async def for_ever() -> None:
        for _ in range(1_000):
            await asyncio.sleep(1.0)

    with pytest.raises(RuntimeError, match="limit of 100 s"):
        run_virtual(for_ever(), limit=100.0)


def test_waiting_for_nothing_is_an_error() -> None:
    async def for_ever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="last for ever"):
        run_virtual(for_ever(), patience=0.01)


def test_a_thread_is_waited_for_when_no_timer_is_set() -> None:
    async def main() -> None:
        assert await asyncio.to_thread(lambda: 7) == 7

    run_virtual(main())
