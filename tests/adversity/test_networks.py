"""Connections that the kernel ends, or whose packets vanish on the way, between two network namespaces.

Only as root, with `ip`, `ss` and `nft`; the namespaces are made for each test, and nothing outside of them is touched.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from adversity.peers import Peer

CLIENT, SERVER = "10.99.0.1", "10.99.0.2"
IMPATIENT = {"keepalive": 0.2, "keepalive_timeout": 0.2, "handshake_timeout": 0.5}


class Network:
    """Two namespaces with a cable between them."""

    def __init__(self) -> None:
        self.client, self.server = (f"muxtcp-{os.getpid()}-{side}" for side in ("client", "server"))

    def run(self, where: str, *command: str) -> str:
        """Run a command in a namespace."""
        done = subprocess.run(["ip", "netns", "exec", where, *command], capture_output=True, text=True, check=True)
        return done.stdout

    def plug(self) -> None:
        for name in self.client, self.server:
            subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True)
        self.run(
            self.client, "ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", self.server
        )
        for name, address in (self.client, CLIENT), (self.server, SERVER):
            self.run(name, "ip", "address", "add", f"{address}/24", "dev", "cable")
            self.run(name, "ip", "link", "set", "cable", "up")

    def filter(self, rule: str) -> None:
        """What the server's side does with packets that come in."""
        self.run(self.server, "nft", "add table inet t; add chain inet t c { type filter hook input priority 0 ; }")
        self.run(self.server, "nft", f"add rule inet t c {rule}")

    def clear(self) -> None:
        self.run(self.server, "nft", "flush ruleset")

    def unplug(self) -> None:
        for name in self.client, self.server:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

    def enter(self, where: str) -> list[str]:
        return ["ip", "netns", "exec", where]


@pytest.fixture
def network() -> Iterator[Network]:
    missing = [tool for tool in ("ip", "ss", "nft") if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"needs root, and {', '.join(missing) or 'nothing else'}")
    network = Network()
    try:
        network.plug()
        network.filter("counter")
        network.clear()
    except subprocess.CalledProcessError as error:
        network.unplug()
        pytest.skip(f"the kernel does not let us: {error.stderr.strip()}")
    yield network
    network.unplug()


@pytest.fixture
def peers(loop: str, network: Network) -> Iterator[tuple[Peer, Peer, int]]:
    """A client and a server that have talked, and the server's port."""
    with Peer("server", loop, *network.enter(network.server), host=SERVER, port=0, config=IMPATIENT) as server:
        port = int(server.until("listening")[1])
        options = {"host": SERVER, "port": port, "config": IMPATIENT, "connect_timeout": 0.5}
        with Peer("client", loop, *network.enter(network.client), **options) as client:
            client.ask("echo", 10, answer="echoed")
            yield client, server, port


def test_a_socket_that_the_kernel_kills(network: Network, peers: tuple[Peer, Peer, int]) -> None:
    client, _, port = peers
    killed = network.run(network.client, "ss", "--kill", "--tcp", "--no-header", "dst", SERVER, "dport", "=", str(port))
    if str(port) not in killed:
        pytest.skip("the kernel was built without CONFIG_INET_DIAG_DESTROY")
    assert client.until("resumed", "session lost")[0] == "resumed"
    assert client.ask("echo", 1_000, answer="echoed") == [1_010]


def test_packets_that_vanish(network: Network, peers: tuple[Peer, Peer, int]) -> None:
    client, _, port = peers
    network.filter(f"tcp dport {port} drop")
    client.tell("echo", 1_000)
    client.until("reconnecting")
    network.clear()
    assert client.until("resumed", "session lost")[0] == "resumed"
    assert client.until("echoed", "session lost") == ["echoed", 1_010]


def test_a_reset_that_only_the_client_hears(network: Network, peers: tuple[Peer, Peer, int]) -> None:
    client, server, port = peers
    network.filter(f"tcp dport {port} reject with tcp reset")
    client.tell("echo", 1_000)
    client.until("reconnecting")
    network.clear()
    assert client.until("resumed", "session lost")[0] == "resumed"
    assert client.until("echoed", "session lost") == ["echoed", 1_010]
    assert server.ask("state", answer="state")[1]["resumed"] == 1
