"""Real programs through `muxtcp forward`; by hand, with figures: `python tests/adversity/forwarding.py`."""

import os
import re
from pathlib import Path

import pytest
from adversity import forwarding, programs
from adversity.programs import HERE, program, said_by

PAGE = os.urandom(3_000_000)


pytestmark = pytest.mark.slow  # half a minute together


def needs(*names: str) -> pytest.MarkDecorator:
    reason = programs.missing(*names)
    return pytest.mark.skipif(reason is not None, reason=reason or "")


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="sshd lets root in, and only root can start it")


@needs("postgres", "pgbench")
def test_pgbench() -> None:
    with forwarding.prepared_postgres() as target, programs.through_us(target) as port:
        told = forwarding.pgbench(port, 3)
    assert min(told.values()) > 0


@needs("redis-server", "redis-benchmark")
def test_redis_benchmark() -> None:
    with programs.redis() as target, programs.through_us(target) as port:
        told = forwarding.redis_benchmark(port, 0.2)
    assert min(told.values()) > 0


@needs("iperf3")
def test_iperf3() -> None:
    with programs.iperf3() as target, programs.through_us(target) as port:
        for direction in [], ["-R"]:  # not --bidir: it counts on the order in which its connections reach the server
            said_by(program("iperf3"), "-c", HERE, "-p", str(port), "-n", "20M", *direction)


@needs("curl")
@pytest.mark.parametrize("socks", [False, True])
def test_curl_gets_each_byte(socks: bool, tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(PAGE)
    proxy = f"{HERE}:{programs.free_port()}"
    with programs.web(tmp_path) as target, programs.through_us(target, "-D", proxy) as port:
        way = [f"http://{HERE}:{target}/page", "--socks5", proxy] if socks else [f"http://{HERE}:{port}/page"]
        said_by(program("curl"), "-sSf", "-o", tmp_path / "copy", *way)
    assert (tmp_path / "copy").read_bytes() == PAGE


@as_root
@needs("sshd", "ssh", "scp")
def test_ssh_and_scp(tmp_path: Path) -> None:
    with programs.sshd(tmp_path) as (server, client), programs.through_us(server) as port:
        assert said_by(program("ssh"), *client, "-p", str(port), f"root@{HERE}", "echo through") == "through\n"
        (tmp_path / "source").write_bytes(PAGE)
        copy = f"root@{HERE}:{tmp_path}/copy"
        said_by(program("scp"), *client, "-P", str(port), tmp_path / "source", copy)
    assert (tmp_path / "copy").read_bytes() == PAGE


@needs("postgres", "pgbench")
def test_a_transaction_survives_a_link_that_is_cut() -> None:
    assert re.search("committed; the link was cut 3 times", forwarding.cut_transaction())


@as_root
@needs("sshd", "scp")
def test_a_copy_survives_a_link_that_is_cut(tmp_path: Path) -> None:
    assert "the right checksum after 5 cuts" in forwarding.cut_copy(tmp_path, 50_000_000, times=5)
