"""A child of a process with sessions and a server open: it can use none of them, and harms none."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from support import loops

PROGRAM = """
import asyncio, gc, os, signal, sys
import muxtcp
from support import loops

class Leaves(Exception):
    pass

async def echo(channel):
    if channel.name == "brief":
        await channel.send(b"all")
        return
    async for message in channel:
        await channel.send(message)

async def with_unread(session):
    # One that only the server has ended, and one that both have: what they have to say is here.
    brief, ended = await session.open("brief"), await session.open("echo")
    await ended.send(b"all")
    await ended.send_eof()
    while ended in session.channels:
        await session.ping()
    assert brief.stats().unread == ended.stats().unread == 1
    return brief, ended

def fails(use, *, loudly=True):
    try:
        awaitable = use()
        if awaitable is not None:
            try:
                awaitable.send(None)
            except StopIteration:
                pass
    except muxtcp.SessionLost as error:
        assert f"this process ({os.getpid()}) is a fork, and its parent has the session" in str(error), error
    else:
        assert not loudly, use

def child_of(server, session, channel):
    CHILD

async def main():
    async with muxtcp.serve(echo, "127.0.0.1", 0, signals=SIGNALS, resume=30.0) as server:
        address = server.addresses[0]
        async with muxtcp.connect(address, resume=30.0) as session, muxtcp.connect(address) as other:
            channel = await session.open("echo")
            await channel.send(b"before")
            assert await channel.recv() == b"before"
            await other.ping()
            global brief, ended
            brief, ended = await with_unread(session)
            told = []
            session.on_close.append(told.append)
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(reading)
                child_of(server, session, channel)
                assert not told
                os.write(writing, b"fine")
                END
            os.close(writing)
            loop = asyncio.get_running_loop()
            said = await loop.run_in_executor(None, os.read, reading, 10)
            PARENT
            _, status = await loop.run_in_executor(None, os.waitpid, child, 0)
            os.close(reading)
            for _ in range(3):
                await channel.send(b"after")
                assert await asyncio.wait_for(channel.recv(), 10) == b"after"
            async with muxtcp.connect(address) as third:
                assert await third.request("echo", b"new") == b"new"
            assert await brief.recv() == await ended.recv() == b"all"
            assert not (session.closed or other.closed)
            assert session.stats()["resumptions"] == 0
        print(said.decode(), os.waitstatus_to_exitcode(status))

async def leave():
    try:
        await main()
    except Leaves:
        os._exit(3)

with loops.runner(sys.argv[1]) as runner:
    runner.run(leave())
"""

USE = """
fails(lambda: channel.send(b"x")); fails(lambda: channel.send_nowait(b"x")); fails(lambda: channel.recv())
fails(lambda: channel.recv_nowait()); fails(lambda: channel.send_eof()); fails(lambda: channel.flush())
fails(lambda: session.open("x")); fails(lambda: session.request("x", b"x")); fails(lambda: session.ping())
for each in list(server.sessions) or [session]:
    fails(lambda: each.open("x"))
assert session.closed and channel.closed and session.forked
for each in (brief, ended):
    for _ in range(2):
        fails(each.recv); fails(each.recv_nowait); fails(lambda: anext(each)); fails(lambda: anext(each.batches()))
    assert each.stats().unread == 0
fails(lambda: channel.reset(), loudly=False); fails(lambda: channel.close(), loudly=False)
fails(lambda: session.close(), loudly=False); fails(lambda: session.drain(), loudly=False); session.abort()
fails(lambda: server.parking.stop(), loudly=False)
"""

CHILDREN = {
    "uses everything": (USE, "os._exit(0)", "", "fine 0"),
    "collects everything": ("del channel, session, server; gc.collect()", "os._exit(0)", "", "fine 0"),
    # Not further: asyncio.run() itself, when it closes the loop in a child, takes it from its parent.
    "leaves the blocks": ("pass", "raise Leaves", "", "fine 3"),
    "connects anew": (
        "address = server.addresses\nassert not address",
        "os.execv(sys.executable, [sys.executable, '-c', 'raise SystemExit(4)'])",
        "",
        "fine 4",
    ),
}

SERVERS = """
import asyncio, os, signal, sys, traceback
import muxtcp
from support import loops

def over(coroutine):
    try:
        coroutine.send(None)
    except StopIteration:
        return "returned"
    except RuntimeError as error:
        return str(error)
    return "waits"

def serve(signals):
    return muxtcp.serve(None, "127.0.0.1", 0, signals=signals)

def look(*started):
    assert signal.getsignal(signal.SIGTERM) is application
    for server in started:
        assert over(server.wait_closed()) == "returned"
        assert over(server.serve_forever()) == f"this process ({os.getpid()}) is a fork, and its parent has the server"

def application(number, frame):
    pass

async def main():
    never_started, closed, up = serve(True), await serve(True), await serve(False)
    await closed.close()
    signal.signal(signal.SIGTERM, application)
    child = os.fork()
    if child == 0:
        try:
            look(closed, up)
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    await asyncio.get_running_loop().run_in_executor(None, os.waitpid, child, 0)
    await up.close()

with loops.runner(sys.argv[1]) as runner:
    runner.run(main())
"""

BEFORE = """
import os, sys, traceback
import muxtcp
from support import loops

async def main():
    async with server, muxtcp.connect(server.addresses[0]) as session:
        await session.ping()
        print("served", flush=True)

server = muxtcp.serve(None, "127.0.0.1", 0, signals=True)
child = os.fork()
if child == 0:
    try:
        with loops.runner(sys.argv[1]) as runner:
            runner.run(main())
    except BaseException:
        traceback.print_exc()
    os._exit(0)
os.waitpid(child, 0)
"""


def run(loop: str, child: str, end: str, parent: str, *, signals: bool = False) -> str:
    program = PROGRAM.replace("CHILD", textwrap.indent(child, "    ").strip()).replace("END", end)
    return said_by(program.replace("PARENT", parent or "pass").replace("SIGNALS", str(signals)), loop)


def said_by(program: str, loop: str) -> str:
    path = os.pathsep.join(place for place in sys.path if place.endswith("tests"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", program, loop],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=12,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout.strip()


@pytest.mark.parametrize("loop", loops.NAMES)
@pytest.mark.parametrize("name", CHILDREN)
def test_a_child_harms_nothing(loop: str, name: str) -> None:
    child, end, parent, said = CHILDREN[name]
    assert run(loop, child, end, parent) == said


@pytest.mark.parametrize("loop", loops.NAMES)
def test_a_signal_to_the_child_is_not_the_parents(loop: str) -> None:
    """The loop's handlers write into a socket pair that the two share."""
    said = run(loop, "pass", "signal.pause()", "os.kill(child, signal.SIGTERM)", signals=True)
    assert said.endswith(str(-signal.SIGTERM))


@pytest.mark.parametrize("loop", loops.NAMES)
def test_a_child_has_no_server_of_its_parent_and_keeps_the_handlers_that_are_not_its(loop: str) -> None:
    assert said_by(SERVERS, loop) == ""


@pytest.mark.parametrize("loop", loops.NAMES)
def test_a_server_that_was_not_started_is_the_childs_to_start(loop: str) -> None:
    assert said_by(BEFORE, loop) == "served"
