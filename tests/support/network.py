"""Two network namespaces with a cable between them, for the length of a `with` block; nothing else is touched.

Only as root, with `ip`, `ss`, `nft` and `tc`: `why_not()` says what is missing.
"""

import functools
import os
import shutil
import subprocess
from types import TracebackType
from typing import Self

CLIENT, SERVER = "10.99.0.1", "10.99.0.2"
TOOLS = ["ip", "ss", "nft", "tc"]
BURST = 4_000  # bytes that the narrow line lets through at once: a few packets


@functools.cache
def why_not() -> str:
    """Why there can be no namespaces here; empty if there can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        return f"needs root, and {', '.join(missing) or 'nothing else'}"
    try:
        with Network() as network:
            network.filter("counter")
            network.narrow(1_000_000, 10_000)
    except subprocess.CalledProcessError as error:
        return f"the kernel does not let us: {error.stderr.strip()}"
    return ""


class Network:
    """The two namespaces, by name, and what may be done to their cable."""

    def __init__(self) -> None:
        self.client, self.server = (f"muxtcp-{os.getpid()}-{side}" for side in ("client", "server"))

    def run(self, where: str, *command: str) -> str:
        """Run a command in a namespace."""
        done = subprocess.run(self.enter(where) + list(command), capture_output=True, text=True, check=True)
        return done.stdout

    def enter(self, where: str) -> list[str]:
        """The beginning of a command that is to run in a namespace."""
        return ["ip", "netns", "exec", where]

    def narrow(self, bits: int, queue: int) -> None:
        """The cable carries so many bits per second in each direction, behind a queue of so many bytes."""
        for name in self.client, self.server:
            shape = ["rate", f"{bits}bit", "burst", f"{BURST}b", "limit", f"{queue}b"]
            self.run(name, "tc", "qdisc", "replace", "dev", "cable", "root", "tbf", *shape)

    def filter(self, rule: str, where: str = "") -> None:
        """What a side does with packets that come in; the server's unless given."""
        where = where or self.server
        self.run(where, "nft", "add table inet t; add chain inet t c { type filter hook input priority 0 ; }")
        self.run(where, "nft", f"add rule inet t c {rule}")

    def black_hole(self) -> None:
        """Every packet of TCP vanishes on its way, in both directions; nobody is told."""
        for where in self.client, self.server:
            self.filter("meta l4proto tcp drop", where)

    def clear(self) -> None:
        """No rule any more, on either side."""
        for where in self.client, self.server:
            self.run(where, "nft", "flush ruleset")

    def __enter__(self) -> Self:
        try:
            for name in self.client, self.server:
                subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True, text=True)
            cable = ["type", "veth", "peer", "name", "cable", "netns", self.server]
            self.run(self.client, "ip", "link", "add", "cable", *cable)
            for name, address in (self.client, CLIENT), (self.server, SERVER):
                self.run(name, "ip", "address", "add", f"{address}/24", "dev", "cable")
                self.run(name, "ip", "link", "set", "cable", "up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name in self.client, self.server:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
