import asyncio
import errno
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from muxtcp import sockets
from muxtcp.sockets import Address, dial, listen, unacknowledged, url


@pytest.mark.parametrize(
    ("arguments", "expected", "text"),
    [
        (("example.org", 7777, None, None), Address(host="example.org", port=7777), "example.org:7777"),
        (("::1", 7777, None, None), Address(host="::1", port=7777), "[::1]:7777"),
        (("", 0, None, None), Address(host="", port=0), "*:0"),
        ((None, None, "/run/x.sock", None), Address(path="/run/x.sock"), "/run/x.sock"),
        ((None, None, Path("/run/x.sock"), None), Address(path="/run/x.sock"), "/run/x.sock"),
        (("tcp://h:1", None, None, None), Address(host="h", port=1), "h:1"),
        (("tls://h:1/", None, None, None), Address(host="h", port=1, tls=True), "h:1"),
        (("tcp://[::1]:1", None, None, None), Address(host="::1", port=1), "[::1]:1"),
        (("unix:///run/x.sock", None, None, None), Address(path="/run/x.sock"), "/run/x.sock"),
        (("unix:///run/a%23b%20c.sock", None, None, None), Address(path="/run/a#b c.sock"), "/run/a#b c.sock"),
    ],
)
def test_addresses(arguments, expected: Address, text: str) -> None:
    assert Address.of(*arguments) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    ("arguments", "finding"),
    [
        ((None, None, None, None), "one of a host, path= and sock= is needed, not none"),
        (("h", 1, "/x", None), "one of a host, path= and sock= is needed, not a host and path="),
        ((None, 1, "/x", None), "port 1 goes with a host, not with path="),
        (("h", None, None, None), "host 'h' needs a port"),
        (("h", -1, None, None), "port -1 is not between 0 and 65535"),
        (("h", 65_536, None, None), "port 65536 is not between 0 and 65535"),
        (("tcp://h:1", 1, None, None), "the port belongs into the URL 'tcp://h:1', not beside it"),
        (("http://h:1", None, None, None), "bad address 'http://h:1': it begins with tcp://, tls:// or unix://"),
        (("tcp://h", None, None, None), "bad address 'tcp://h': it is written tcp://host:port"),
        (("tls://h:1/path", None, None, None), "bad address 'tls://h:1/path': it is written tls://host:port"),
        (("tcp://h:99999", None, None, None), "bad address 'tcp://h:99999': Port out of range 0-65535"),
        (("tcp://u@h:1", None, None, None), "bad address 'tcp://u@h:1': it has neither a user nor options"),
        (("tcp://h:1?x=1", None, None, None), r"bad address 'tcp://h:1\?x=1': it has neither a user nor options"),
        (("unix://run/x", None, None, None), "bad address 'unix://run/x': a Unix socket is written unix:///path"),
    ],
)
def test_bad_addresses(arguments, finding: str) -> None:
    with pytest.raises(ValueError, match=f"^{finding}$"):
        Address.of(*arguments)


def test_a_port_is_a_number() -> None:
    with pytest.raises(TypeError, match="a port is an int, not '7777'"):
        Address.of("h", "7777", None, None)  # type: ignore[arg-type]


async def exchange(listener: socket.socket, address: Address) -> None:
    """Dial, accept, and pass one byte."""
    loop = asyncio.get_running_loop()
    ours = await dial(address)
    theirs, _ = await loop.sock_accept(listener)
    with ours, theirs:
        await loop.sock_sendall(ours, b"x")
        assert await loop.sock_recv(theirs, 10) == b"x"


async def test_listen_and_dial_over_tcp() -> None:
    [listener] = await listen(Address(host="127.0.0.1", port=0), backlog=5)
    with listener:
        address = url(listener, tls=False)
        assert address == f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        await exchange(listener, Address.of(address, None, None, None))


async def test_listen_and_dial_over_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    left_behind = socket.socket(socket.AF_UNIX)
    left_behind.bind(path)
    left_behind.close()
    for _ in range(2):
        [listener] = await listen(Address(path=path), backlog=5)
        with listener:
            assert url(listener, tls=True) == f"unix://{path}"
            await exchange(listener, Address(path=path))


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match=f"cannot listen on {path}: Address already in use"):
        await listen(Address(path=str(path)), backlog=5)
    assert path.read_text() == "data"


async def test_all_interfaces_share_one_port() -> None:
    listeners = await listen(Address(host="", port=0), backlog=5)
    assert len({listener.getsockname()[1] for listener in listeners}) == 1
    for listener in listeners:
        listener.close()


async def test_port_in_use_names_the_address() -> None:
    [listener] = await listen(Address(host="127.0.0.1", port=0), backlog=5)
    with listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use") as caught:
            await listen(Address(host="127.0.0.1", port=port), backlog=5)
        assert caught.value.errno == errno.EADDRINUSE


async def test_nobody_there_names_the_address(tmp_path: Path) -> None:
    with pytest.raises(ConnectionRefusedError, match=r"cannot connect to 127.0.0.1:1: Connection refused$"):
        await dial(Address(host="127.0.0.1", port=1))
    path = str(tmp_path / "no.sock")
    with pytest.raises(FileNotFoundError, match=f"cannot connect to {path}: No such file or directory$"):
        await dial(Address(path=path))


async def test_unknown_host_is_named() -> None:
    with pytest.raises(socket.gaierror, match=r"cannot resolve 'no-such-host.invalid': "):
        await dial(Address(host="no-such-host.invalid", port=1))


async def test_nobody_is_asked_for_what_is_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", None)
    assert await sockets.lookup("127.0.0.1", 80) == [(socket.AF_INET, ("127.0.0.1", 80))]
    assert await sockets.lookup("::1", 80) == [(socket.AF_INET6, ("::1", 80, 0, 0))]
    with pytest.raises(TypeError):  # a name is asked for
        await sockets.lookup("localhost", 80)


async def test_every_place_is_tried_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    [listener] = await listen(Address(host="127.0.0.1", port=0), backlog=5)
    with listener:
        port = listener.getsockname()[1]
        places = [("127.0.0.3", port), ("127.0.0.2", port), ("127.0.0.1", port)]
        resolve_to(monkeypatch, places)
        await exchange(listener, Address(host="many", port=port))
        resolve_to(monkeypatch, places[:2])
        said = "; ".join(f"127.0.0.{n}:{port}: Connection refused" for n in (3, 2))
        with pytest.raises(ConnectionRefusedError, match=f"cannot connect to many:{port}: {said}"):
            await dial(Address(host="many", port=port))


async def test_a_place_that_does_not_answer_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "STAGGER", 0.01)
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(0)
    port = silent.getsockname()[1]
    [listener] = await listen(Address(host="127.0.0.2", port=port), backlog=5)
    fill = [socket.socket() for _ in range(3)]
    with silent, listener:
        for one in fill:  # its backlog is full: it drops what else comes
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        resolve_to(monkeypatch, [("127.0.0.1", port), ("127.0.0.2", port)])
        await exchange(listener, Address(host="two", port=port))
        for one in fill:
            one.close()


async def test_cancelling_a_dial_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(0)
    fill = [socket.socket() for _ in range(3)]
    with silent:
        for one in fill:
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await dial(Address(*silent.getsockname()))
        for one in fill:
            one.close()


def resolve_to(monkeypatch: pytest.MonkeyPatch, places: list[tuple[str, int]]) -> None:
    """Let every name stand for these places."""

    async def resolved(*_arguments, **_options) -> list[sockets.Place]:
        return [(socket.AF_INET, place) for place in places]

    monkeypatch.setattr(sockets, "_places", resolved)


def test_what_the_peer_has_not_acknowledged_is_counted() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert unacknowledged(ours) == 0
        ours.send(bytes(100))
        assert unacknowledged(ours) >= 100
        theirs.recv(100)
        assert unacknowledged(ours) == 0
    assert unacknowledged(None) == unacknowledged(ours) == 0


def test_the_package_imports_where_unix_modules_are_missing() -> None:
    """As on Windows; asyncio's own Unix half, which needs them here, is loaded first."""
    code = (
        "import asyncio, sys\n"
        "sys.modules |= dict.fromkeys(['fcntl', 'termios', 'uvloop'])\n"
        "import muxtcp, muxtcp.sockets\n"
        "print(muxtcp.sockets.unacknowledged(object()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.stdout) == ("", "0\n")
