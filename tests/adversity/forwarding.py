"""Real programs through `muxtcp forward`, beside the direct connection and beside `ssh -L`; as root.

    python tests/adversity/forwarding.py                  everything, in about five minutes
    python tests/adversity/forwarding.py redis iperf3     these alone

Each figure is the median of rounds in which the ways take turns; `relays` is the floor, two processes that only
copy. The last column is what the forwarder reaches, times what ssh reaches. `cuts` cuts the link: a transaction
commits, and a file that scp copies has the right checksum.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for `support`, as pytest does

from adversity import programs
from adversity.programs import HERE, program, said_by
from support.proxy import ProxyProcess

Measure = Callable[[int, float], dict[str, float]]


def pgbench(port: int, seconds: float) -> dict[str, float]:
    """Transactions per second of 10 clients that read, and of 10 that write."""
    told = {}
    for name, script in {"pgbench -S": "-S", "pgbench": "-N"}.items():
        out = said_by(
            program("pgbench"), "-n", script, "-c", "10", "-T", f"{seconds:g}",
            "-h", HERE, "-p", str(port), "-U", "postgres", "postgres", timeout=seconds + 60,
        )  # fmt: skip
        assert "number of failed transactions: 0" in out
        [rate] = re.findall(r"tps = ([\d.]+) \(without", out)
        told[f"{name}, transactions/s"] = float(rate)
    return told


def redis_benchmark(port: int, seconds: float) -> dict[str, float]:
    """Requests per second of 50 clients, one and 16 requests at a time."""
    told = {}
    for name, depth in {"redis": 1, "redis -P 16": 16}.items():
        number = str(int(seconds * 10_000 * depth**0.7))
        out = said_by(
            program("redis-benchmark"), "-h", HERE, "-p", str(port), "-n", number, "-P", str(depth),
            "-t", "set,get", "--csv", timeout=seconds * 30 + 60,
        )  # fmt: skip
        for test, rate in re.findall(r'"(SET|GET)","([\d.]+)"', out):
            told[f"{name}, {test} requests/s"] = float(rate)
    assert len(told) == 4
    return told


def iperf(port: int, seconds: float) -> dict[str, float]:
    """Megabytes per second of one connection and of four, up and down."""
    told = {}
    for name, options in {"iperf3": [], "iperf3 -P 4": ["-P", "4"], "iperf3 -R": ["-R"]}.items():
        out = said_by(
            program("iperf3"), "-c", HERE, "-p", str(port), "-t", f"{max(1, round(seconds)):d}", "-J", *options,
            timeout=seconds + 60,
        )  # fmt: skip
        found = json.loads(out)
        assert "error" not in found, found["error"]
        told[f"{name}, MB/s"] = found["end"]["sum_received"]["bits_per_second"] / 8e6
    return told


@contextlib.contextmanager
def prepared_postgres() -> Iterator[int]:
    """With the tables of pgbench."""
    with programs.postgres() as port:
        said_by(program("pgbench"), "-iqs2", "-h", HERE, "-p", str(port), "-U", "postgres", "postgres")
        yield port


CONTESTS: dict[str, tuple[Callable[[], contextlib.AbstractContextManager[int]], Measure]] = {
    "pgbench": (prepared_postgres, pgbench),
    "redis": (programs.redis, redis_benchmark),
    "iperf3": (programs.iperf3, iperf),
}


def contest(name: str, folder: Path, rounds: int, seconds: float) -> None:
    """Measure all ways to one server, in turns; print the table."""
    serve, measure = CONTESTS[name]
    figures: dict[str, dict[str, list[float]]] = {}
    with serve() as target, programs.sshd(folder) as (server, client):
        ways = {
            "direct": partial(programs.direct, target),
            "relays": partial(programs.through_relays, target),
            "ssh -L": partial(programs.through_ssh, target, server, client),
            "muxtcp": partial(programs.through_us, target),
            "muxtcp --resume": partial(programs.through_us, target, "--resume"),
        }
        for _ in range(rounds):
            for way, open_way in ways.items():
                with open_way() as port:
                    for what, figure in measure(port, seconds).items():
                        figures.setdefault(what, {}).setdefault(way, []).append(figure)
    for what, by_way in figures.items():
        medians = {way: statistics.median(found) for way, found in by_way.items()}
        row = "".join(f"{way} {median:>10,.0f}   " for way, median in medians.items())
        print(f"{what:<28} {row} muxtcp / ssh {medians['muxtcp'] / medians['ssh -L']:.2f}", flush=True)


# Links that are cut


@contextlib.contextmanager
def cut_at(proxy: ProxyProcess, marks: Sequence[int], progress: Callable[[], int]) -> Iterator[list[int]]:
    """Cut the link from a thread whenever the progress is at a mark; at which it was, so far."""
    cuts: list[int] = []
    stop = threading.Event()

    def work() -> None:
        while len(cuts) < len(marks) and not stop.wait(0.002):
            if progress() >= marks[len(cuts)]:
                cuts.append(progress())
                proxy.cut(how="rst")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield cuts
    finally:
        stop.set()
        thread.join()


def cut_transaction(times: int = 3) -> str:
    """A transaction that is in flight while the link is cut commits, whole."""
    gateway = programs.free_port()
    with programs.postgres() as target, ProxyProcess(gateway) as proxy:
        with programs.through_us(target, "--resume", via=proxy.port, gateway=gateway) as port:
            psql = partial(said_by, program("psql"), "-h", HERE, "-U", "postgres", "-tAqX", "-v", "ON_ERROR_STOP=1")
            psql("-p", str(target), "-c", "create sequence counter; create table counted (n int)")
            steps = ["insert into counted values (nextval('counter')); select pg_sleep(0.02);"] * 100
            written = partial(psql, "-p", str(target), "-c", "select last_value from counter")
            marks = [100 * (n + 1) // (times + 1) for n in range(times)]
            with cut_at(proxy, marks, lambda: int(written())) as cuts:
                psql("-p", str(port), "-c", "begin", *(f"-c{step}" for step in steps), "-c", "commit")
            counted = psql("-p", str(target), "-c", "select count(*), count(distinct n) from counted").strip()
    assert (counted, len(cuts)) == ("100|100", times), (counted, len(cuts))
    return f"a transaction of 100 inserts committed; the link was cut {len(cuts)} times meanwhile"


def cut_copy(folder: Path, size: int = 200_000_000, times: int = 10) -> str:
    """A file that scp copies over a link that is cut arrives whole."""
    source, copy, gateway = folder / "source", folder / "copy", programs.free_port()
    source.write_bytes(os.urandom(size))
    began = time.monotonic()
    with programs.sshd(folder) as (server, client), ProxyProcess(gateway) as proxy:
        with programs.through_us(server, "--resume", via=proxy.port, gateway=gateway) as port:
            marks = [size * (n + 1) // (times + 1) for n in range(times)]
            with cut_at(proxy, marks, lambda: copy.stat().st_size if copy.exists() else 0) as cuts:
                limit = "-l400000"  # kbit/s: 50 MB in a second, so that no mark is passed while a cut is made
                said_by(program("scp"), *client, limit, "-P", str(port), source, f"root@{HERE}:{copy}", timeout=300)
    same = hashlib.sha256(source.read_bytes()).digest() == hashlib.sha256(copy.read_bytes()).digest()
    assert (same, len(cuts)) == (True, times), (same, len(cuts))
    return (
        f"scp of {size / 1e6:,.0f} MB: the right checksum after {len(cuts)} cuts, in {time.monotonic() - began:.1f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*CONTESTS, "cuts", []], help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (default %(default)g)")
    options = parser.parse_args()
    if reason := programs.missing(*programs.PACKAGES):
        print(reason, file=sys.stderr)
        return 1
    chosen = options.what or [*CONTESTS, "cuts"]
    for name in filter(CONTESTS.__contains__, chosen):
        with tempfile.TemporaryDirectory() as folder:
            contest(name, Path(folder), options.rounds, options.seconds)
    if "cuts" in chosen:
        print(cut_transaction(), flush=True)
        with tempfile.TemporaryDirectory() as folder:
            print(cut_copy(Path(folder)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
