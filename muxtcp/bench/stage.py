"""What a contestant is, and what its two sides are given inside their child processes."""

import asyncio
import gc
import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from time import perf_counter, process_time
from typing import Any

HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Contestant(ABC):
    """One way to do a workload: a server side and a client side that make traffic until their processes are killed.

    The fields are what varies between workloads (message size, number of channels); they cross to the children as JSON,
    so they are numbers and strings. Two equal contestants are measured once per round, however many workloads name
    them.
    """

    @property
    @abstractmethod
    def label(self) -> str:
        """What the report calls it."""

    @abstractmethod
    async def serve(self, stage: "Stage") -> None:
        """Listen on `stage.listen()` and play the server's side."""

    @abstractmethod
    async def drive(self, stage: "Stage") -> None:
        """Connect to `stage.address` and play the client's side."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the runner tells a child: which side of which contestant, where, and for how long (seconds)."""

    contestant: str  # "module:Class"
    arguments: dict[str, Any]
    role: str  # "server" or "client"
    cpu: int
    warmup: float
    seconds: float
    port: int = 0  # client only


@dataclass(slots=True)
class Stage:
    """The clock and the counters of one side.

    In the order a side uses them: `listen()` (server) or `address` (client); `begin()` at the first traffic; then the
    traffic keeps `count` and `latencies`, which are read at both ends of the timed interval. A side that measures
    something else calls `publish()` in place of `begin()`.
    """

    job: Job
    announce: "asyncio.Future[int]"  # the port, once the server listens
    result: "asyncio.Future[dict[str, float]]"
    count: int = 0  # messages, round trips or opens
    latencies: list[float] = field(default_factory=list)  # seconds, one per round trip
    _begun: bool = False
    _start: float = 0.0
    _start_cpu: float = 0.0
    _start_count: int = 0

    @property
    def address(self) -> tuple[str, int]:
        """Where the server listens."""
        return HOST, self.job.port

    def listen(self) -> socket.socket:
        """A listening socket on a free port of the loopback; the client is told the port and may connect already."""
        sock = socket.create_server((HOST, 0), backlog=1024)
        self.announce.set_result(sock.getsockname()[1])
        return sock

    def begin(self) -> None:
        """Traffic flows: warm up, then measure. Calls after the first do nothing."""
        if not self._begun:
            self._begun = True
            asyncio.get_running_loop().call_later(self.job.warmup, self._open_interval)

    def publish(self, **figures: float) -> None:
        """End with these figures."""
        self.result.set_result(figures)

    def _open_interval(self) -> None:
        self.latencies.clear()
        self._start_count = self.count
        self._start_cpu = process_time()
        self._start = perf_counter()
        asyncio.get_running_loop().call_later(self.job.seconds, self._close_interval)

    def _close_interval(self) -> None:
        # The interval is what the clock says, not what was asked for: a busy loop runs its timers late.
        seconds = perf_counter() - self._start
        figures = {
            "seconds": seconds,
            "cpu": process_time() - self._start_cpu,
            "rate": (self.count - self._start_count) / seconds,
        }
        if len(self.latencies) > 1:
            percentiles = quantiles(self.latencies, n=100, method="inclusive")
            figures |= {"p50": percentiles[49] * 1e6, "p99": percentiles[98] * 1e6}
        self.publish(**figures)


def private_memory() -> int:
    """Resident bytes that belong to this process alone, after a garbage collection.

    Anonymous pages only: pages of shared libraries arrive whenever code is first run and would be counted as channels.
    """
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("no RssAnon in /proc/self/status: measuring memory needs Linux 4.5 or newer")


class MemoryGauge:
    """Publishes the memory per accepted thing once `settled` and then `counted` of them have arrived."""

    def __init__(self, stage: Stage, *, settled: int, counted: int) -> None:
        self.stage = stage
        self.settled = settled
        self.counted = counted
        self.things = 0
        self.before = 0

    def one_more(self) -> None:
        """Another thing was accepted."""
        self.things += 1
        # Read from the loop: what accepting it has left to do, such as starting a task, is done by then.
        if self.things == self.settled:
            asyncio.get_running_loop().call_soon(self._read_before)
        elif self.things == self.settled + self.counted:
            asyncio.get_running_loop().call_soon(self._read_after)

    def _read_before(self) -> None:
        self.before = private_memory()

    def _read_after(self) -> None:
        self.stage.publish(bytes=(private_memory() - self.before) / self.counted)
