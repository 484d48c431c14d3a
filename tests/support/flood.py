"""Two peers that flood each other over many channels through tiny socket buffers.

`python tests/support/flood.py --seconds 20` runs it by hand, on uvloop unless `--loop asyncio`: once with everybody
reading, once with one reader that stops, and prints what the slowest and the fastest channel carried, and both rates.
"""

import argparse
import asyncio
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for `support`, as pytest does

from support import loops

from muxtcp import Channel, Config, Session, connect, serve

SOCKET_BUFFER = 4_096  # bytes, in each direction of each of the two sockets
OVERHEAD = 64  # what a message costs beside its bytes
READ_BEFORE_STOPPING = 3
SIZES = (
    16,
    100,
    700,
    24,
    3_000,
    64,
    20_000,
    40,
)  # bytes, by turns: most messages are small


def size_of(channel: int, number: int) -> int:
    return SIZES[(channel + number) % len(SIZES)]


@dataclass
class Lane:
    """One channel in one direction."""

    number: int
    received: int = 0  # messages, each checked to be the next one
    received_bytes: int = 0
    cost: int = 0  # of what was received, as the windows count it
    ended: bool = False

    def check(self, message: bytes) -> None:
        expected = self.received.to_bytes(8)
        assert message[:8] == expected, f"lane {self.number}: {message[:8]!r} instead of {expected!r}"
        assert len(message) == size_of(self.number, self.received), f"lane {self.number}: {len(message)} bytes"
        self.received += 1
        self.received_bytes += len(message)
        self.cost += len(message) + OVERHEAD


@dataclass
class Flood:
    """What a flood does, and what came of it.

    Args:
        channels: opened by the client; both sides send on each.
        more: asked before each message whether there is another, with its number.
        stopped: the channel whose reader at the server stops after `READ_BEFORE_STOPPING` messages, None for none.
        config: of both sides.
    """

    channels: int
    more: Callable[[int], bool]
    stopped: int | None = None
    config: Config = field(default_factory=Config)
    at_server: list[Lane] = field(default_factory=list)
    at_client: list[Lane] = field(default_factory=list)
    peak_unread: int = 0  # cost of all that the server had received and not consumed, at the worst moment seen
    idle_unread: int = 0  # of the stopped channel, at the end
    idle_window: int = 0  # what the server gave the stopped channel

    def __post_init__(self) -> None:
        self.at_server = [Lane(number) for number in range(self.channels)]
        self.at_client = [Lane(number) for number in range(self.channels)]
        self._stopped_channel: Channel | None = None
        self._sending: asyncio.Task[None] | None = None

    @property
    def moving(self) -> list[Lane]:
        """Every lane that nobody stopped."""
        return self.at_client + [lane for lane in self.at_server if lane.number != self.stopped]

    async def run(self) -> None:
        async with serve(self._serve, sock=listening_socket(), config=self.config) as server:
            async with connect(sock=connected_socket(server.sockets[0]), config=self.config) as session:
                async with asyncio.TaskGroup() as group:
                    for lane in self.at_client:
                        group.create_task(self._drive(session, lane))
                if self._stopped_channel is not None:
                    await self._stop_for_good(self._stopped_channel)

    async def _drive(self, session: Session, lane: Lane) -> None:
        channel = await session.open(f"{lane.number}")
        sending = asyncio.create_task(self._send(channel, lane.number))
        await self._receive(channel, lane)
        if lane.number == self.stopped:
            self._sending = sending
        else:
            await sending
            await channel.close()

    async def _serve(self, channel: Channel) -> None:
        lane = self.at_server[int(channel.name)]
        sending = asyncio.create_task(self._send(channel, lane.number))
        if lane.number == self.stopped:
            for _ in range(READ_BEFORE_STOPPING):
                lane.check(await channel.recv())
            self._stopped_channel = channel
            await sending
            await channel.session.wait_closed()
        else:
            await self._receive(channel, lane)
            await sending

    async def _send(self, channel: Channel, lane: int) -> None:
        number = 0
        while self.more(number):
            await channel.send(number.to_bytes(8) + bytes(size_of(lane, number) - 8))
            number += 1
        await channel.send_eof()

    async def _receive(self, channel: Channel, lane: Lane) -> None:
        async for message in channel:
            lane.check(message)
            if not channel.session.is_client:
                self._look_at(channel.session)
        lane.ended = True

    def _look_at(self, session: Session) -> None:
        """Note how much the server holds: what its channels received, less what was taken from them."""
        unread = sum(c.stats().received - self.at_server[int(c.name)].cost for c in session.channels)
        self.peak_unread = max(self.peak_unread, unread)

    async def _stop_for_good(self, channel: Channel) -> None:
        """All others are done: note what the stopped channel holds, and give its sender up."""
        stats = channel.stats()
        self.idle_unread = stats.received - self.at_server[int(channel.name)].cost
        self.idle_window = stats.receive_window
        assert self._sending is not None
        self._sending.cancel()
        await asyncio.wait([self._sending])
        await channel.reset()


def listening_socket() -> socket.socket:
    """Bound to loopback; what it accepts has its small buffers too."""
    sock = small(socket.socket())
    sock.bind(("127.0.0.1", 0))
    return sock


def connected_socket(to: socket.socket) -> socket.socket:
    sock = small(socket.socket())
    sock.connect(to.getsockname())
    return sock


def small(sock: socket.socket) -> socket.socket:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
    return sock


def counted(messages: int) -> Callable[[int], bool]:
    return lambda number: number < messages


async def for_seconds(seconds: float, stopped: int | None) -> float:
    """Flood for so long, print what the lanes carried; messages a second over those that run in both cases."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    flood = Flood(100, lambda number: loop.time() < end, stopped)
    await flood.run()
    elapsed = loop.time() - end + seconds
    for side, lanes in ("client", flood.at_client), ("server", flood.at_server):
        lanes = [lane for lane in lanes if lane.number != stopped]
        counts = [lane.received for lane in lanes]
        print(f"  to the {side}: {min(counts):,} to {max(counts):,} messages a channel, all in order")
    rate = sum(lane.received for lane in flood.moving if lane.number != 0) / elapsed
    print(f"  {rate:,.0f} messages/s over channels 1 to 99, most unread {flood.peak_unread:,} bytes", end="")
    print(f" of {flood.config.memory_limit:,}, in the stopped one {flood.idle_unread:,} of {flood.idle_window:,}")
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of the two runs")
    parser.add_argument("--loop", choices=loops.NAMES, default="uvloop")
    options = parser.parse_args()
    with loops.runner(options.loop) as runner:
        print("everybody reads:")
        free = runner.run(for_seconds(options.seconds, None))
        print("one reader of 100 has stopped:")
        held = runner.run(for_seconds(options.seconds, 0))
        print(f"the others keep {held / free:.1%} of their rate")


if __name__ == "__main__":
    main()
