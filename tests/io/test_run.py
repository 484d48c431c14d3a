"""Programs from the outside: `python -m muxtcp`, and Ctrl-C under `muxtcp.run`."""

import signal
import subprocess
import sys

import pytest

import muxtcp

PROGRAM = """
{first}
import muxtcp


async def main():
    async with muxtcp.serve(lambda channel: None, "127.0.0.1", 0) as server:
        async with muxtcp.connect(server.addresses[0]) as session, session.open("idle") as channel:
            print("ready", flush=True)
            await channel.recv()


try:
    muxtcp.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""

UNTIDY = """
{first}
import muxtcp


async def echo(channel):
    async for message in channel:
        await channel.send(message)


async def main():
    server = await muxtcp.serve(echo, "127.0.0.1", 0)
    session = await muxtcp.connect(server.addresses[0])
    channel = await session.open("echo")
    await channel.send(b"1")
    kept.extend([server, session, channel, await channel.recv()])


kept = []
muxtcp.run(main())
print("done")
"""


@pytest.fixture(params=["import uvloop", "import sys; sys.modules['uvloop'] = None"], ids=["uvloop", "asyncio"])
def first(request: pytest.FixtureRequest) -> str:
    """The program's first line, which chooses its loop."""
    if request.param == "import uvloop":
        pytest.importorskip("uvloop")
    return request.param


def test_a_program_may_end_without_closing_anything(first: str) -> None:
    command = [sys.executable, "-c", UNTIDY.format(first=first)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_ctrl_c_ends_what_runs_and_then_the_program(first: str) -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM.format(first=first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30) == ("interrupted\n", "")
        finally:
            process.kill()  # or leaving the block would wait for it


def module(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "muxtcp", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_the_package_says_what_can_be_run() -> None:
    done = module()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"muxtcp {muxtcp.__version__}" in done.stdout
    for command in ("python -m muxtcp.demo", "python -m muxtcp.bench", "forward", "gateway"):
        assert command in done.stdout


def test_an_unknown_command_is_an_error() -> None:
    done = module("frobnicate")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'frobnicate'" in done.stderr
