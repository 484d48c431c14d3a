"""Children, pinning, rounds: from workloads to figures."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .stage import Contestant, Job
from .workloads import Figures, Placement, Workload

# Seconds that a measurement may take beyond its interval: the start of two interpreters, 10,000 opens, a busy machine.
PATIENCE = 30.0


class BenchError(Exception):
    """A measurement failed; the message is one line that names the contestant and the side."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How often and how long: `rounds`, and per measurement the seconds of `warmup` and of the timed interval."""

    rounds: int = 3
    warmup: float = 0.3
    seconds: float = 1.0
    verbose: bool = False  # let the children write to our stderr


QUICK = Settings(rounds=1, warmup=0.1, seconds=0.3)


@dataclass(frozen=True)
class Match:
    """A contestant on a placement: what is measured once per round, for all workloads that need it."""

    contestant: Contestant
    placement: Placement
    workload: str = field(compare=False)  # the id of the first of them, to show

    def __str__(self) -> str:
        return f"{self.workload}, {self.contestant.label}"


@dataclass(frozen=True)
class Outcome:
    """The figures of one measurement."""

    client: Figures
    server: Figures


Round = dict[Match, Outcome]


def matches(workload: Workload) -> list[Match]:
    """What a workload needs measured: the floor first, ours, then the references."""
    contestants = (workload.floor, workload.ours, *workload.references)
    return [Match(contestant, workload.placement, workload.id) for contestant in contestants]


def schedule(workloads: Sequence[Workload]) -> list[Match]:
    """Every match of the workloads once, those of one workload next to each other."""
    return list(dict.fromkeys(match for workload in workloads for match in matches(workload)))


async def run(workloads: Sequence[Workload], settings: Settings, on_match: Callable[[int, Match], None]) -> list[Round]:
    """Measure everything `settings.rounds` times; `on_match(round, match)` is called before each measurement.

    The contestants alternate within a round, and every other round goes backwards, so that a drift of the machine
    (heat, a noisy neighbour) falls on all alike. Raises `BenchError`.
    """
    cpus = _two_cpus()
    plan = schedule(workloads)
    rounds: list[Round] = []
    for number in range(settings.rounds):
        outcomes: Round = {}
        for match in plan if number % 2 == 0 else reversed(plan):
            on_match(number, match)
            outcomes[match] = await measure(match, settings, cpus)
        rounds.append(outcomes)
    return rounds


def _two_cpus() -> tuple[int, int]:
    """The CPUs of client and server: the first two that we may use, or the same one twice."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[min(1, len(usable) - 1)]


async def measure(match: Match, settings: Settings, cpus: tuple[int, int]) -> Outcome:
    """One measurement in two fresh processes, which are gone when it returns or raises."""
    client_cpu, server_cpu = cpus
    contestant = match.contestant
    job = Job(
        contestant=f"{type(contestant).__module__}:{type(contestant).__qualname__}",
        arguments=asdict(contestant),
        role="server",
        cpu=client_cpu if match.placement is Placement.TOGETHER else server_cpu,
        warmup=settings.warmup,
        seconds=settings.seconds,
    )
    limit = settings.warmup + settings.seconds + PATIENCE
    # Both start at once, the interpreter's start being most of the wait; the client idles until it gets its job.
    stderr = None if settings.verbose else asyncio.subprocess.DEVNULL
    async with _Child(f"{match}, server", stderr) as server, _Child(f"{match}, client", stderr) as client:
        try:
            async with asyncio.timeout(limit):
                server.begin(job)
                port = await server.answer("port")
                client.begin(replace(job, role="client", cpu=client_cpu, port=port))
                return Outcome(*await asyncio.gather(client.answer("result"), server.answer("result")))
        except TimeoutError:
            raise BenchError(f"{match}: no result within {limit:g} s") from None


class _Child:
    """One child process: started on entry, killed and reaped on exit. There is nothing in it worth a farewell."""

    process: asyncio.subprocess.Process

    def __init__(self, name: str, stderr: int | None) -> None:
        self.name = name
        self.stderr = stderr

    async def __aenter__(self) -> "_Child":
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "muxtcp.bench._child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self.stderr,
            process_group=0,  # Ctrl-C on the terminal is ours to handle
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    def begin(self, job: Job) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")

    async def answer(self, key: str) -> Any:
        """What the child says next, under `key`. Raises `BenchError` when that is an error, or nothing."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            code = await self.process.wait()
            raise BenchError(f"{self.name}: ended with exit code {code} and no result; --verbose may show why")
        message = json.loads(line)
        if "error" in message:
            raise BenchError(f"{self.name}: {message['error']}")
        return message[key]
