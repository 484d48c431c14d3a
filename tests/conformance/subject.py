"""muxtcp under test: the test service of docs/conformance.md, as a server or as a client.

python tests/conformance/subject.py --listen 127.0.0.1:7000
python tests/conformance/subject.py --connect 127.0.0.1:7000
"""

import argparse
import asyncio
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])

from support.loops import NAMES, runner

import muxtcp

CONTROL = "conformance/control"
AT_ONCE = muxtcp.constant(0.0, jitter=0.0)
# What `listen` and `connect` may ask for, and what it is called here.
LIMITS = {"max_frame": "max_frame", "max_message": "max_message", "max_channels": "max_channels",
          "replay_limit": "replay_limit",
          "channel_limit": "channel_window", "session_limit": "session_window"}  # fmt: skip


def pattern(number: int, size: int) -> bytes:
    """The message of that number on its channel."""
    start = number % 251
    return (bytes(range(251)) * (size // 251 + 2))[start : start + size]


def config_of(options: dict[str, str]) -> muxtcp.Config:
    values: dict[str, Any] = {LIMITS[name]: int(value) for name, value in options.items() if name in LIMITS}
    if "handshake_timeout" in options:
        values["handshake_timeout"] = int(options["handshake_timeout"]) / 1000
    return muxtcp.Config(**values)


def how(error: Exception) -> str:
    """Why something failed, or how a session ended, in the words of the page."""
    match error:
        case muxtcp.ChannelReset() | muxtcp.ChannelRefused():
            return f"reset {int(error.code)} {error.reason}".strip()
        case muxtcp.MessageTooLarge():
            return "too_large"
        case muxtcp.RemoteProtocolError():
            return f"violation {int(error.code)}"
        case muxtcp.HandshakeError():
            return f"refused {int(error.code)} {round((error.retry_after or 0) * 1000)} {error.reason}".strip()
        case muxtcp.SessionClosed():
            return f"closed {int(error.code)}"
        case muxtcp.SessionLost() | OSError():
            return "lost"
        case NoSuchSession():
            return "unknown"
        case _:
            return "not_allowed"


class NoSuchSession(muxtcp.MuxError):
    """The runner speaks of a session that never came to be here."""


class Held:
    """What the runner has to do with one session: its channels, which nobody touches before it says so."""

    def __init__(self, session: muxtcp.Session) -> None:
        self.session = session
        self.channels: dict[int, muxtcp.Channel] = {}
        self.sent: dict[int, int] = {}  # messages so far, by channel
        self.arrived = asyncio.Event()
        self.over = asyncio.Event()
        session.on_close.append(lambda session: self.over.set())
        if session.closed:
            self.over.set()

    def hold(self, channel: muxtcp.Channel) -> None:
        self.channels[channel.id] = channel
        self.arrived.set()

    async def channel(self, number: str) -> muxtcp.Channel:
        """The channel of that number, as soon as it is here."""
        while int(number) not in self.channels:
            self.arrived.clear()
            await self.arrived.wait()
        return self.channels[int(number)]


class Service:
    """All sessions of this program; a method whose name begins with `do_` is a command."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.host = ""  # where a client dialled
        self.named: dict[str, Held] = {}
        self.held: dict[muxtcp.Session, Held] = {}

    def of(self, session: muxtcp.Session) -> Held:
        if session not in self.held:
            self.held[session] = Held(session)
            session.on_close.append(self.held.pop)
        return self.held[session]

    def known(self, name: str) -> Held:
        if name not in self.named:
            raise NoSuchSession(name)
        return self.named[name]

    async def on_session(self, session: muxtcp.Session) -> None:
        if (name := session.peer_meta.get("conformance")) is not None:
            self.named[name] = self.of(session)

    async def handler(self, channel: muxtcp.Channel) -> None:
        match channel.name:
            case "echo":
                async for message in channel:
                    await channel.send(message)
            case "sink":
                async for _ in channel:
                    pass
            case name if name == CONTROL:
                await self.obey(channel)
            case _:
                held = self.of(channel.session)
                held.hold(channel)
                await held.over.wait()

    async def obey(self, control: muxtcp.Channel) -> None:
        """Carry out each command of the runner as a task of its own, for some take long."""
        async with asyncio.TaskGroup() as tasks:
            async for message in control:
                tasks.create_task(self.answer(control, message.decode()))

    async def answer(self, control: muxtcp.Channel, command: str) -> None:
        number, verb, *words = command.split(" ")
        work = getattr(self, f"do_{verb}", None)
        if work is None:
            told = "failed unsupported"
        else:
            try:
                told = f"ok {await work(*words) or ''}".strip()
            except (muxtcp.MuxError, OSError) as error:
                told = f"failed {how(error)}"
        await control.send(f"{number} {told}".encode())

    # Sessions

    async def serve(self, host: str, port: int, options: dict[str, str]) -> str:
        """Listen until the end of the program; where."""
        server = muxtcp.serve(
            self.handler,
            host,
            port,
            config=config_of(options),
            on_session=self.on_session,
            resume=int(options.get("resume", 30_000)) / 1000,
            psk=bytes.fromhex(options.get("key", "")) or None,
        )
        return (await self.stack.enter_async_context(server)).addresses[0]

    async def do_listen(self, *options: str) -> str:
        address = await self.serve(self.host, 0, dict(option.split("=") for option in options))
        return address.rpartition(":")[2]

    async def do_connect(self, name: str, port: str, *options: str) -> None:
        given = dict(option.split("=") for option in options)
        resume = int(given.get("resume", 0)) / 1000
        connector = muxtcp.connect(
            self.host,
            int(port),
            handler=self.handler,
            config=config_of(given),
            resume=resume or None,
            psk=bytes.fromhex(given.get("key", "")) or None,
            backoff=AT_ONCE if resume else None,
        )
        self.stack.callback(connector.stop)
        session = await connector
        self.stack.callback(session.abort)
        self.named[name] = self.of(session)

    async def do_ping(self, name: str) -> None:
        await self.known(name).session.ping()

    async def do_leave(self, name: str, code: str = "0", *reason: str) -> None:
        await self.known(name).session.drain(int(code), " ".join(reason))

    async def do_close(self, name: str) -> None:
        await self.known(name).session.close()

    async def do_abort(self, name: str) -> None:
        self.known(name).session.abort()

    async def do_ended(self, name: str) -> str:
        session = self.known(name).session
        await session.wait_closed()
        assert session.exception is not None
        return how(session.exception)

    # Channels

    async def do_open(self, name: str, title: str, mode: str) -> str:
        held = self.known(name)
        channel = await held.session.open(title, mode=mode)
        held.hold(channel)
        return str(channel.id)

    async def do_send(self, name: str, number: str, size: str, count: str = "1") -> None:
        held = self.known(name)
        channel = await held.channel(number)
        for _ in range(int(count)):
            sent = held.sent.get(channel.id, 0)
            await channel.send(pattern(sent, int(size)))
            held.sent[channel.id] = sent + 1

    async def do_read(self, name: str, number: str) -> str:
        channel = await self.known(name).channel(number)
        try:
            message = await channel.recv()
        except muxtcp.EndOfStream:
            return "end"
        return f"{len(message)} {zlib.crc32(message)}"

    async def do_finish(self, name: str, number: str) -> None:
        await (await self.known(name).channel(number)).send_eof()

    async def do_reset(self, name: str, number: str, code: str) -> None:
        await (await self.known(name).channel(number)).reset(int(code))

    async def do_drop(self, name: str, number: str) -> None:
        await (await self.known(name).channel(number)).close()


@asynccontextmanager
async def serving(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """The test service as a server: its address."""
    async with AsyncExitStack() as stack:
        service = Service(stack)
        service.host = host
        yield await service.serve(host, port, {})


@asynccontextmanager
async def dialling(host: str, port: int) -> AsyncIterator[muxtcp.Session]:
    """The test service as a client: the session that carries the control channel."""
    async with AsyncExitStack() as stack:
        service = Service(stack)
        service.host = host
        session = await stack.enter_async_context(muxtcp.connect(host, port, handler=service.handler))
        stack.callback(session.abort)  # the handler of the control channel would wait for the runner
        yield session


async def main(arguments: argparse.Namespace) -> None:
    host, _, port = (arguments.listen or arguments.connect).rpartition(":")
    if arguments.connect:
        async with dialling(host, int(port)) as session:
            await session.wait_closed()
        return
    async with serving(host, int(port)) as address:
        print(f"listening on {address}", flush=True)
        await asyncio.get_running_loop().create_future()


def cli() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--listen", metavar="HOST:PORT")
    where.add_argument("--connect", metavar="HOST:PORT")
    parser.add_argument("--loop", choices=NAMES, default="asyncio")
    given = parser.parse_args()
    with runner(given.loop) as loop:
        loop.run(main(given))


if __name__ == "__main__":
    cli()
