"""The JavaScript module in Node: its own tests, and the conformance suite against it in both roles."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.basics import echo
from support.node import missing_node
from support.tls import CERTIFICATE, server_context

import muxtcp
from muxtcp import web

HERE = Path(__file__).parent
CONFORMANCE = HERE.parent / "conformance"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing_node() is not None, reason=str(missing_node()))]


async def node(*command: object, **variables: str) -> None:
    # Node has a WebSocket of its own from version 22 on; before, it wants to be asked for.
    flags = ["--throw-deprecation", *(["--experimental-websocket"] if variables else [])]
    process = await asyncio.create_subprocess_exec(
        "node",
        *flags,
        *map(str, command),
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()[-20_000:]


def test_the_package_has_the_version_of_the_library() -> None:
    assert json.loads((web.STATIC / "package.json").read_text())["version"] == muxtcp.__version__


@pytest.mark.parametrize("suite", ["vectors", "parts"])
def test_suite(suite: str) -> None:
    asyncio.run(node("--test", HERE / f"{suite}.test.mjs"))


async def serve_tests(channel: muxtcp.Channel) -> None:
    """What `handler` of the suite of sessions does."""
    match channel.name:
        case "echo":
            await echo(channel)
        case "meta":
            await channel.send(json.dumps(channel.meta).encode())
        case "count":
            for number in range(5_000):
                await channel.send(b"%d" % number)
        case "reset":
            await channel.reset(0x1234, "enough")
        case "silent":
            await channel.session.wait_closed()
        case name:
            await channel.refuse(muxtcp.Code.NOT_FOUND, f"no service {name}")


def test_sessions() -> None:
    """Over TCP with the suite's own server, over a WebSocket and over TLS with muxtcp's."""

    async def beside_servers() -> None:
        async with (
            web.serve_web(serve_tests, "127.0.0.1", 0) as site,
            muxtcp.serve(serve_tests, "127.0.0.1", 0, ssl=server_context()) as server,
        ):
            await node(
                "--test",
                HERE / "sessions.test.mjs",
                MUXTCP_WEBSOCKET=f"ws://127.0.0.1:{site.port}/mux",
                MUXTCP_TLS=server.addresses[0],
                NODE_EXTRA_CA_CERTS=str(CERTIFICATE),
            )

    muxtcp.run(beside_servers())


def test_connections_that_are_cut_at_random_bytes() -> None:
    async def beside_a_server() -> None:
        async with muxtcp.serve(echo, "127.0.0.1", 0) as server:
            await node(HERE / "breaks.mjs", 2, server.addresses[0].rpartition(":")[2])

    muxtcp.run(beside_a_server())


def conformance(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, CONFORMANCE, "--patience", "30", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_conformance_as_a_client(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    run = f"node {HERE / 'subject.mjs'} --connect {{host}}:{{port}}"
    done = conformance("--client", "--run", run, "--json", str(told))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {play["verdict"] for play in json.loads(told.read_text())[0]["plays"]} == {"pass"}


def test_conformance_as_a_server(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    command = ["node", HERE / "subject.mjs", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as subject:
        try:
            assert subject.stdout is not None
            address = subject.stdout.readline().split()[-1]
            done = conformance("--server", address, "--json", str(told))
        finally:
            subject.terminate()
    assert done.returncode == 0, done.stdout + done.stderr
    assert {play["verdict"] for play in json.loads(told.read_text())[0]["plays"]} == {"pass"}
