"""`muxtcp forward` and `muxtcp gateway` from the outside: what they say, how they end, and their exit codes."""

import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.authority import LOCALHOST, Authority
from support.commands import BOUND, command

from muxtcp.cli import main

HERE = "127.0.0.1"
TOKEN = "0123456789abcdef-not-guessed"


@contextlib.contextmanager
def target() -> Iterator[tuple[socket.socket, str]]:
    """A listener, and its place."""
    with socket.create_server((HERE, 0)) as listener:
        listener.settimeout(BOUND)
        yield listener, f"{HERE}:{listener.getsockname()[1]}"


def dialled(place: str) -> socket.socket:
    host, _, port = place.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=BOUND)


def test_both_ends_carry_drain_and_say_so() -> None:
    with target() as (listener, place), command("gateway", f"{HERE}:0", "--allow", place) as gateway:
        url = gateway.until(r"serving on (\S+)")
        with command("forward", url, "-L", f"{HERE}:0:{place}", "-v") as forward:
            local = forward.until(rf"listening on (\S+) for {place}")
            forward.until(f"connected to {url}")
            with dialled(local) as near:
                near.sendall(b"ping")
                far, _ = listener.accept()
                with far:
                    assert far.recv(4) == b"ping"
                    forward.process.send_signal(signal.SIGTERM)
                    forward.until("draining: 1 connections have 30 s")
                    with pytest.raises(ConnectionRefusedError):
                        dialled(local)
                    far.sendall(b"pong")
                    assert near.recv(4) == b"pong"
                    near.shutdown(socket.SHUT_WR)
                    assert far.recv(1) == b""
            assert forward.end() == 0
            assert "Traceback" not in forward.said
        assert gateway.end(signal.SIGTERM) == 0
        assert "Traceback" not in gateway.said


def test_a_second_signal_ends_at_once() -> None:
    with target() as (listener, place), command("gateway", f"{HERE}:0", "--allow", place) as gateway:
        with command("forward", gateway.until(r"serving on (\S+)"), "-L", f"{HERE}:0:{place}") as forward:
            with dialled(forward.until(r"listening on (\S+)")) as near, listener.accept()[0] as far:
                far.settimeout(BOUND)
                near.sendall(b"x")
                assert far.recv(1) == b"x"
                forward.process.send_signal(signal.SIGINT)
                forward.until("draining")
                assert forward.end(signal.SIGINT) == 0
                with pytest.raises(ConnectionResetError):
                    far.recv(1)
        assert gateway.end(signal.SIGTERM) == 0


def test_the_allow_list_is_read_again(tmp_path: Path) -> None:
    rules = tmp_path / "allow.conf"
    with target() as (listener, place):
        rules.write_text("# nothing yet\n")
        with command("gateway", f"{HERE}:0", "--allow-file", str(rules)) as gateway:
            url = gateway.until(r"serving on (\S+)")
            gateway.until("nothing is allowed")
            with command("forward", url, "-L", f"{HERE}:0:{place}") as forward:
                local = forward.until(r"listening on (\S+)")
                with dialled(local) as near, pytest.raises(ConnectionResetError):
                    near.recv(1)
                forward.until(f"{place} is not on the gateway's allow list")
                rules.write_text(f"allow {place}\n")
                gateway.process.send_signal(signal.SIGHUP)
                gateway.until("reloaded: 1 rules for targets, 0 for listening")
                rules.write_text("allow everything\n")
                gateway.process.send_signal(signal.SIGHUP)
                gateway.until("not reloaded, all stays as it was: .*line 1: 'everything' is not a rule")
                with dialled(local), listener.accept()[0]:
                    pass


@pytest.mark.parametrize("shown", ["", "fedcba9876543210-of-another"])
def test_a_refused_token_is_final(shown: str, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"# who may come\nalice {TOKEN}\n")
    with command("gateway", f"{HERE}:0", "--allow", "web:80", "--token-file", str(tokens)) as gateway:
        url = gateway.until(r"serving on (\S+)")
        with command("forward", url, "-L", f"{HERE}:0:web:80", token=shown) as forward:
            assert forward.end() == 4
            assert forward.said.count("\n") == 2
            assert "muxtcp forward: handshake refused: UNAUTHENTICATED" in forward.said
        with command("forward", url, "-L", f"{HERE}:0:web:80", token=TOKEN) as forward:
            forward.until(f"connected to {url}")
            with dialled(forward.until(r"listening on (\S+)")):
                gateway.until(r"alice \(127.0.0.1:\d+\), web:80: cannot (connect|resolve)")


def test_a_client_whose_certificate_is_missing_or_strange_is_refused(authority: Authority, stranger: Authority) -> None:
    good, ours = authority.issue("gateway", hosts=LOCALHOST), str(authority.certificate)
    client, strange = str(authority.issue("client")), str(stranger.issue("client"))
    tls = "--tls-cert", str(good), "--tls-client-ca", ours
    with target() as (listener, place), command("gateway", f"tls://{HERE}:0", "--allow", place, *tls) as gateway:
        url, there = gateway.until(r"serving on (\S+)"), f"{HERE}:0:{place}"
        for wrong, what in [
            (("--tls-ca", ours), "the client's certificate is missing"),
            (("--tls-ca", ours, "--tls-cert", strange), "the client's certificate was issued by nobody"),
            (("--tls-cert", client), "the server's certificate was issued by nobody"),
            (
                ("--tls-ca", ours, "--tls-cert", client, "--tls-name", "other"),
                "the server's certificate is for another",
            ),
        ]:
            with command("forward", url, "-L", there, *wrong) as forward:
                assert (forward.end(), forward.said.count("\n")) == (4, 2), forward.said
                assert what in forward.said
        with command("forward", url, "-L", there, "--tls-ca", ours, "--tls-cert", client) as forward:
            with dialled(forward.until(r"listening on (\S+)")) as near, listener.accept()[0] as far:
                near.sendall(b"ping")
                assert far.recv(4) == b"ping"
            assert forward.end(signal.SIGTERM) == 0


BAD_USAGE = {
    "forward gw:7700": "nothing to forward",
    "forward gw:7700 -L 80:web": "argument -L: '80:web' is not [bind:]port:host:port",
    "forward gw -D 1080": "it is written tcp://host:port",
    "forward gw:1 -D 1080 --resume x": "argument --resume: 'x' is not a number of seconds",
    "forward gw:1 -D 1080 --tls-ca x": "--tls-... goes with a tls:// address, not with tcp://gw:1",
    "forward tls://gw:1 -D 1080 --tls-ca /none": "cannot use the authority /none",
    "forward gw:1 -D 1080 --token-file /none": "cannot read /none: No such file or directory",
    "gateway tls://127.0.0.1:0": "tls://127.0.0.1:0 needs --tls-cert",
    "gateway 0.0.0.0:0": "others can reach tcp://0.0.0.0:0: use tls:// with --token-file",
    "gateway 127.0.0.1:0 --allow web": "'web' is not a rule",
    "gateway 127.0.0.1:0 --allow-file /none": "No such file or directory: '/none'",
    "gateway 127.0.0.1:0 --resume 121": "--resume is 121 s, not at most 120",
    "gateway 127.0.0.1:0 --max-connections 0": "'0' is not a whole number of at least 1",
}


def refused(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code and the one line of a command that does not begin."""
    with pytest.raises(SystemExit) as ended:  # by argparse, or with what main() returns
        sys.exit(main(arguments))
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.err


@pytest.mark.parametrize(("arguments", "what"), BAD_USAGE.items())
def test_bad_usage_is_one_line_and_2(arguments: str, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = refused(*arguments.split(), capsys=capsys)
    assert (code, what in said) == (2, True), said


def test_a_token_is_not_said_where_it_can_be_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUXTCP_TOKEN", TOKEN)
    code, said = refused("forward", "gw.example:1", "-D", "1080", capsys=capsys)
    assert (code, "the token could be read on its way to tcp://gw.example:1" in said) == (2, True)
    assert TOKEN not in said


def test_a_short_token_is_not_served(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUXTCP_TOKEN", "short")
    code, said = refused("gateway", f"{HERE}:0", capsys=capsys)
    assert (code, "a token of 5 characters can be guessed" in said) == (2, True)


def test_a_port_in_use_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    with target() as (_, place):
        code, said = refused("forward", "127.0.0.1:1", "-L", f"{place}:web:80", capsys=capsys)
        assert (code, said) == (3, f"muxtcp forward: cannot listen on {place}: Address already in use\n")
        code, said = refused("gateway", place, capsys=capsys)
        assert (code, said) == (3, f"muxtcp gateway: cannot listen on {place}: Address already in use\n")


def test_an_unknown_gateway_is_5() -> None:
    with command("forward", "nobody.invalid:1", "-L", f"{HERE}:0:web:80") as forward:
        assert forward.end() == 5
    assert "muxtcp forward: cannot resolve 'nobody.invalid'" in forward.said
