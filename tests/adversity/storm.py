"""Clients whose server is killed and comes back: how long it takes until all are there again, and at what cost.

    python tests/adversity/storm.py --clients 1000

With the server's limits on handshakes under way, of which those from one address bite here, and without them.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from statistics import mean
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for `support`, as pytest does

from adversity.peers import Peer, commands, first_of, tell
from support import loops

from muxtcp import Config, State, StateInfo, connect

UNLIMITED = {"max_handshakes": 100_000, "max_handshakes_per_address": 100_000}
TICK = os.sysconf("SC_CLK_TCK")


# A process with many clients


class Client:
    """One that connects again whenever its session is lost; counts its attempts since then."""

    def __init__(self) -> None:
        self.attempts = 0
        self.back = 0.0  # when the present session began, by the clock of the machine

    def on_state(self, state: State, info: StateInfo) -> None:
        if state is State.CONNECTING:
            self.attempts += 1
        elif state is State.CONNECTED:
            self.back = time.monotonic()
        elif state is State.DISCONNECTED:
            self.attempts, self.back = 0, 0.0

    async def run(self, port: int) -> None:
        async for session in connect("127.0.0.1", port, config=Config(keepalive=None), on_state=self.on_state):
            await session.wait_closed()


async def crowd(*, port: int, clients: int) -> None:
    """Tells ["up", [attempts, time] of each client] when asked, once all have a session."""
    inbox = await commands()
    members = [Client() for _ in range(clients)]
    async with asyncio.TaskGroup() as group:
        for member in members:
            group.create_task(member.run(port))
        while await inbox.get():
            while not all(member.back for member in members):
                await asyncio.sleep(0.01)
            tell("up", [(member.attempts, member.back) for member in members])


class Crowd(Peer):
    """Its handle."""

    program = __file__


# The storm


class Storm(NamedTuple):
    """What came of one."""

    half: float  # seconds from the server's return until half of the clients had a session again
    almost: float  # 99 % of them
    all: float
    attempts: list[int]  # of each client, since it lost its session
    counters: dict[str, int]  # of the new server
    cpu: float  # seconds that it took


def cpu_time(process: int) -> float:
    """Seconds that a process has computed."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def storm(loop: str, *, clients: int, processes: int, limits: dict[str, int], outage: float = 0.0) -> Storm:
    """Kill a server that has so many clients, start it again on its port, and watch until all have come back."""
    config = limits | {"keepalive": None}
    with Peer("server", loop, port=0, config=config) as server:
        port = server.until("listening")[1]
        crowds = [Crowd("crowd", loop, port=port, clients=clients // processes) for _ in range(processes)]
        try:
            all_up(crowds)
            server.kill()
            time.sleep(outage)
            with Peer("server", loop, port=port, config=config) as again:
                again.until("listening")
                began = time.monotonic()
                members = all_up(crowds)
                counters = again.ask("state", answer="state")[1]
                cpu = cpu_time(again.process.pid)
        finally:
            for crowd in crowds:
                crowd.__exit__(None, None, None)
    times = sorted(back - began for _, back in members)
    half, almost = times[len(times) // 2], times[len(times) * 99 // 100]
    return Storm(half, almost, times[-1], [attempts for attempts, _ in members], counters, cpu)


def all_up(crowds: list[Crowd]) -> list[tuple[int, float]]:
    """Attempts, and the time of the session, of each client, once all have one."""
    for crowd in crowds:
        crowd.tell("up?")
    members, waiting = [], list(crowds)
    while waiting:
        crowd, (_, heard) = first_of(*waiting)
        members += heard
        waiting.remove(crowd)  # type: ignore[arg-type]
    return members


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--processes", type=int, default=4, help="that the clients are spread over")
    parser.add_argument("--outage", type=float, default=2.0, help="seconds without a server")
    parser.add_argument("--loop", choices=loops.NAMES, default="uvloop")
    options = parser.parse_args()
    print(f"{options.clients:,} clients in {options.processes} processes, {options.outage:g} s without a server")
    for name, limits in {"default limits": {}, "without limits": UNLIMITED}.items():
        result = storm(
            options.loop, clients=options.clients, processes=options.processes, limits=limits, outage=options.outage
        )
        print(f"{name}:")
        print(f"  back after {result.half:.2f} s (half), {result.almost:.2f} s (99 %), {result.all:.2f} s (all)")
        print(f"  attempts of a client: {mean(result.attempts):.1f} on average, {max(result.attempts)} at most")
        print(f"  server: {result.cpu:.2f} s of CPU; " + ", ".join(f"{k} {v:,}" for k, v in result.counters.items()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["crowd"]:
        with loops.runner(sys.argv[2]) as runner:
            runner.run(crowd(**json.loads(sys.argv[3])))
    else:
        main()
