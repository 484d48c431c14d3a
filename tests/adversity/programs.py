"""Real programs to carry: PostgreSQL, Redis, OpenSSH and iperf3, each started with a configuration of its own.

They are Debian's; `missing()` says which are not there. Each is a context manager that gives the port it listens on,
and ends what it started.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = "127.0.0.1"
BOUND = 60.0  # seconds in which a program has to listen, or to end
PACKAGES = {
    "pgbench": "postgresql",
    "postgres": "postgresql",
    "redis-server": "redis-server",
    "redis-benchmark": "redis-tools",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "scp": "openssh-client",
    "curl": "curl",
    "iperf3": "iperf3",
}


def find(name: str) -> str | None:
    """Where a program is; Debian keeps some of them off the path."""
    places = [*map(str, Path("/usr/lib/postgresql").glob("*/bin")), "/usr/sbin", os.environ.get("PATH", "")]
    return shutil.which(name, path=os.pathsep.join(places))


def missing(*names: str) -> str | None:
    """A reason to skip: what is not there, and the package that has it."""
    absent = [f"{name} (package {PACKAGES[name]})" for name in names if find(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def program(name: str) -> str:
    path = find(name)
    assert path is not None, missing(name)
    return path


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HERE, 0))
        return int(sock.getsockname()[1])


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Until somebody listens. Nobody connects: some servers, and what a tunnel leads to, would take it for a client."""
    deadline = time.monotonic() + BOUND
    while f":{port:04X} 00000000:0000 0A" not in Path("/proc/net/tcp").read_text():
        assert process.poll() is None, f"{process.args} has ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{process.args} does not listen on {port}"
        time.sleep(0.02)


@contextlib.contextmanager
def running(*command: str | Path, port: int | None = None, **options: object) -> Iterator["subprocess.Popen[bytes]"]:
    """A program, until the end of the block; with a port, from when it listens."""
    options.setdefault("stdout", subprocess.DEVNULL)
    options.setdefault("stderr", subprocess.DEVNULL)
    process: subprocess.Popen[bytes] = subprocess.Popen(list(map(str, command)), **options)  # type: ignore[call-overload]
    try:
        if port is not None:
            wait_for(port, process)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(BOUND)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def said_by(*command: str | Path, timeout: float = BOUND, **options: object) -> str:
    """What a program prints; it has to succeed."""
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return str(done.stdout)


# Servers


@contextlib.contextmanager
def postgres() -> Iterator[int]:
    """A server with an empty database "postgres", whose user "postgres" needs no password."""
    user: dict[str, object] = {"cwd": "/"}
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            shutil.chown(folder, "postgres", "postgres")
            user |= {"user": "postgres", "group": "postgres", "extra_groups": []}
        data, port = f"{folder}/data", free_port()
        said_by(program("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", **user)
        settings = [f"-cport={port}", f"-clisten_addresses={HERE}", "-cunix_socket_directories=", "-cfsync=off"]
        with running(program("postgres"), "-D", data, *settings, "-cmax_connections=200", port=port, **user):
            yield port


@contextlib.contextmanager
def redis() -> Iterator[int]:
    """A server that keeps nothing."""
    port = free_port()
    options = ["--bind", HERE, "--port", str(port), "--save", "", "--appendonly", "no", "--dir", "/tmp"]
    with running(program("redis-server"), *options, port=port):
        yield port


@contextlib.contextmanager
def web(folder: Path) -> Iterator[int]:
    """Serves the files of a folder over HTTP."""
    port = free_port()
    with running(sys.executable, "-m", "http.server", "-b", HERE, "-d", folder, str(port), port=port):
        yield port


@contextlib.contextmanager
def iperf3() -> Iterator[int]:
    port = free_port()
    with running(program("iperf3"), "-s", "-B", HERE, "-p", str(port), port=port):
        yield port


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[tuple[int, list[str]]]:
    """A server with keys of its own: its port, and the options with which its client gets in; as root."""
    for name in "host", "client":
        said_by(program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
    shutil.copy(folder / "client.pub", folder / "authorized")
    Path("/run/sshd").mkdir(exist_ok=True)  # where it separates privileges, made at boot elsewhere
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress {HERE}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        f"MaxStartups 100\nSubsystem sftp internal-sftp\n"
    )
    client = [
        f"-i{folder}/client",
        "-oStrictHostKeyChecking=no",
        f"-oUserKnownHostsFile={folder}/known",
        "-oLogLevel=ERROR",
    ]
    with running(program("sshd"), "-D", "-e", "-f", folder / "sshd_config", port=port):
        yield port, client


# Tunnels: each gives the port through which `target` is reached


@contextlib.contextmanager
def direct(target: int) -> Iterator[int]:
    yield target


@contextlib.contextmanager
def through_ssh(target: int, server: int, client: list[str]) -> Iterator[int]:
    """`ssh -L` to a server of ours on loopback."""
    port = free_port()
    options = ["-N", *client, "-oExitOnForwardFailure=yes", "-p", str(server), "-L", f"{HERE}:{port}:{HERE}:{target}"]
    with running(program("ssh"), *options, f"root@{HERE}", port=port):
        yield port


@contextlib.contextmanager
def through_relays(target: int) -> Iterator[int]:
    """Two relays in a row that do nothing but copy."""
    far, port = free_port(), free_port()
    relay = [sys.executable, str(Path(__file__).with_name("relay.py"))]
    with running(*relay, str(far), str(target), port=far), running(*relay, str(port), str(far), port=port):
        yield port


@contextlib.contextmanager
def through_us(target: int, *options: str, via: int | None = None, gateway: int | None = None) -> Iterator[int]:
    """`muxtcp forward` to a gateway on loopback: on port `gateway`, which the forwarder reaches by port `via`."""
    gateway = gateway or free_port()
    port, place = free_port(), f"{HERE}:{target}"
    with running(sys.executable, "-m", "muxtcp", "gateway", f"{HERE}:{gateway}", "--allow", place, port=gateway):
        forward = [f"{HERE}:{via or gateway}", "-L", f"{HERE}:{port}:{place}", *options]
        with running(sys.executable, "-m", "muxtcp", "forward", *forward, port=port):
            yield port
