"""Processes that are killed, stopped, forked and copied, on either side of a session."""

import signal
from collections.abc import Iterator

import pytest
from adversity.peers import Peer, first_of

SILENCE = {"keepalive": 0.2, "keepalive_timeout": 0.2, "handshake_timeout": 0.5}

ASKED = 100_000  # times at most: seconds, of which a fraction is needed


@pytest.fixture
def server(loop: str, request: pytest.FixtureRequest) -> Iterator[Peer]:
    options = getattr(request, "param", {})
    with Peer("server", loop, port=0, **options) as peer:
        yield peer


def port_of(server: Peer) -> int:
    return int(server.until("listening")[1])


def test_a_killed_server_is_a_loss_with_exact_counts_and_the_program_goes_on(loop: str, server: Peer) -> None:
    port = port_of(server)
    with Peer("client", loop, port=port) as client:
        client.ask("echo", 10, answer="echoed")
        client.ask("flush", 100, answer="flushed")
        server.signal(signal.SIGSTOP)
        client.ask("put", 7, answer="put")
        server.kill()
        client.until("reconnecting")
        assert client.ask("wait", 3, answer="accepted") == [0]
        with Peer("server", loop, port=port) as restarted:
            port_of(restarted)
            acknowledged, unknown, unsent = client.until("session lost")[1:]
            assert (acknowledged, unknown, unsent) == (110, 7, 0)
            assert client.ask("echo", 5, answer="echoed") == [5]


@pytest.mark.parametrize("server", [{"resume": 0.3}], indirect=True)
def test_a_killed_client_leaves_nothing_behind(loop: str, server: Peer) -> None:
    with Peer("client", loop, port=port_of(server)) as client:
        client.ask("flush", 100, answer="flushed")
        client.kill()
    assert sorted([server.until("over"), server.until("over")]) == [["over", "echo", 0], ["over", "sink", 100]]
    sessions, counters, waiting, cost, _ = server.ask("state", answer="state")
    assert (sessions, waiting, cost) == (0, 0, 0)
    assert (counters["parked"], counters["expired"]) == (1, 1)


@pytest.mark.parametrize("stopped", ["server", "client"])
def test_a_short_stop_breaks_nothing(loop: str, server: Peer, stopped: str) -> None:
    with Peer("client", loop, port=port_of(server)) as client:
        client.ask("echo", 10, answer="echoed")
        peer = server if stopped == "server" else client
        peer.signal(signal.SIGSTOP)
        client.tell("echo", 1_000)
        peer.signal(signal.SIGCONT)
        assert client.hear() == ["echoed", 1_010]


@pytest.mark.parametrize("server", [{"config": SILENCE}], indirect=True)
def test_a_server_that_stops_for_longer_than_its_silence_is_borne(loop: str, server: Peer) -> None:
    with Peer("client", loop, port=port_of(server), config=SILENCE) as client:
        client.ask("echo", 10, answer="echoed")
        server.signal(signal.SIGSTOP)
        client.tell("echo", 1_000)
        client.until("reconnecting")  # its attempts reach the kernel's backlog, and wait there
        server.signal(signal.SIGCONT)
        assert client.until("resumed", "session lost")[0] == "resumed"
        assert client.until("echoed", "session lost") == ["echoed", 1_010]


@pytest.mark.parametrize("server", [{"config": SILENCE}], indirect=True)
def test_a_client_that_stops_for_longer_than_its_silence_is_borne(loop: str, server: Peer) -> None:
    with Peer("client", loop, port=port_of(server), config=SILENCE) as client:
        client.ask("echo", 10, answer="echoed")
        client.signal(signal.SIGSTOP)
        client.tell("echo", 1_000)
        assert any(server.ask("state", answer="state")[1].get("parked") for _ in range(ASKED))
        client.signal(signal.SIGCONT)
        assert client.until("echoed", "session lost") == ["echoed", 1_010]


def test_a_forked_client_keeps_its_hands_off_the_session(loop: str, server: Peer) -> None:
    with Peer("client", loop, port=port_of(server)) as client:
        client.ask("echo", 10, answer="echoed")
        assert client.ask("fork", answer="child refused") == ["DENIED"]
        assert client.ask("echo", 10, answer="echoed") == [20]


def test_of_those_with_a_copied_ticket_one_gets_the_session(loop: str, server: Peer) -> None:
    port = port_of(server)
    with Peer("client", loop, port=port) as client:
        client.ask("flush", 10, answer="flushed")
        ticket = client.ask("ticket", answer="ticket")
        with Peer("racer", loop, port=port, ticket=ticket) as one, Peer("racer", loop, port=port, ticket=ticket) as two:
            for racer in one, two:
                racer.until("ready")
            for racer in one, two:
                racer.tell("go")
            client.until("session lost")
            assert client.ask("echo", 5, answer="echoed") == [5]  # a new session has nothing to do with it
            last = {one: [""], two: [""]}
            while ["refused", "STALE_GENERATION"] not in last.values():
                racer, words = first_of(one, two)
                last[racer] = words
            winner = one if last[one] != ["refused", "STALE_GENERATION"] else two
            if last[winner] != ["has it"]:
                winner.until("has it")
