"""Programs that end in the middle of things: with the right code, and without a word but their own."""

import os
import subprocess
import sys
import textwrap

import pytest
from support import loops

PROGRAM = """
import asyncio, os, signal, sys, threading
import muxtcp
from support import loops

async def echo(channel):
    if channel.name == "exit":
        sys.exit(3)
    async for message in channel:
        await channel.send(message)

async def busy(session):
    async with session.open("echo") as channel:
        while True:
            await channel.send(bytes(1_000))
            await channel.recv()

async def main():
    server = await muxtcp.serve(echo, "127.0.0.1", 0)
    session = await muxtcp.connect(server.addresses[0], resume=30.0)
    channel = await session.open("echo")
    await channel.send(b"here")
    await channel.recv()
    BODY

with loops.runner(sys.argv[1]) as runner:
    runner.run(main())
"""

ENDS = {
    "everything is open": ("pass", 0, ""),
    "receivers and senders wait": (
        (
            "waiting = [asyncio.create_task(channel.recv()) for _ in range(3)]\n"
            "await asyncio.sleep(0)\n"
            "await asyncio.to_thread(lambda: channel.send_threadsafe(b'x').result(10))"
        ),
        0,
        "",
    ),
    "sys.exit in a handler": (
        "await session.open('exit')\nawait asyncio.get_running_loop().create_future()",
        3,
        "",
    ),
    "sys.exit in main, under load": (
        "working = [asyncio.create_task(busy(session)) for _ in range(3)]\nawait session.ping()\nsys.exit(4)",
        4,
        "",
    ),
    "an exception in main": ("raise ZeroDivisionError('as planned')", 1, "ZeroDivisionError: as planned"),
    "Ctrl-C under load": (
        (
            "working = [asyncio.create_task(busy(session)) for _ in range(3)]\n"
            "await session.ping()\n"
            "os.kill(os.getpid(), signal.SIGINT)\n"
            "await asyncio.gather(*working)"
        ),
        -2,
        "KeyboardInterrupt",
    ),
    "a daemon thread that sends": (
        (
            "def send():\n"
            "    while True:\n"
            "        try:\n"
            "            channel.send_threadsafe(b'x').result(10)\n"
            "        except Exception:\n"
            "            return\n"
            "threading.Thread(target=send, daemon=True).start()\n"
            "await channel.recv()"
        ),
        0,
        "",
    ),
}


@pytest.mark.parametrize("loop", loops.NAMES)
@pytest.mark.parametrize("end", ENDS)
def test_a_program_that_ends_says_nothing_of_ours(loop: str, end: str) -> None:
    body, code, last_line = ENDS[end]
    program = PROGRAM.replace("BODY", textwrap.indent(body, "    ").strip())
    path = os.pathsep.join(place for place in sys.path if place.endswith("tests"))
    done = subprocess.run(
        [sys.executable, "-c", program, loop],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    said = done.stderr.strip().splitlines()
    assert (said[-1] if said else "") == last_line
    assert not last_line or said[0].startswith("Traceback")
    assert "never retrieved" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode == code
