"""How fast a protocol and a stream are in a channel, beside the same ones over a TCP connection of the same loop.

    python tests/adapters/speed.py [asyncio|uvloop]

Both ends are in this one process, over loopback. What is counted is the time of the processor, so that a busy machine
changes little; look at the ratios, of several runs.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import muxtcp

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.loops import NAMES, runner

ROUND_TRIPS, SMALL, BULK = 5_000, 200_000, 200 << 20
PAYLOAD = bytes(64)

Connect = Callable[[Callable[[], asyncio.Protocol], str], Awaitable[tuple[Any, Any]]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Sink(asyncio.Protocol):
    received = 0

    def data_received(self, data: bytes) -> None:
        Sink.received += len(data)


class Client(asyncio.Protocol):
    """Plays ping-pong, or writes while it may."""

    def __init__(self) -> None:
        self.left = ROUND_TRIPS
        self.done, self.may_write = asyncio.Event(), asyncio.Event()
        self.may_write.set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.left -= 1
        self.transport.write(data) if self.left else self.done.set()

    def pause_writing(self) -> None:
        self.may_write.clear()

    def resume_writing(self) -> None:
        self.may_write.set()


async def round_trip(connect: Connect) -> float:
    """Microseconds, between two protocols."""
    transport, client = await connect(Client, "echo")
    began = time.process_time()
    transport.write(PAYLOAD)
    await client.done.wait()
    transport.close()
    return (time.process_time() - began) / ROUND_TRIPS * 1e6


async def stream_round_trip(streams: Streams) -> float:
    """Microseconds, between a stream and a protocol."""
    reader, writer = streams
    began = time.process_time()
    for _ in range(ROUND_TRIPS):
        writer.write(PAYLOAD)
        await reader.readexactly(len(PAYLOAD))
    writer.close()
    return (time.process_time() - began) / ROUND_TRIPS * 1e6


async def flow(connect: Connect, size: int, per_turn: int, total: int) -> float:
    """Writes per second until all has arrived."""
    Sink.received, sent, data = 0, 0, bytes(size)
    transport, client = await connect(Client, "sink")
    began = time.process_time()
    while sent < total:
        for _ in range(per_turn):
            transport.write(data)
        sent += per_turn
        await asyncio.sleep(0)
        await client.may_write.wait()
    while Sink.received < sent * size:
        await asyncio.sleep(0)
    transport.close()
    return sent / (time.process_time() - began)


async def compare() -> None:
    loop = asyncio.get_running_loop()
    listeners = {
        "echo": await loop.create_server(Echo, "127.0.0.1", 0),
        "sink": await loop.create_server(Sink, "127.0.0.1", 0),
    }
    places = {name: listener.sockets[0].getsockname()[:2] for name, listener in listeners.items()}

    async def on_session(session: muxtcp.Session) -> None:
        await session.create_server(Echo, "echo")
        await session.create_server(Sink, "sink")

    def by_tcp(factory: Callable[[], asyncio.Protocol], name: str) -> Awaitable[tuple[Any, Any]]:
        return loop.create_connection(factory, *places[name])

    def say(what: str, tcp: float, channel: float) -> None:
        print(f"{what:42} {tcp:12,.1f} {channel:12,.1f} {channel / tcp:8.2f}")

    async with muxtcp.serve(None, "127.0.0.1", 0, on_session=on_session) as server:
        async with muxtcp.connect(server.addresses[0]) as session:
            by_channel = session.create_connection
            for by in (by_tcp, by_channel):
                await round_trip(by)  # to warm up
            print(f"{'':42} {'TCP':>12} {'channel':>12} {'ratio':>8}")
            say("round trip of protocols, µs", await round_trip(by_tcp), await round_trip(by_channel))
            tcp = await stream_round_trip(await asyncio.open_connection(*places["echo"]))
            say("round trip of a stream, µs", tcp, await stream_round_trip(await session.open_stream("echo")))
            say("small writes, 100 a turn, 1/s", *[await flow(by, 20, 100, SMALL) for by in (by_tcp, by_channel)])
            for size in (4_096, 65_536, 1 << 20):
                rates = [await flow(by, size, 1, BULK // size) * size / 1e6 for by in (by_tcp, by_channel)]
                say(f"writes of {size:,} bytes, MB/s", *rates)
    for listener in listeners.values():
        listener.close()


if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        print(name)
        with runner(name) as run:
            run.run(compare())
