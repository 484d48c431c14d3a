"""Many clients that leave without a word: what their parked sessions cost the server, and that all of it comes back.

    python tests/adversity/parked.py --sessions 10000 --channels 1

The server is a process of its own; its memory is what the kernel counts as resident.
"""

import argparse
import secrets
import socket
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for `support`, as pytest does

from adversity.peers import PATIENCE, Peer
from support import frames

WARM = 300  # sessions that come and go before anything is measured: what is kept once for all is there then
GRANTED = 100.0  # seconds: longer than it takes until all are there
CONFIG = {"max_handshakes_per_address": 1_000, "keepalive": None}


class State(NamedTuple):
    """What a server tells of itself."""

    sessions: int
    counters: dict[str, int]
    waiting: int
    cost: int  # bytes, by its own account
    resident: int  # bytes, by the kernel's


class Server(Peer):
    """A server process with room for so many sessions without a client."""

    def __init__(self, loop: str, *, most: int, memory: int, granted: float = GRANTED) -> None:
        super().__init__("server", loop, port=0, config=CONFIG, resume=granted, max_parked=most, parked_memory=memory)
        self.port = int(self.until("listening")[1])

    @property
    def state(self) -> State:
        return State(*self.ask("state", answer="state"))

    def settled(self, **counters: int) -> State:
        """Its state once it has counted so much; "gone" are those that expired or were given up."""
        end = time.monotonic() + GRANTED + PATIENCE
        while time.monotonic() < end:
            state = self.state
            state.counters["gone"] = state.counters.get("expired", 0) + state.counters.get("evicted", 0)
            if all(state.counters.get(name, 0) >= count for name, count in counters.items()):
                return state
        raise TimeoutError(f"{state} instead of {counters}")


class Guest:
    """A client that opens channels, sends a message on each that nobody reads, and is never seen again."""

    def __init__(self, port: int, channels: int = 1, message: bytes = b"") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._file = self._socket.makefile("rb")
        hello = frames.hello(resume=int(GRANTED * 1000), ticket=secrets.token_bytes(16))
        self._socket.sendall(frames.PREFACE + hello)
        assert self._file.read(len(frames.PREFACE)) == frames.PREFACE
        self._until(frames.Record.WELCOME)
        for channel in range(1, 2 * channels, 2):
            self._socket.sendall(frames.open(channel, "sleeper") + frames.data(channel, message))
        self._socket.sendall(frames.ping(1))
        self._until(frames.Record.PONG)

    def _until(self, record: int) -> None:
        """Read on, up to such a record."""
        kind = -1
        while kind != record:
            size = shift = 0
            while (byte := self._file.read(1)[0]) >= 0x80:
                size, shift = size | (byte & 0x7F) << shift, shift + 7
            body = self._file.read(size | byte << shift)
            kind = body[1] if body[0] >> 3 == 0 else -1

    def leave(self) -> None:
        self._file.close()
        self._socket.close()


def crowd(server: Server, count: int, **what: Any) -> State:
    """So many clients come and leave; the server's state when all are parked or given up."""
    before = server.state.counters.get("parked", 0)
    for _ in range(count):
        Guest(server.port, **what).leave()
    return server.settled(parked=before + count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--channels", type=int, default=1, help="that each has open")
    parser.add_argument("--size", type=int, default=64, help="bytes of the unread message on each channel")
    parser.add_argument("--memory", type=int, default=64, help="MiB: the server's parked_memory")
    parser.add_argument("--granted", type=float, default=GRANTED, help="seconds for which it keeps a session")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="uvloop")
    options = parser.parse_args()
    what = {"channels": options.channels, "message": bytes(options.size)}
    with Server(options.loop, most=options.sessions, memory=options.memory << 20, granted=options.granted) as server:
        first = crowd(server, WARM, **what)
        full = crowd(server, options.sessions, **what)
        print(f"{full.waiting:,} sessions wait, {full.counters.get('evicted', 0):,} were given up")
        print(f"  by the server's account {full.cost / 2**20:.1f} MiB of {options.memory}")
        grown, more = full.resident - first.resident, full.waiting - first.waiting
        print(f"  resident {full.resident / 2**20:.1f} MiB, {grown / 2**20:.1f} more than with {first.waiting}")
        if more:
            account = (full.cost - first.cost) / more
            print(f"  a session: {grown / more:,.0f} bytes, by the server's account {account:,.0f}")
        over = server.settled(expired=full.waiting)
        print(f"after {options.granted:g} s: {over.waiting} wait, resident {over.resident / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
