"""Types and style, as a user's editor and the next contributor see them."""

import os
import subprocess
import sys
from pathlib import Path

import muxtcp

ROOT = Path(__file__).parents[2]
FACES = sorted(path.stem for path in (ROOT / "muxtcp").glob("_*.pyi"))

# What Cython adds to each module, and the signatures of __init__, which it does not tell.
NOT_IN_FACES = r"""
muxtcp\._\w+\.__(test|pyx_capi)__
muxtcp\._\w+\.\w+\.__init__
"""

USER_PROGRAM = """
import asyncio
import muxtcp


async def handler(channel: muxtcp.Channel) -> None:
    match channel.name:
        case "echo":
            async for message in channel:
                await channel.send(message)
        case "ingest":
            async for batch in channel.batches():
                for message in batch:
                    print(len(message))
            await channel.send(b"stored")
        case _:
            await channel.refuse(muxtcp.Code.NOT_FOUND, f"no service {channel.name!r}")


async def admit(session: muxtcp.Session) -> None:
    if session.peer_auth != b"secret":
        raise muxtcp.HandshakeError(code=muxtcp.Code.UNAUTHENTICATED, reason="who are you?")


def on_state(state: muxtcp.State, info: muxtcp.StateInfo) -> None:
    print(state.value, info.attempt, info.delay, info.cause)


class Ticks(muxtcp.ChannelListener):
    def on_message(self, channel: muxtcp.Channel, view: memoryview) -> None:
        print(view.nbytes)


async def main() -> None:
    config = muxtcp.Config(keepalive=None)
    async with muxtcp.serve(handler, "127.0.0.1", 7777, config=config, on_session=admit) as server:
        async with muxtcp.connect("127.0.0.1", 7777, auth=b"secret") as session:
            async with session.open("echo", meta={"tenant": "a"}, priority=muxtcp.Priority.HIGH) as channel:
                await channel.send(b"hello")
                print(await channel.recv())
                await channel.send_eof()
            reply: bytes = await session.request("sum", b"1 2 3", timeout=2.0)
            print(reply, session.rtt, session.stats())
        connector = muxtcp.connect(server.addresses[0], backoff=muxtcp.exponential(0.1, 30), on_state=on_state)
        async for session in connector:
            try:
                channel = await session.open("echo")
                if not channel.send_nowait(b"x"):
                    break
            except muxtcp.SessionLost as error:
                print(error.silent_for)
                continue


muxtcp.run(main())
"""


def check(*command: str | Path, cwd: Path = ROOT) -> None:
    # mypy does not follow the import hook of an editable install; an installed package it finds by itself.
    editable = Path(muxtcp.__file__) == ROOT / "muxtcp" / "__init__.py"
    environment = os.environ | ({"MYPYPATH": str(ROOT)} if editable else {})
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_strict_on_the_package(tmp_path: Path) -> None:
    check("mypy", "--cache-dir", tmp_path)


def test_mypy_strict_on_a_users_program(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(USER_PROGRAM)
    check("mypy", "--strict", "--cache-dir", tmp_path, program, cwd=tmp_path)


def test_faces_are_true(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text(NOT_IN_FACES)
    options = "--concise", "--ignore-unused-allowlist", "--ignore-disjoint-bases", "--allowlist", allowed
    check("mypy.stubtest", *(f"muxtcp.{face}" for face in FACES), *options, cwd=tmp_path)


def test_every_class_that_users_meet_has_a_face() -> None:
    assert {"_channel", "_engine", "_protocol", "_session"} <= set(FACES)


def test_help_tells_of_every_method_of_a_channel() -> None:
    public = [name for name in dir(muxtcp.Channel) if not name.startswith("_")]
    facts_of_the_opening = {"id", "name", "meta", "codec", "deadline", "traceparent", "wish"}
    silent = {name for name in public if not getattr(muxtcp.Channel, name).__doc__}
    assert silent <= facts_of_the_opening


def test_ruff() -> None:
    check("ruff", "check")


def test_ruff_format() -> None:
    check("ruff", "format", "--check")
