"""Two protocols that do whatever comes to their minds: each byte arrives once, in order, then the end, then no more."""

import asyncio
import random

import pytest
from adapters.stage import BufferedRecorder, Notes, Recorder
from support.basics import until

from muxtcp import Config
from muxtcp.testing import pair


class Whim:
    """What one side does, drawn from a seed; it ends with everything written and the end of its direction."""

    def __init__(self, side: Notes, draw: random.Random) -> None:
        self.side, self.draw = side, draw
        self.written = bytearray()

    def step(self) -> None:
        transport = self.side.transport
        match self.draw.choice(["write", "write", "lines", "pause", "resume", "limits"]):
            case "write":
                transport.write(self.bytes())
            case "lines":
                transport.writelines([self.bytes() for _ in range(self.draw.randrange(5))])
            case "pause":
                transport.pause_reading()
            case "resume":
                transport.resume_reading()
            case "limits":
                transport.set_write_buffer_limits(high=self.draw.choice([0, 1, 1_000, 100_000]))

    def bytes(self) -> bytes:
        data = self.draw.randbytes(self.draw.choice([0, 1, 10, 1_000, 65_536, 65_537, self.draw.randrange(300_000)]))
        self.written += data
        return data

    def finish(self) -> None:
        self.side.transport.resume_reading()
        self.side.transport.write_eof()


def either(draw: random.Random) -> Notes:
    stays = {"eof": lambda side: True}
    return Recorder(**stays) if draw.random() < 0.5 else BufferedRecorder(draw.choice([1_000, 100_000]), **stays)


@pytest.mark.parametrize("seed", range(8))
async def test_what_is_written_is_what_arrives(seed: int) -> None:
    draw = random.Random(seed)
    config = Config(max_message=draw.choice([1_024, 50_000, 1 << 20]), channel_window=draw.choice([2_048, 262_144]))
    protocols = either(draw), either(draw)
    async with pair(config=config, chunk="random", seed=seed, resume=30.0) as sessions:
        await sessions.server.create_server(lambda: protocols[1], "case")
        await sessions.client.create_connection(lambda: protocols[0], "case")
        await until(lambda: protocols[1].transport)
        whims = [Whim(protocol, draw) for protocol in protocols]
        for _ in range(60):
            draw.choice(whims).step()
            for _ in range(draw.choice([0, 0, 1, 10])):
                await asyncio.sleep(0)
            if draw.random() < 0.03:
                sessions.link.cut()
        for whim in whims:
            whim.finish()
        await until(lambda: all("eof" in protocol.names() for protocol in protocols))
        protocols[0].transport.close()
        protocols[1].transport.close()
        await until(lambda: protocols[0].lost and protocols[1].lost)
    for whim, other in zip(whims, reversed(protocols), strict=True):
        assert other.data == whim.written
        names = [name for name in other.names() if name not in ("pause", "resume")]
        assert [name for before, name in zip([None, *names], names, strict=False) if name != before] in (
            ["made", "data", "eof", "lost"],
            ["made", "eof", "lost"],
        )
        flow = [name for name in other.names() if name in ("pause", "resume")]
        assert flow == ["pause", "resume"] * (len(flow) // 2)
        assert other.calls[-1] == ("lost", "NoneType")
