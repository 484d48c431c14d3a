"""Nobody is taken for dead who is only slow; and who is gone is found in time.

    python tests/adversity/false_death.py --seconds 600 --loop uvloop

A client and a server, each in a network namespace and with the default `Config`, over a line of 1 Mbit/s in each
direction, while programs that do nothing else keep every core busy twice over. Of their two sessions one is busy: bulk
both ways, small messages, urgent ones, pings. The other has nothing to say, and lives by its keepalive alone, over the
same line. Then every packet vanishes: all four ends must find out in the time that `Config` promises. Needs root.
"""

import argparse
import asyncio
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for `support` and `adversity`, as pytest does

from adversity.peers import KEPT, Peer, commands, play, tell
from support import loops
from support.network import SERVER, Network, why_not

from muxtcp import Channel, Config, MuxError, Priority, Session, connect, serve

RATE = 1_000_000  # bits per second
QUEUE = 50_000  # bytes in front of the line: 0.4 s
CORES = os.cpu_count() or 1
BURNERS = 2 * CORES  # programs that do nothing but compute
KINDS = ["busy", "idle"]
BULK = bytes(16_384)
SMALL = bytes(64)
CHANNELS = {"bulk": Priority.BULK, "small": Priority.NORMAL, "urgent": Priority.URGENT}  # two of each
REST = 0.1  # seconds between two pings
PULSE = 0.02  # seconds between two looks at how late the loop is
SHARES = (0.5, 0.99, 1.0)
ROW = 60.0  # seconds between two lines of the table
LATE = 1.0  # seconds that finding out may take beyond the promised ones


# --- one end, as a process of its own ---------------------------------------------------------------------------------


class End:
    """What one process does with its sessions, and what it sees."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.received = 0  # bytes of messages
        self.samples: dict[str, list[float]] = {"ping": [], "small": [], "urgent": [], "lag": []}
        self.over: list[str] = []

    async def met(self, session: Session) -> None:
        """A session is up, or about to be."""
        kind = (session.meta or session.peer_meta)["kind"]
        self.sessions[kind] = session
        session.on_close.append(lambda session: self.ended(kind, session))

    def ended(self, kind: str, session: Session) -> None:
        error = session.exception
        self.over.append(kind)
        tell("over", kind, time.monotonic(), type(error).__name__, f"{error} ({error.__cause__!r})")

    async def handler(self, channel: Channel) -> None:
        if channel.name == "bulk":
            await self.both(channel)
        else:
            async for message in channel:
                await channel.send(message)

    async def load(self, session: Session) -> None:
        """What the client does with its busy session."""
        with suppress(MuxError):
            async with asyncio.TaskGroup() as group:
                for name, priority in CHANNELS.items():
                    work = self.both if name == "bulk" else self.ask
                    for _ in range(2):
                        group.create_task(work(await session.open(name, priority=priority)))

    async def both(self, channel: Channel) -> None:
        """Send and receive as fast as it goes."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.send(channel))
            group.create_task(self.receive(channel))

    async def send(self, channel: Channel) -> None:
        while True:
            await channel.send(BULK)

    async def receive(self, channel: Channel) -> None:
        async for message in channel:
            self.received += len(message)

    async def ask(self, channel: Channel) -> None:
        """One small message after the other, each when the one before has come back."""
        while True:
            began = time.monotonic()
            await channel.send(SMALL)
            await channel.recv()
            self.samples[channel.name].append(time.monotonic() - began)

    async def ping(self) -> None:
        """On the busy session, as long as it lasts."""
        with suppress(MuxError):
            while True:
                self.samples["ping"].append(await self.sessions["busy"].ping())
                await asyncio.sleep(REST)

    async def pulse(self) -> None:
        """How much later than asked for the loop comes back."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(PULSE)
            self.samples["lag"].append(time.monotonic() - began - PULSE)

    async def watch(self) -> None:
        """Measure, and tell of it when asked."""
        inbox = await commands()
        KEPT.append(asyncio.create_task(self.pulse()))
        while True:
            match await inbox.get():
                case ["ping"]:
                    KEPT.append(asyncio.create_task(self.ping()))
                case ["figures"]:
                    tell("figures", self.figures())

    def figures(self) -> dict[str, Any]:
        return {
            "received": self.received,
            "over": self.over,
            "probes": {kind: session.stats()["keepalive_probes"] for kind, session in self.sessions.items()},
            **{
                name: [percentile(values, share) for share in (0.5, 0.99, 1.0)] for name, values in self.samples.items()
            },
        }


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else math.nan


async def server(*, config: dict[str, Any]) -> None:
    end = End()
    async with serve(end.handler, SERVER, 0, config=Config(**config), on_session=end.met) as listening:
        tell("listening", listening.sockets[0].getsockname()[1])
        await end.watch()


async def client(*, port: int, config: dict[str, Any]) -> None:
    end = End()
    for kind in KINDS:
        await end.met(await connect(SERVER, port, config=Config(**config), meta={"kind": kind}))
    KEPT.append(asyncio.create_task(end.load(end.sessions["busy"])))
    tell("connected")
    await end.watch()


# --- the two of them --------------------------------------------------------------------------------------------------


class EndPeer(Peer):
    """The program above."""

    program = __file__

    @property
    def figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = self.ask("figures", answer="figures")[0]
        return figures

    def losses(self) -> dict[str, tuple[float, str]]:
        """Of each kind of session, when it was over, by the clock that all processes share, and why."""
        told = [self.until("over")[1:] for _ in KINDS]
        assert all(error == "SessionLost" for _, _, error, _ in told), told
        return {kind: (at, why) for kind, at, _, why in told}


@contextmanager
def full_cpu(burners: int) -> Iterator[None]:
    """So many programs that only compute."""
    spin = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(spin) for _ in range(burners)]
    try:
        yield
    finally:
        for burner in running:
            burner.kill()
            burner.wait()


@contextmanager
def under_load(network: Network, loop: str, burners: int = BURNERS, **config: Any) -> Iterator[tuple[EndPeer, EndPeer]]:
    """A client and a server, connected, with the line and the cores full."""
    network.narrow(RATE, QUEUE)
    with ExitStack() as stack:
        server = stack.enter_context(EndPeer("server", loop, *network.enter(network.server), config=config))
        port = int(server.until("listening")[1])
        client = stack.enter_context(EndPeer("client", loop, *network.enter(network.client), port=port, config=config))
        client.until("connected")
        stack.enter_context(full_cpu(burners))
        for end in client, server:
            end.tell("ping")
        yield client, server


# --- by hand ----------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--loop", choices=loops.NAMES, default="uvloop")
    parser.add_argument("--burners", type=int, default=BURNERS, help="programs that compute meanwhile")
    options = parser.parse_args()
    if reason := why_not():
        sys.exit(reason)
    with Network() as network, under_load(network, options.loop, options.burners) as ends:
        print(f"{options.loop}: {RATE / 1e6:g} Mbit/s, {options.burners} burners on {CORES} cores", flush=True)
        deaths = endure(dict(zip(["client", "server"], ends, strict=True)), options.seconds)
        print(f"  false deaths in {options.seconds:g} s: {len(deaths)} {deaths or ''}")
        late = None if deaths else vanish(network, *ends)
    sys.exit(bool(deaths or late))


def endure(ends: dict[str, EndPeer], seconds: float) -> list[str]:
    """Print a line for each end every minute; who died."""
    began, before = time.monotonic(), Counter[str]()
    while True:
        left = began + seconds - time.monotonic()
        time.sleep(max(0.0, min(ROW, left)))
        now = time.monotonic() - began
        deaths = []
        for name, end in ends.items():
            figures = end.figures
            rate = (figures["received"] - before[name]) * 8 / min(ROW, left)
            before[name] = figures["received"]
            deaths += [f"the {name}'s {kind} session" for kind in figures["over"]]
            print(f"  {now:4.0f} s {name}: {rate / 1e6:.2f} Mbit/s received", end="")
            for kind, unit in ("ping", 1.0), ("urgent", 1.0), ("small", 1.0), ("lag", 1e3):
                values = "/".join(f"{value * unit:.3g}" for value in figures[kind])
                print(f", {kind} {values} {'s' if unit == 1.0 else 'ms'}", end="")
            print(f", probes {figures['probes']}", flush=True)
        if deaths or left <= ROW:
            return deaths


def vanish(network: Network, *ends: EndPeer) -> bool:
    """Every packet vanishes; whether anybody took longer than promised to find out."""
    config = Config()
    promised = (config.keepalive or 0.0) + config.keepalive_timeout
    since = time.monotonic()
    network.black_hole()
    late = False
    for name, end in zip(["client", "server"], ends, strict=True):
        for kind, (at, why) in end.losses().items():
            late |= at - since > promised + LATE
            print(f"  the {name}'s {kind} session, after {at - since:.1f} s of {promised:g}: {why}")
    return late


if __name__ == "__main__":
    if sys.argv[1] in ("server", "client"):
        play({"server": server, "client": client})
    else:
        main()
