"""What peers that mean no good make a server hold, beside what `Config` says that they can.

    python tests/adversity/costs.py half-open --connections 1000
    python tests/adversity/costs.py worst-case

The server is a process of its own in which every object is one allocation, so that its memory is known to the byte.
"""

import argparse
import gc
import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for `support`, as pytest does

from adversity.peers import Peer, commands, resident, tell
from support import frames, loops, tls
from support.leftovers import allocated

from muxtcp import Channel, Config, Session, serve

HALF_OPEN = {"max_handshakes": 4_000, "max_handshakes_per_address": 4_000, "handshake_timeout": 600.0}
EXACT = {"PYTHONMALLOC": "malloc", "MALLOC_ARENA_MAX": "1"}  # every object is one allocation of the C library
LARGEST = 16_384  # bytes of a record of a handshake


class Held(NamedTuple):
    """What the server holds."""

    allocated: int  # bytes in use, by the C library's account
    resident: int  # bytes in RAM, by the kernel's
    handshakes: int  # under way
    sessions: int
    counters: dict[str, int]


# The server's process


async def server(*, config: dict[str, Any], over_tls: bool, slow_admission: bool = False) -> None:
    """Tells ["listening", port]; answers ["state"]."""

    async def handler(channel: Channel) -> None:
        if channel.name == "torrent":
            while True:
                await channel.send(bytes(60_000))
        await channel.session.wait_closed()

    async def admit(session: Session) -> None:
        if slow_admission:
            await session.wait_closed()

    inbox = await commands()
    context = tls.server_context() if over_tls else None
    async with serve(handler, "127.0.0.1", 0, ssl=context, config=Config(**config), on_session=admit) as server:
        tell("listening", server.sockets[0].getsockname()[1])
        while True:
            await inbox.get()
            under_way = len(server._handshakes)
            gc.collect()
            tell("state", allocated(), resident(), under_way, len(server.sessions), dict(server.counters))


class Server(Peer):
    """Its handle."""

    program = __file__

    def __init__(self, loop: str, config: dict[str, Any], *, over_tls: bool = False, **options: Any) -> None:
        super().__init__("server", loop, environment=EXACT, config=config, over_tls=over_tls, **options)
        self.port = int(self.until("listening")[1])

    def state(self, ready: Callable[[Held], bool] = lambda held: True) -> Held:
        """What it holds, once that is so."""
        while not ready(held := Held(*self.ask("state", answer="state"))):
            pass
        return held


# Connections whose handshake has begun


def hello(size: int) -> bytes:
    """The preface and a HELLO with a record of so many bytes, most of them metadata."""
    empty = frames.hello(meta={"k": "v" * 10_000})
    return frames.PREFACE + frames.hello(meta={"k": "v" * (10_000 + size - len(empty) + 3)})


def silent(port: int) -> socket.socket:
    """Says nothing."""
    return socket.create_connection(("127.0.0.1", port))


def unfinished(port: int) -> socket.socket:
    """Says all of the largest HELLO but the last byte."""
    connection = silent(port)
    connection.sendall(hello(LARGEST)[:-1])
    return connection


def judged(port: int) -> socket.socket:
    """Says the largest HELLO, over which a server may think for a while."""
    connection = silent(port)
    connection.sendall(hello(LARGEST))
    return connection


def silent_in_tls(port: int) -> socket.socket:
    """Says nothing after TLS is up."""
    return tls.client_context().wrap_socket(silent(port), server_hostname="localhost")


class HalfOpen(NamedTuple):
    """A way to begin."""

    begin: Callable[[int], socket.socket]
    over_tls: bool
    what: str


WAYS = [
    HalfOpen(silent, False, "silent"),
    HalfOpen(unfinished, False, "all but the last byte of the largest HELLO"),
    HalfOpen(judged, False, "the largest HELLO, being admitted"),
    HalfOpen(silent, True, "TLS: silent"),
    HalfOpen(silent_in_tls, True, "TLS: silent once it is up"),
]


class Bill(NamedTuple):
    """What one of many connections costs."""

    allocated: float
    resident: float


def half_open(way: HalfOpen, count: int, loop: str) -> Bill:
    """What one of `count` connections costs that begin in this way and go no further."""
    with Server(loop, HALF_OPEN, over_tls=way.over_tls, slow_admission=True) as server:
        warm = [way.begin(server.port) for _ in range(20)]
        before = server.state(lambda held: held.handshakes == len(warm))
        crowd = [way.begin(server.port) for _ in range(count)]
        full = server.state(lambda held: held.handshakes == len(warm) + count)
        for connection in warm + crowd:
            connection.close()
    return Bill((full.allocated - before.allocated) / count, (full.resident - before.resident) / count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=["half-open"])
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--loop", choices=loops.NAMES, default="uvloop")
    options = parser.parse_args()
    print(f"each of {options.connections:,} connections, in KiB: allocated, resident")
    for way in WAYS:
        bill = half_open(way, options.connections, options.loop)
        print(f"{bill.allocated / 1024:8.1f} {bill.resident / 1024:8.1f}  {way.what}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["server"]:
        with loops.runner(sys.argv[2]) as runner:
            runner.run(server(**json.loads(sys.argv[3])))
    else:
        main()
