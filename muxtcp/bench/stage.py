"""What a contestant is, and what its two sides are given inside their child processes."""

import asyncio
import gc
import socket
import ssl
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, ClassVar

HOST = "127.0.0.1"
# The percentiles of a latency that are reported: enough of them to draw a curve.
LEVELS = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9)


@dataclass(frozen=True, kw_only=True)
class Contestant(ABC):
    """One way to do a workload, as the runner sees it: a program that is started once for each side.

    Two equal contestants are measured once per round, however many workloads name them.
    """

    # Seconds that it may take beyond the timed interval: the start of two programs, 10,000 opens, a busy machine.
    patience: ClassVar[float] = 30.0

    @property
    @abstractmethod
    def label(self) -> str:
        """What the report calls it."""

    @property
    @abstractmethod
    def command(self) -> list[str]:
        """The program, which reads a `Job` from standard input and answers in JSON lines: see `bench/README.md`."""

    @property
    @abstractmethod
    def play(self) -> str:
        """What the program is told to do."""

    @property
    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """How much of it: numbers and strings."""


@dataclass(frozen=True, kw_only=True)
class TwoSides(Contestant):
    """A contestant in Python: two coroutines that make traffic until their processes are killed.

    The fields are what varies between workloads (message size, number of channels); they cross to the children as JSON.
    """

    @property
    def command(self) -> list[str]:
        """The interpreter that runs us."""
        return [sys.executable, "-m", "muxtcp.bench._child"]

    @property
    def play(self) -> str:
        """Where the child imports it from."""
        return f"{type(self).__module__}:{type(self).__qualname__}"

    @property
    def arguments(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self)

    @abstractmethod
    async def serve(self, stage: "Stage") -> None:
        """Listen on `stage.listen()` and play the server's side."""

    @abstractmethod
    async def drive(self, stage: "Stage") -> None:
        """Connect to `stage.address` and play the client's side."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the runner tells a child: which side of which play, where, and for how long (seconds)."""

    role: str  # "server" or "client"
    play: str
    arguments: dict[str, Any]
    warmup: float
    seconds: float
    port: int = 0  # client only
    certificate: str = ""  # a file with a certificate for HOST and its key; "" without TLS


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
    _start_waited: float = 0.0
    _start_count: int = 0

    @property
    def address(self) -> tuple[str, int]:
        """Where the server listens."""
        return HOST, self.job.port

    def tls(self, wanted: bool) -> ssl.SSLContext | None:
        """This side's TLS context, when TLS is `wanted`."""
        if not wanted:
            return None
        if self.job.role == "client":
            return ssl.create_default_context(cafile=self.job.certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.job.certificate)
        return context

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
        self._start_waited = _waited()
        self._start_cpu = process_time()
        self._start = perf_counter()
        asyncio.get_running_loop().call_later(self.job.seconds, self._close_interval)

    def _close_interval(self) -> None:
        # The interval is what the clock says, not what was asked for: a busy loop runs its timers late.
        seconds = perf_counter() - self._start
        self.publish(
            seconds=seconds,
            cpu=process_time() - self._start_cpu,
            waited=_waited() - self._start_waited,
            rate=(self.count - self._start_count) / seconds,
            **percentiles(self.latencies),
        )


def percentiles(latencies: Iterable[float]) -> dict[str, float]:
    """Latencies in seconds as figures in microseconds: `p50`, `p99` and the other `LEVELS`; none without latencies."""
    ordered = sorted(latencies)
    return {f"p{level:g}": ordered[int((len(ordered) - 1) * level / 100)] * 1e6 for level in LEVELS if ordered}


def _waited() -> float:
    """Seconds for which this thread could have run and its CPU was busy with something else; 0 where nobody counts."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except FileNotFoundError:  # a kernel without CONFIG_SCHED_INFO
        return 0.0


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
