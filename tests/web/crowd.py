"""1,000 WebSockets with nine channels each on one server: what they get, and what one costs that never reads.

    python tests/web/crowd.py [--sessions 1000] [--seconds 10]

The server sends a message a second on each channel. The clients are raw: they grant all the credit there is, and count
bytes.
"""

import argparse
import asyncio
import resource
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])

from support import frames
from support.frames import PREFACE
from websockets.asyncio.client import ClientConnection, connect

import muxtcp
from muxtcp import web

CHANNELS = 9
EACH = 1  # messages a second on a channel
SIZE = 100  # bytes
POURS = 60_000  # bytes of each message that the one gets who does not read
OPENING = 50  # WebSockets that are opened at once


async def handler(channel: muxtcp.Channel) -> None:
    while True:
        if channel.name == "pours":
            await channel.send(bytes(POURS))
        else:
            await channel.send(bytes(SIZE))
            await asyncio.sleep(1 / EACH)


async def serve() -> None:
    # The clients only count: they answer no PING.
    config = muxtcp.Config(max_handshakes_per_address=4 * OPENING, keepalive=None)
    async with web.serve_web(handler, "127.0.0.1", 0, config=config) as site:
        print(site.port, flush=True)
        await asyncio.get_running_loop().create_future()


class Client:
    """One WebSocket whose messages are counted by their bytes: a frame of SIZE has a few bytes more."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.bytes = 0
        self.reading: asyncio.Task[None] | None = None

    async def read(self) -> None:
        async for piece in self.socket:
            self.bytes += len(piece)


async def client(port: int, name: str = "ticks") -> Client:
    socket = await connect(f"ws://127.0.0.1:{port}/mux", compression=None, ping_interval=None, max_queue=None)
    limits = {"session_limit": frames.MAX_LIMIT, "channel_limit": frames.MAX_LIMIT}
    opens = [frames.open(number, name, mode="r") for number in range(1, 2 * CHANNELS, 2)]
    await socket.send(PREFACE + frames.hello(**limits))
    await socket.recv()
    await socket.send(b"".join(opens))
    return Client(socket)


def used(pid: int) -> tuple[float, float]:
    """Seconds of CPU and MiB of memory of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return (int(fields[11]) + int(fields[12])) / 100, pages * resource.getpagesize() / 2**20


async def watch(what: str, clients: list[Client], pid: int, seconds: float) -> None:
    before, (cpu, _) = [it.bytes for it in clients], used(pid)
    await asyncio.sleep(seconds)
    after, memory = used(pid)
    each = len(frames.data(1, bytes(SIZE)))
    rates = sorted((it.bytes - had) / each / CHANNELS / seconds for it, had in zip(clients, before, strict=True))
    got = f"{rates[0]:5.2f} to {rates[-1]:5.2f} messages/s on each channel, {sum(rates) * CHANNELS:,.0f} in all"
    print(f"{what:<28} {got}; server: {100 * (after - cpu) / seconds:.0f} % CPU, {memory:.1f} MiB")


async def main(sessions: int, seconds: float) -> None:
    server = await asyncio.create_subprocess_exec(sys.executable, __file__, "--serve", stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None
    port = int(await server.stdout.readline())
    _, empty = used(server.pid)
    clients: list[Client] = []
    for first in range(0, sessions, OPENING):
        clients += await asyncio.gather(*(client(port) for _ in range(min(OPENING, sessions - first))))
        for it in clients[first:]:
            it.reading = asyncio.create_task(it.read())
    _, full = used(server.pid)
    each = (full - empty) * 1024 / sessions
    print(f"{sessions} sessions, {sessions * CHANNELS} channels: {each:.1f} KiB for each session on the server")
    await watch("all of them read", clients, server.pid, seconds)
    idle = await client(port, "pours")
    idle.socket.transport.pause_reading()
    await watch("beside one that does not", clients, server.pid, seconds)
    idle.socket.transport.abort()
    for it in clients:
        assert it.reading is not None
        it.reading.cancel()
    server.terminate()
    await server.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    muxtcp.run(serve() if given.serve else main(given.sessions, given.seconds))
