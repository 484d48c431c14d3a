"""The guards of conftest.py catch what they are there for: each case below is a planted fault."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).parents[1] / "conftest.py"

FAULTS = {
    "leaked task": "asyncio.create_task(asyncio.sleep(100))",
    "failing callback": "asyncio.get_running_loop().call_soon(lambda: 1 / 0); await asyncio.sleep(0)",
    "unseen exception of a task": "asyncio.create_task(fail()); await asyncio.sleep(0.01)",
    "open socket": "socket.socket()",
}
TEST = """
import asyncio
import socket

async def fail():
    raise ZeroDivisionError

async def test_fault():
    {fault}
"""


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_fails_on_every_loop(fault: str, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(TEST.format(fault=fault))
    outcomes = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", timeout=60).parseoutcomes()
    assert outcomes.get("passed", 0) == 0, "a test passed in spite of the fault"
    assert outcomes["failed"] == 3


def test_an_open_transport_fails_the_test_and_does_not_stop_the_suite(pytester: pytest.Pytester) -> None:
    pytest.importorskip("uvloop")  # the other loops leave their transports to the collector
    pytester.makeconftest(CONFTEST.read_text())
    server = "await asyncio.get_running_loop().create_server(asyncio.Protocol, '127.0.0.1', 0)"
    pytester.makepyfile(TEST.format(fault=f"await asyncio.open_connection(*({server}).sockets[0].getsockname())"))
    done = pytester.runpytest_subprocess("-W", "error", "-k", "uvloop", "-p", "no:cacheprovider", timeout=60)
    assert done.parseoutcomes()["failed"] == 1
    done.stdout.fnmatch_lines(["*the loop warned when it was closed*unclosed resource*"])
