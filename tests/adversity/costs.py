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
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for `support`, as pytest does

from adversity.peers import Peer, commands, resident, tell
from support import frames, loops, tls
from support.leftovers import allocated

from muxtcp import Channel, Config, Session, process_budget, serve

HALF_OPEN = {"max_handshakes": 4_000, "max_handshakes_per_address": 4_000, "handshake_timeout": 600.0}
PATIENT = {"keepalive": None, "write_timeout": 600.0, "user_timeout": 600.0}
RESUMABLE = {"resume": 100_000, "ticket": bytes(16)}
EXACT = {"PYTHONMALLOC": "malloc", "MALLOC_ARENA_MAX": "1"}  # every object is one allocation of the C library
LARGEST = 16_384  # bytes of a record of a handshake


class Held(NamedTuple):
    """What the server holds."""

    allocated: int  # bytes in use, by the C library's account
    resident: int  # bytes in RAM, by the kernel's
    handshakes: int  # under way
    sessions: int
    counters: dict[str, int]
    used: int  # by the budget's account


# The server's process


async def server(*, config: dict[str, Any], over_tls: bool, slow_admission: bool = False) -> None:
    """Tells ["listening", port]; answers ["state"]."""

    async def handler(channel: Channel) -> None:
        if channel.name == "brief":
            return
        if channel.name == "torrent":
            while True:
                await channel.send(bytes(60_000))
        seen = channel.meta  # it is read when it is looked at
        await channel.session.wait_closed()
        del seen

    async def admit(session: Session) -> None:
        if slow_admission:
            seen = session.peer_meta
            await session.wait_closed()
            del seen

    inbox = await commands()
    context = tls.server_context() if over_tls else None
    async with serve(handler, "127.0.0.1", 0, ssl=context, config=Config(**config), on_session=admit) as server:
        tell("listening", server.sockets[0].getsockname()[1])
        while True:
            await inbox.get()
            under_way = len(server._handshakes)
            gc.collect()
            tell(
                "state",
                allocated(),
                resident(),
                under_way,
                len(server.sessions),
                dict(server.counters),
                process_budget.used,
            )


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


def settled(server: Server, ready: Callable[[Held], bool] = lambda held: True) -> Held:
    """What it holds once that is so and does not change any more: whoever fills what he may, stops then."""
    held, steady = server.state(ready), 0
    while steady < 3:
        time.sleep(0.1)
        earlier, held = held, server.state(ready)
        steady = steady + 1 if abs(held.allocated - earlier.allocated) < 1_000 else 0
    return held


# Connections whose handshake has begun


def hello(size: int) -> bytes:
    """The preface and a HELLO with a record of so many bytes, of metadata that takes the most when it is read."""
    short = {f"{n:02}": "" for n in range(63)}
    wide = "\N{GRINNING FACE}" + "x" * 10_000  # one character beyond the plane makes all of them four bytes wide
    rest = size - len(frames.hello(meta=short | {"wide": wide})) + 3
    return frames.PREFACE + frames.hello(meta=short | {"wide": wide + "x" * rest})


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
    says_hello: bool
    what: str


WAYS = [
    HalfOpen(silent, False, False, "silent"),
    HalfOpen(unfinished, False, True, "all but the last byte of the largest HELLO"),
    HalfOpen(judged, False, True, "the largest HELLO, being admitted"),
    HalfOpen(silent, True, False, "TLS: silent"),
    HalfOpen(silent_in_tls, True, False, "TLS: silent once it is up"),
]


class Bill(NamedTuple):
    """What one of many connections costs."""

    allocated: float
    resident: float


def half_open(way: HalfOpen, count: int, loop: str) -> Bill:
    """What one of `count` connections costs that begin in this way and go no further."""
    with Server(loop, HALF_OPEN, over_tls=way.over_tls, slow_admission=True) as server:
        warm = [way.begin(server.port) for _ in range(20)]
        before = settled(server, lambda held: held.handshakes == len(warm))
        crowd = [way.begin(server.port) for _ in range(count)]
        full = settled(server, lambda held: held.handshakes == len(warm) + count)
        for connection in warm + crowd:
            connection.close()
    return Bill((full.allocated - before.allocated) / count, (full.resident - before.resident) / count)


# Sessions that make the server hold what they can


class Villain:
    """A client that speaks the wire by hand, and reads only what it must."""

    def __init__(self, port: int, **parameters: Any) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")
        self.socket.sendall(frames.PREFACE + frames.hello(**parameters))
        assert self.file.read(len(frames.PREFACE)) == frames.PREFACE
        self.session_limit = self.until(frames.Record.WELCOME)["session_limit"]
        self.channel_limits: dict[int, int] = {}
        self.used = 0
        self.pings = 0

    def frame(self) -> tuple[int, int, bytes]:
        """Channel, kind and payload of the next frame."""
        length, tag = self.varint(), 0
        body = self.file.read(length)
        tag, at = frames.read_varint(body, 0)
        return tag >> 3, tag & 7, body[at:]

    def varint(self) -> int:
        value = shift = 0
        while (byte := self.file.read(1)[0]) >= 0x80:
            value, shift = value | (byte & 0x7F) << shift, shift + 7
        return value | byte << shift

    def until(self, record: frames.Record) -> dict[str, Any]:
        """The fields of the next such record; what is granted on the way is noted."""
        while True:
            channel, kind, payload = self.frame()
            if channel and kind == frames.Kind.CREDIT:
                self.channel_limits[channel] = frames.read_varint(payload, 0)[0]
            elif not channel and payload[0] == frames.Record.SESSION_CREDIT:
                self.session_limit = frames.read_varint(payload, 1)[0]
            if not channel and payload[0] == record:
                return frames.read_record(payload)

    def settle(self) -> None:
        """Wait until the server has read everything."""
        self.pings += 1
        self.socket.sendall(frames.ping(self.pings))
        while self.until(frames.Record.PONG)["n"] != self.pings:
            pass

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def unread(villain: Villain, config: Config, size: int = 1_000, *, rest: int = 0) -> None:
    """Messages that nobody reads, on as many channels as it takes, until the server grants no more.

    With a `rest` they are not even finished: a fragment of `size`, and one of that on top.
    """
    cost, channel = size + (rest or 64), -1
    idle = 0
    while idle < 3:
        channel += 2
        villain.socket.sendall(frames.open(channel, "sleeper"))
        room = min(config.channel_window, villain.session_limit - villain.used)
        count = min(room // cost, 1) if rest else room // cost
        message = frames.part(channel, bytes(size)) + frames.part(channel, bytes(rest)) if rest else b""
        villain.socket.sendall((message or frames.data(channel, bytes(size))) * count)
        villain.used += count * cost
        need = villain.used + cost
        villain.socket.sendall(frames.session_blocked(villain.session_limit, need))
        before, stop = villain.session_limit, time.monotonic() + 0.2
        while villain.session_limit < need and time.monotonic() < stop:
            time.sleep(0.01)  # a window full of what nobody reads grows after 20 ms, and pings without end are odd
            villain.settle()
        idle = 0 if count or villain.session_limit != before else idle + 1


def crowded(villain: Villain, config: Config) -> None:
    """All channels that it may open, with the largest OPEN, of metadata that takes the most when it is read."""
    wide = "\N{GRINNING FACE}" + "x" * 3_600
    meta = {"wide": wide} | {f"{n:02}": "" for n in range(63)}
    for index in range(config.max_channels):
        villain.socket.sendall(frames.open(2 * index + 1, "sleeper", meta=meta))
    villain.settle()


def torrents(villain: Villain, config: Config) -> None:
    """What is sent to it, it does not read."""
    villain.socket.sendall(b"".join(frames.open(2 * index + 1, "torrent", priority=0) for index in range(8)))


def unacknowledged(villain: Villain, config: Config) -> None:
    """What is sent to it, it reads, and acknowledges nothing of it."""
    torrents(villain, config)
    villain.socket.settimeout(0.5)
    with suppress(TimeoutError):
        while villain.socket.recv(1 << 16):
            pass


def half(villain: Villain, config: Config) -> None:
    """The largest fragment, but for its last byte."""
    villain.socket.sendall(frames.open(1, "sleeper") + frames.part(1, bytes(config.max_frame))[:-1])


class Worst(NamedTuple):
    """A way to be as expensive as one can."""

    play: Callable[[Villain, Config], None]
    parameters: dict[str, Any]
    part: str  # of `Cost`, that it makes the server pay
    channels: int  # that it uses for it at most
    what: str


OPENHANDED = {"channel_limit": 1 << 50, "session_limit": 1 << 50, "max_message": 1 << 20}
WORST = [
    Worst(unread, {}, "received", 100, "messages of 1,000 bytes that nobody reads"),
    Worst(partial(unread, size=2), {}, "received", 100, "messages of 2 bytes that nobody reads"),
    Worst(partial(unread, size=60_000), {}, "received", 100, "messages of 60,000 bytes that nobody reads"),
    Worst(crowded, {}, "channels", 0, "all channels, with the largest OPEN"),
    Worst(torrents, OPENHANDED, "sent", 8, "output that it does not read"),
    Worst(unacknowledged, OPENHANDED | RESUMABLE, "sent", 8, "output that it does not acknowledge"),
    Worst(partial(unread, size=60_000, rest=1_024), {}, "received", 100, "messages that it does not finish"),
    Worst(half, {}, "reading", 1, "a frame that it does not finish"),
]


class Result(NamedTuple):
    """What a session cost, and what `Config` says that it may, beside that of an idle one."""

    allocated: int
    resident: int
    promised: int
    used: int  # by the budget's account


def worst_case(way: Worst, loop: str) -> Result:
    """What one session costs that does its worst in this way."""
    config = Config(**PATIENT)
    with Server(loop, PATIENT) as server:
        Villain(server.port).close()
        before = server.state(lambda held: held.counters.get("sessions") == 1 and not held.sessions)
        villain = Villain(server.port, **way.parameters)
        server.state(lambda held: held.sessions == 1)
        way.play(villain, config)
        full = settled(server)
        villain.close()
    cost = config.worst_case()
    promised = getattr(cost, way.part) + cost.session + way.channels * cost.channels // config.max_channels
    return Result(full.allocated - before.allocated, full.resident - before.resident, promised, full.used - before.used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=["half-open", "worst-case"])
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--loop", choices=loops.NAMES, default="uvloop")
    options = parser.parse_args()
    if options.what == "worst-case":
        print("in KiB: promised by Config, by the budget's account, allocated, resident")
        for worst in WORST:
            result = worst_case(worst, options.loop)
            figures = (result.promised, result.used, result.allocated, result.resident)
            print("".join(f"{figure / 1024:10,.0f}" for figure in figures), "", worst.what)
        return
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
