"""The contestants without muxtcp: protocols on raw uvloop, written as well as pure Python allows.

`RawFlood`, `RawPingPong` and `RawRally` have no framing and no channels: the least that a message can cost.
`HandBatched` and `HandBatchedRally` are what a good engineer writes by hand when one connection must carry many
channels: a header per message, many messages per write, a table of handlers; but no credit, no back-pressure per
channel, no priorities.
"""
# ruff: noqa: D102 -- the two sides and the label of a contestant are described in `Contestant`

import asyncio
import resource
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from struct import Struct
from time import perf_counter
from typing import cast

from .stage import MemoryGauge, Stage, TwoSides, private_memory

# A sender that is never paused would keep the loop to itself: after this many writes it lets the timers run.
WRITES_PER_TURN = 64
# Messages per write of the hand-batched contestants. About 2 KB a write is where joining more stops to pay.
JOINED = 32
HEADER = Struct("!IH")  # channel, size


def _size_text(size: int) -> str:
    return f"{size // 1024} KiB" if size % 1024 == 0 else f"{size} B"


async def _serve_protocol(stage: Stage, factory: Callable[[], asyncio.BaseProtocol], *, tls: bool = False) -> None:
    server = await asyncio.get_running_loop().create_server(factory, sock=stage.listen(), ssl=stage.tls(tls))
    await server.serve_forever()


async def _drive_protocol(stage: Stage, factory: Callable[[], asyncio.BaseProtocol], *, tls: bool = False) -> None:
    await asyncio.get_running_loop().create_connection(factory, *stage.address, ssl=stage.tls(tls))
    await asyncio.Event().wait()


class _Peer(asyncio.Protocol):
    """One end of a connection: TCP_NODELAY is set, and the clock starts when it is up."""

    transport: asyncio.Transport

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport = cast("asyncio.Transport", transport)
        self.stage.begin()


class _Sender(_Peer):
    """Writes what `chunks` yields as fast as the transport takes it."""

    def __init__(self, stage: Stage, chunks: Iterator[bytes]) -> None:
        super().__init__(stage)
        self.chunks = chunks
        self.paused = False
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.pump()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.loop.call_soon(self.pump)

    def pump(self) -> None:
        write = self.transport.write
        for chunk in islice(self.chunks, WRITES_PER_TURN):
            write(chunk)
            if self.paused:
                return
        self.loop.call_soon(self.pump)


class _Sink(asyncio.BufferedProtocol):
    """Counts messages of one size by their bytes, received into one buffer that is used again and again."""

    def __init__(self, stage: Stage, size: int) -> None:
        self.stage = stage
        self.size = size
        self.received = 0
        self.buffer = memoryview(bytearray(262_144))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.stage.begin()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes
        self.stage.count = self.received // self.size


@dataclass(frozen=True, kw_only=True)
class RawFlood(TwoSides):
    """Messages one way without framing, cut into writes of `write_size` bytes."""

    size: int
    write_size: int
    tls: bool = False

    @property
    def label(self) -> str:
        return f"raw uvloop{' over TLS' * self.tls}, {_size_text(self.write_size)} writes"

    async def serve(self, stage: Stage) -> None:
        await _serve_protocol(stage, lambda: _Sink(stage, self.size), tls=self.tls)

    async def drive(self, stage: Stage) -> None:
        await _drive_protocol(stage, lambda: _Sender(stage, cycle([bytes(self.write_size)])), tls=self.tls)


class _Return(_Peer):
    """Sends back whatever arrives."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class _PingPong(_Peer):
    """Keeps one message under way and times each of its round trips."""

    def __init__(self, stage: Stage, size: int) -> None:
        super().__init__(stage)
        self.message = bytes(size)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.sent = perf_counter()
        self.transport.write(self.message)

    def data_received(self, data: bytes) -> None:
        # So small a segment is never split on a connection that carries nothing else.
        now = perf_counter()
        self.stage.latencies.append(now - self.sent)
        self.stage.count += 1
        self.sent = now
        self.transport.write(self.message)


@dataclass(frozen=True, kw_only=True)
class RawPingPong(TwoSides):
    """Round trips of one message, without framing."""

    size: int
    tls: bool = False

    @property
    def label(self) -> str:
        return f"raw uvloop{' over TLS' * self.tls}"

    async def serve(self, stage: Stage) -> None:
        await _serve_protocol(stage, lambda: _Return(stage), tls=self.tls)

    async def drive(self, stage: Stage) -> None:
        await _drive_protocol(stage, lambda: _PingPong(stage, self.size), tls=self.tls)


class _Rally(_Peer):
    """Sends every `size` bytes back in a write of their own; the side that serves sends `serves` messages first."""

    def __init__(self, stage: Stage, size: int, serves: int = 0) -> None:
        super().__init__(stage)
        self.size = size
        self.serves = serves
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        for _ in range(self.serves):
            self.transport.write(bytes(self.size))

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        size, write = self.size, self.transport.write
        whole = len(data) - len(data) % size
        for at in range(0, whole, size):
            write(data[at : at + size])
        self.rest = data[whole:]
        self.stage.count += whole // size


@dataclass(frozen=True, kw_only=True)
class RawRally(TwoSides):
    """Round trips of `outstanding` messages at once, without framing, each message in a write of its own."""

    size: int
    outstanding: int

    @property
    def label(self) -> str:
        return "raw uvloop"

    async def serve(self, stage: Stage) -> None:
        await _serve_protocol(stage, lambda: _Rally(stage, self.size))

    async def drive(self, stage: Stage) -> None:
        await _drive_protocol(stage, lambda: _Rally(stage, self.size, serves=self.outstanding))


class _Framed(_Peer):
    """Cuts the input into messages and hands each to the handler of its channel."""

    def __init__(self, stage: Stage, handlers: dict[int, Callable[[int, bytes], None]]) -> None:
        super().__init__(stage)
        self.handlers = handlers
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        at, end = 0, len(data)
        handlers, unpack, header = self.handlers, HEADER.unpack_from, HEADER.size
        while at + header <= end:
            channel, size = unpack(data, at)
            stop = at + header + size
            if stop > end:
                break
            handlers[channel](channel, data[at + header : stop])
            at = stop
        self.rest = data[at:]
        self.on_read()

    def on_read(self) -> None:
        """All messages of one read have been handled."""


def _framed_batches(message: bytes, channels: int) -> Iterator[bytes]:
    """One message per channel in turn, for ever: each with its header, `JOINED` of them to a chunk."""
    pack, size = HEADER.pack, len(message)
    turns = cycle(range(channels))
    while True:
        parts = []
        for channel in islice(turns, JOINED):
            parts.append(pack(channel, size))
            parts.append(message)
        yield b"".join(parts)


@dataclass(frozen=True, kw_only=True)
class HandBatched(TwoSides):
    """Framed messages one way, in turn over `channels`."""

    size: int
    channels: int

    @property
    def label(self) -> str:
        return "hand-batched Python"

    async def serve(self, stage: Stage) -> None:
        def count(channel: int, message: bytes) -> None:
            stage.count += 1

        await _serve_protocol(stage, lambda: _Framed(stage, dict.fromkeys(range(self.channels), count)))

    async def drive(self, stage: Stage) -> None:
        await _drive_protocol(stage, lambda: _Sender(stage, _framed_batches(bytes(self.size), self.channels)))


class _FramedRally(_Framed):
    """Sends every message back, those of one read in one write; the side that serves first sends one a channel."""

    def __init__(self, stage: Stage, channels: int, serve: bytes = b"") -> None:
        super().__init__(stage, dict.fromkeys(range(channels), self.answer))
        self.serve = serve
        self.answers: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.serve:
            for channel in self.handlers:
                self.answer(channel, self.serve)
            self.on_read()

    def answer(self, channel: int, message: bytes) -> None:
        self.stage.count += 1
        self.answers.append(HEADER.pack(channel, len(message)))
        self.answers.append(message)

    def on_read(self) -> None:
        self.transport.write(b"".join(self.answers))
        self.answers.clear()


@dataclass(frozen=True, kw_only=True)
class HandBatchedRally(TwoSides):
    """Round trips with framing, one outstanding on each of `channels`."""

    size: int
    channels: int

    @property
    def label(self) -> str:
        return "hand-batched Python"

    async def serve(self, stage: Stage) -> None:
        await _serve_protocol(stage, lambda: _FramedRally(stage, self.channels))

    async def drive(self, stage: Stage) -> None:
        await _drive_protocol(stage, lambda: _FramedRally(stage, self.channels, serve=bytes(self.size)))


@dataclass(frozen=True, kw_only=True)
class IdleConnections(TwoSides):
    """Memory of one idle TCP connection in this process, without what the kernel holds for it."""

    connections: int
    settled: int = 100  # opened before the first reading, so that one-off costs are not counted; divides `connections`

    @property
    def label(self) -> str:
        return "a TCP connection on raw uvloop"

    async def serve(self, stage: Stage) -> None:
        _allow_many_files()
        gauge = MemoryGauge(stage, settled=self.settled, counted=self.connections)

        class Idle(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                gauge.one_more()

        await _serve_protocol(stage, Idle)

    async def drive(self, stage: Stage) -> None:
        _allow_many_files()
        kept = [await _connect_many(stage, self.settled)]
        before = private_memory()
        kept += [await _connect_many(stage, self.settled) for _ in range(self.connections // self.settled)]
        stage.publish(bytes=(private_memory() - before) / self.connections)
        await asyncio.Event().wait()


async def _connect_many(stage: Stage, count: int) -> list[object]:
    connect = asyncio.get_running_loop().create_connection
    return await asyncio.gather(*(connect(asyncio.Protocol, *stage.address) for _ in range(count)))


def _allow_many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
