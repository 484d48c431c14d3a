"""Connections that the kernel ends, or whose packets vanish on the way, between two network namespaces.

Only as root (`support/network.py`); the namespaces are made for each test.
"""

from collections.abc import Iterator

import pytest
from adversity.peers import Peer
from support.network import SERVER, Network

IMPATIENT = {"keepalive": 0.2, "keepalive_timeout": 0.2, "handshake_timeout": 0.5}


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
