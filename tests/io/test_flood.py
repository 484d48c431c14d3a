"""Two peers flood each other over 100 channels through 4 KiB socket buffers: nobody starves, all is in order.

`python tests/support/flood.py --seconds 20` is the same by hand, with rates.
"""

import asyncio

from support import frames
from support.flood import OVERHEAD, READ_BEFORE_STOPPING, Flood, counted
from support.rawpeer import facing

from muxtcp import Channel, ChannelListener, Config, Session
from muxtcp.testing import VirtualClockLoop, pair

CHANNELS = 100
QUOTA = 24  # messages on each channel in each direction: three rounds of all sizes, about 15 MB together
WRITTEN_AT_ONCE = 262_144 + 65_536  # bytes: what the session gives to a transport that is not full, and one frame
LONG_QUOTA = 100  # more than a stopped channel's window holds


async def test_every_channel_gets_through_in_order() -> None:
    flood = Flood(CHANNELS, counted(QUOTA))
    await flood.run()
    assert {lane.received for lane in flood.moving} == {QUOTA}
    assert all(lane.ended for lane in flood.moving)
    assert flood.peak_unread <= flood.config.memory_limit


def test_who_waits_for_room_in_the_queue_is_served_in_turn() -> None:
    """Ten senders share a queue that holds eight messages: who has just been served goes to the end of the line."""
    received = [0] * 10
    halfway: list[int] = []  # what all had when the second of them had everything; the first began alone

    async def count(channel: Channel) -> None:
        async for _ in channel:
            received[int(channel.name)] += 1
            if not halfway and sorted(received)[-2] == 50:
                halfway[:] = received

    async def send(session: Session, number: int) -> None:
        async with session.open(str(number)) as channel:
            for _ in range(50):
                await channel.send(bytes(4_000))

    async def scenario() -> None:
        async with pair(count, config=Config(send_buffer=32_768), bandwidth=1e6, socket_buffer=4_096) as p:
            async with asyncio.TaskGroup() as senders:
                for number in range(10):
                    senders.create_task(send(p.client, number))
            await p.client.close()

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(scenario())
    assert received == [50] * 10
    assert min(halfway) >= 25, halfway


class Torrent(ChannelListener):
    """Sends until it is turned away, and again when it is told that it may."""

    def __init__(self, messages: int) -> None:
        self.left = messages

    def on_writable(self, channel: Channel) -> None:
        while self.left and channel.send_nowait(self.left.to_bytes(8) + bytes(5_000)):
            self.left -= 1


async def test_a_listener_that_is_turned_away_again_is_told_again() -> None:
    received: list[int] = []
    everything = asyncio.Event()

    async def collect(channel: Channel) -> None:
        async for message in channel:
            received.append(int.from_bytes(message[:8]))
            if len(received) == 1_000:
                everything.set()

    async with pair(collect) as p:
        channel = await p.client.open("torrent")
        torrent = Torrent(1_000)
        channel.listen(torrent)
        torrent.on_writable(channel)
        await everything.wait()
    assert received == list(range(1_000, 0, -1))


async def test_a_reader_that_stops_holds_up_nobody_else() -> None:
    flood = Flood(CHANNELS, counted(LONG_QUOTA), stopped=7, config=Config(memory_limit=4 * 2**20))
    await flood.run()
    assert {lane.received for lane in flood.moving} == {LONG_QUOTA}
    assert flood.at_server[7].received == READ_BEFORE_STOPPING
    assert OVERHEAD < flood.idle_unread <= flood.idle_window
    assert flood.peak_unread <= flood.config.memory_limit


async def test_what_a_transport_holds_is_bounded() -> None:
    """Also where asyncio's writelines() does not say that it is full: a peer that reads nothing grants all credit."""
    config = Config(send_buffer=64 << 20)
    async with facing("server", config) as (peer, user):
        await peer.greet(session_limit=1 << 50, channel_limit=1 << 50)
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await peer.send(frames.open(1, "torrent"))
        channel = await user.channel(1)
        for _ in range(500):
            while channel.send_nowait(bytes(16_000)) and channel.send_nowait(b"small"):
                pass
            await asyncio.sleep(0)
        transport = channel.session.transport
        assert transport.get_write_buffer_size() <= config.high_water + WRITTEN_AT_ONCE
