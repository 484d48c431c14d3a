"""Children, pinning, rounds: from workloads to figures."""

import asyncio
import json
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .peers import Peer, Performance
from .stage import HOST, Contestant, Job
from .workloads import Figures, Placement, Workload


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


def matches(workload: Workload, peers: Sequence[Peer] = ()) -> list[Match]:
    """What a workload needs measured: the floor first, ours, the references, then the peers."""
    play = workload.play
    performances = [Performance(peer=peer, task=play) for peer in peers if peer.can(play)] if play else []
    contestants = (workload.floor, workload.ours, *workload.references, *performances)
    return [Match(contestant, workload.placement, workload.id) for contestant in contestants]


def schedule(workloads: Sequence[Workload], peers: Sequence[Peer] = ()) -> list[Match]:
    """Every match of the workloads once, those of one workload next to each other."""
    return list(dict.fromkeys(match for workload in workloads for match in matches(workload, peers)))


async def run(
    plan: Sequence[Match],
    settings: Settings,
    on_match: Callable[[int, Match], None],
    on_failure: Callable[[BenchError], None],
) -> list[Round]:
    """Measure everything `settings.rounds` times; `on_match(round, match)` is called before each measurement.

    The contestants alternate within a round, and every other round goes backwards, so that a drift of the machine
    (heat, a noisy neighbour) falls on all alike. A peer that fails is told to `on_failure` and left out from there on.

    Raises:
        BenchError: a measurement of our own failed.
    """
    rounds: list[Round] = []
    failed: set[Match] = set()
    with certificate(plan) as path:
        for number in range(settings.rounds):
            outcomes: Round = {}
            for match in plan if number % 2 == 0 else reversed(plan):
                on_match(number, match)
                if match in failed:
                    continue
                try:
                    outcomes[match] = await measure(match, settings, two_cpus(), path)
                except BenchError as error:
                    if not isinstance(match.contestant, Performance):
                        raise
                    failed.add(match)
                    on_failure(error)
            rounds.append(outcomes)
    return rounds


@contextmanager
def certificate(plan: Sequence[Match]) -> Iterator[str]:
    """A file with a certificate for the loopback and its key, where any contestant speaks TLS; else an empty name."""
    if not any(match.contestant.arguments.get("tls") for match in plan):
        yield ""
        return
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "server.pem"))
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        options = ["-days", "2", "-subj", "/CN=muxtcp.bench", "-addext", f"subjectAltName=IP:{HOST}"]
        try:
            made = subprocess.run(
                [*command, *options, "-keyout", path, "-out", f"{path}.crt"],
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError:
            raise BenchError("the workloads over TLS need the program openssl; choose others with --only") from None
        if made.returncode:
            raise BenchError(f"openssl made no certificate: {made.stderr.strip().splitlines()[-1]}")
        with Path(path).open("a") as file:
            file.write(Path(f"{path}.crt").read_text())
        yield path


def two_cpus() -> tuple[int, int]:
    """The CPUs of client and server: the first two that we may use, or the same one twice."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[min(1, len(usable) - 1)]


async def measure(match: Match, settings: Settings, cpus: tuple[int, int], certificate: str = "") -> Outcome:
    """One measurement in two fresh processes, which are gone when it returns or raises."""
    client_cpu, server_cpu = cpus if match.placement is Placement.APART else cpus[:1] * 2
    contestant = match.contestant
    job = Job(
        role="server",
        play=contestant.play,
        arguments=contestant.arguments,
        warmup=settings.warmup,
        seconds=settings.seconds,
        certificate=certificate,
    )
    limit = settings.warmup + settings.seconds + contestant.patience
    command = contestant.command
    # Both start at once, their start being most of the wait; the client idles until it gets its job.
    async with (
        child(f"{match}, server", command, server_cpu, verbose=settings.verbose) as server,
        child(f"{match}, client", command, client_cpu, verbose=settings.verbose) as client,
    ):
        try:
            async with asyncio.timeout(limit):
                server.begin(job)
                port = await server.answer("port")
                client.begin(replace(job, role="client", port=port))
                return Outcome(*await asyncio.gather(client.answer("result"), server.answer("result")))
        except TimeoutError:
            raise BenchError(f"{match}: no result within {limit:g} s") from None


@asynccontextmanager
async def child(name: str, command: Sequence[str], cpu: int, *, verbose: bool) -> "AsyncIterator[Child]":
    """One process on one CPU, killed and reaped at the end: there is nothing in it worth a farewell."""
    with _on(cpu):
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=None if verbose else asyncio.subprocess.DEVNULL,
            process_group=0,  # Ctrl-C on the terminal is ours to handle
        )
    try:
        yield Child(name, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@contextmanager
def _on(cpu: int) -> Iterator[None]:
    """What is started meanwhile inherits that it may run on this CPU alone, with all threads that it will have."""
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)


@dataclass
class Child:
    """The runner's end of the contract with a driver."""

    name: str
    process: asyncio.subprocess.Process

    def begin(self, job: Job) -> None:
        """Give it its job."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")

    async def answer(self, key: str) -> Any:
        """What the child says next, under `key`. Raises `BenchError` when that is an error, or nothing."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            code = await self.process.wait()
            raise BenchError(f"{self.name}: ended with exit code {code} and no result; --verbose may show why")
        try:
            message = json.loads(line)
            if "error" not in message:
                return message[key]
        except (ValueError, TypeError, KeyError):
            raise BenchError(f"{self.name}: said {line!r} where a JSON line with {key!r} was due") from None
        raise BenchError(f"{self.name}: {message['error']}")
