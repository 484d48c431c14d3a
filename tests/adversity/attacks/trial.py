"""One attack against one server, and what an honest client notices of it."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from adversity.attacks.programs import Program
from adversity.attacks.wire import Attack

from muxtcp import Config

SERVER_CORE, OTHER_CORE = 0, 1
WARM_UP = 0.5  # seconds
HANDSHAKE = 16 << 10  # bytes that a connection may cost before its session is up
SLACK = 8 << 20  # bytes that the allocators and the interpreter may keep for themselves
KEPT, STRETCHED, DELAY = 0.45, 2.0, 0.010  # promise: throughput kept, 99th percentile stretched, seconds beyond that


@dataclass
class Sample:
    """What the honest client and the server measured for a while."""

    rate: float  # messages a second, echoed
    median: float  # seconds
    p99: float
    lost: bool  # a session of the honest client has ended
    peak: int  # bytes of the server
    load: float  # of the server's core, by the server
    waited: float  # share of the time in which the server could have run, and other programs had its core

    @property
    def capacity(self) -> float:
        """The rate of a server that has its core to itself."""
        return self.rate / (1 - min(self.waited, 0.95))


@dataclass
class Result:
    """What came of an attack."""

    attack: Attack = field(repr=False)
    before: Sample
    during: Sample
    connections: int
    sent: int  # bytes, by the attacker
    share: float  # of a core, that the attacker used
    seen: dict[str, int]  # what the server counted
    allowed: int  # bytes that Config computes for it

    @property
    def kept(self) -> float:
        return self.during.capacity / self.before.capacity

    @property
    def grown(self) -> int:
        """Bytes that the server needed at most, beyond what it had needed before."""
        return max(0, self.during.peak - self.before.peak)

    @property
    def longest(self) -> float:
        """Seconds that the 99th percentile may be."""
        return STRETCHED * self.before.p99 + DELAY

    @property
    def findings(self) -> list[str]:
        """What is wrong; nothing, if all is as promised."""
        checks = {
            f"keeps {self.kept:.0%}": self.kept < KEPT,
            f"p99 over {self.longest * 1e3:.1f} ms": self.during.p99 > self.longest,
            "memory": self.grown > self.allowed,
            "a session of the victim was lost": self.during.lost,
            f"no {self.attack.sign}": not self.seen.get(self.attack.sign),
        }
        return [finding for finding, found in checks.items() if found]

    def as_json(self) -> dict[str, Any]:
        return {
            "attack": self.attack.name,
            "row": self.attack.row,
            "before": asdict(self.before),
            "during": asdict(self.during),
            "kept": self.kept,
            "longest_p99": self.longest,
            "grown": self.grown,
            "allowed": self.allowed,
            "connections": self.connections,
            "sent": self.sent,
            "share": self.share,
            "seen": self.seen,
            "findings": self.findings,
        }


def allowance_of(attack: Attack) -> int:
    """Bytes that the attacker's connections may cost by what Config says."""
    config = Config(**attack.config)
    unfinished = config.max_handshakes_per_address * HANDSHAKE
    parked = attack.served.get("parked_memory", 0)
    return attack.wires * config.worst_case().total + unfinished + parked + SLACK


class Trial:
    """The processes of one attack.

    The server, with the sessions of both, has a core to itself. The attacker is on the other one, so that it attacks as
    fast as it can; the victim, which it shares that with, goes first there. So what the victim loses, it loses at the
    server, to the work that the attacker causes.
    """

    def __init__(self, attack: Attack, loop: str, seconds: float) -> None:
        self.attack, self.loop, self.seconds = attack, loop, seconds

    def run(self) -> Result:
        attack = self.attack
        with Program("server", self.loop, core=SERVER_CORE, config=attack.config, served=attack.served) as server:
            _, host, port = server.until("listening")
            place = {"core": OTHER_CORE, "host": host, "port": port}
            with Program("honest", self.loop, **place) as honest:
                honest.until("ready")
                time.sleep(WARM_UP)
                before, seen = self.sample(server, honest, self.seconds / 2)
                if not before.rate:
                    raise RuntimeError(f"nothing to measure: no message came back before the attack; {seen}")
                with Program(
                    "attacker", "asyncio", **place, name=attack.name, seconds=self.seconds + WARM_UP
                ) as hostile:
                    hostile.until("begins")
                    time.sleep(WARM_UP / 2)
                    during, _ = self.sample(server, honest, self.seconds)
                    connections, sent, share = hostile.until("played")[1:]
                seen = server.ask("state", answer="state")[-1]
        return Result(attack, before, during, connections, sent, share, seen, allowance_of(attack))

    def sample(self, server: Program, honest: Program, seconds: float) -> tuple[Sample, dict[str, int]]:
        _, used, waited, _ = server.ask("state", answer="state")
        began = time.monotonic()
        honest.tell("begin")
        time.sleep(seconds)
        rate, median, p99, lost = honest.ask("end", answer="measured")
        peak, now_used, now_waited, seen = server.ask("state", answer="state")
        elapsed = time.monotonic() - began
        load, waited = (now_used - used) / elapsed, (now_waited - waited) / elapsed
        return Sample(rate, median, p99, lost, peak, load, waited), seen
