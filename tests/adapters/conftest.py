"""The servers that channels lead to: Debian's packages, each on a Unix socket in a folder of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

READY = b"eady to accept connections"  # as both say it
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))  # of several versions the newest is the last
REDIS = shutil.which("redis-server")

# Whoever runs the tests may preload a sanitizer for Python.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"} | {"LC_ALL": "C.UTF-8"}


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[Path]:
    """Where a Redis server listens."""
    if REDIS is None:
        pytest.skip("redis-server is not installed")
    with tempfile.TemporaryDirectory() as folder, running([REDIS, "-"], folder, b"port 0\nunixsocket s\nsave ''\n"):
        yield Path(folder) / "s"


@pytest.fixture(scope="session")
def postgres_socket() -> Iterator[Path]:
    """Where a PostgreSQL server listens, whose user `postgres` needs no password."""
    if not POSTGRES:
        pytest.skip("postgresql is not installed")
    with tempfile.TemporaryDirectory() as folder:
        if os.getuid() == 0:  # as whom it refuses to run
            shutil.chown(folder, "postgres")
        initdb = [POSTGRES[-1].with_name("initdb"), "-D", "data", "-U", "postgres", "--auth=trust", "--no-sync"]
        subprocess.run(initdb, cwd=folder, env=ENVIRONMENT, capture_output=True, check=True, **unprivileged())
        options = ["-F", "-D", "data", "-k", folder, "-c", "listen_addresses=", "-c", "max_connections=50"]
        with running([POSTGRES[-1], *options], folder, **unprivileged()):
            yield Path(folder) / ".s.PGSQL.5432"


def unprivileged() -> dict[str, str]:
    """Options of subprocess: the package has made a user for this."""
    return {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}


@contextlib.contextmanager
def running(command: list[str | Path], folder: str, said: bytes = b"", **options: str) -> Iterator[None]:
    """A server, once it accepts connections; ended with the block."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,  # type: ignore[call-overload]
    )
    try:
        process.stdin.write(said)
        process.stdin.close()
        log = []
        while READY not in (line := process.stdout.readline()):
            log.append(line)
            assert line, f"{command[0]} has ended: {b''.join(log).decode()}"
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        process.stdout.close()
        process.wait()
