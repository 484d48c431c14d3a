"""What each step of a message costs alone: two sessions in one process, joined by a list of bytes.

    parse    bytes from the peer, to messages that wait in their channel
    deliver  bytes from the peer, to the `on_message` of a listener
    recv     `await channel.recv()` of a message that waits
    send     `await channel.send()`, and the write that follows at the end of the turn

Nanoseconds vary with the machine's mood. Instructions, which valgrind counts where it is installed, do not: between two
builds of the same interpreter and compiler they differ by what was changed.
"""

import asyncio
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

import muxtcp

MESSAGE = bytes(64)
TOGETHER = 100  # messages of one read, and of one turn of the loop: less than a session's share of either
ROUNDS = 200  # when time is measured
COUNTED_ROUNDS = 10  # when instructions are counted: fifty times as slow, and the same each time
ROOM = 1 << 26  # bytes of credit, so that a step is never about waiting
CONFIG = muxtcp.Config(channel_window=ROOM, session_window=ROOM, memory_limit=ROOM, keepalive=None)


class _Wire(asyncio.Transport):
    """Keeps what is written until the other side is given it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.written += map(bytes, list_of_data)

    def take(self) -> bytes:
        """All that was written since the last time."""
        data = b"".join(self.written)
        self.written.clear()
        return data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


class _End:
    """One session, with its end of the wire."""

    def __init__(self, session: muxtcp.Session) -> None:
        self.session = session
        self.protocol = session.protocol()
        self.wire = _Wire()
        self.protocol.connection_made(self.wire)

    def receive(self, data: bytes) -> None:
        """As an event loop does: into the memory that the protocol lends."""
        while data:
            buffer = self.protocol.get_buffer(-1)
            size = min(len(data), len(buffer))
            buffer[:size] = data[:size]
            self.protocol.buffer_updated(size)
            data = data[size:]


class _Nothing(muxtcp.ChannelListener):
    def on_message(self, channel: muxtcp.Channel, view: memoryview) -> None:
        pass


class _Rig:
    """A client and a server past their handshake, and a channel of each, on the running loop."""

    sender: muxtcp.Channel
    receiver: muxtcp.Channel

    async def __aenter__(self) -> "_Rig":
        arrived: asyncio.Future[muxtcp.Channel] = asyncio.get_running_loop().create_future()
        self.client = _End(muxtcp.Session(client=True, config=CONFIG))
        self.server = _End(muxtcp.Session(client=False, config=CONFIG, handler=arrived.set_result))
        await self.turns()
        self.sender = await self.client.session.open("micro")
        await self.turns()
        self.receiver = await arrived
        return self

    async def __aexit__(self, *_: object) -> None:
        for end in (self.client, self.server):
            end.session.abort()
            end.protocol.connection_lost(None)
            await end.session.wait_closed()

    async def turns(self) -> None:
        """Carry everything to and fro until both are silent."""
        idle = 0
        while idle < 3:  # an answer may take a turn or two
            await asyncio.sleep(0)
            upward, downward = self.client.wire.take(), self.server.wire.take()
            self.server.receive(upward)
            self.client.receive(downward)
            idle = 0 if upward or downward else idle + 1

    async def frames(self) -> bytes:
        """The bytes of as many messages as go together."""
        for _ in range(TOGETHER):
            await self.sender.send(MESSAGE)
        await asyncio.sleep(0)
        return self.client.wire.take()


Mark = Callable[[], object]  # is called where the measured part begins, and where it ends
Step = Callable[[_Rig, Mark], Any]  # a coroutine


async def _parse(rig: _Rig, mark: Mark) -> None:
    data = await rig.frames()
    mark()
    rig.server.receive(data)
    mark()
    for _ in range(TOGETHER):
        await rig.receiver.recv()


async def _deliver(rig: _Rig, mark: Mark) -> None:
    rig.receiver.listen(_Nothing())
    data = await rig.frames()
    mark()
    rig.server.receive(data)
    mark()


async def _recv(rig: _Rig, mark: Mark) -> None:
    rig.server.receive(await rig.frames())
    recv, turns = rig.receiver.recv, range(TOGETHER)
    mark()
    for _ in turns:
        await recv()
    mark()


async def _send(rig: _Rig, mark: Mark) -> None:
    send, turns = rig.sender.send, range(TOGETHER)
    mark()
    for _ in turns:
        await send(MESSAGE)
    await asyncio.sleep(0)
    mark()
    rig.server.receive(rig.client.wire.take())
    for _ in turns:
        await rig.receiver.recv()


STEPS: dict[str, Step] = {"parse": _parse, "deliver": _deliver, "recv": _recv, "send": _send}


async def _play(step: Step, rounds: int, mark: Mark) -> None:
    async with _Rig() as rig:
        await step(rig, lambda: None)  # what is done once only, is done
        for _ in range(rounds):
            await step(rig, mark)
            await rig.turns()


@dataclass(frozen=True)
class Cost:
    """Of one step for one message."""

    nanoseconds: float
    instructions: float | None  # None: there is no valgrind


def measure() -> dict[str, Cost]:
    """All steps. Takes about a second, and half a minute where valgrind counts.

    Raises:
        OSError: valgrind failed.
    """
    counts = instructions() if shutil.which("valgrind") else {}
    return {name: Cost(_nanoseconds(step), counts.get(name)) for name, step in STEPS.items()}


def _nanoseconds(step: Step) -> float:
    times: list[int] = []
    asyncio.run(_play(step, ROUNDS, lambda: times.append(perf_counter_ns())))
    return median(end - begin for begin, end in zip(times[::2], times[1::2], strict=True)) / TOGETHER


def instructions() -> dict[str, float]:
    """Instructions per message of each step, counted by valgrind in a process of its own.

    Raises:
        OSError: it failed; or there is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "counts")
        # A call of getppid() is a mark: callgrind writes what was counted since the mark before.
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--dump-before=getppid"]
        done = subprocess.run(
            [*tool, sys.executable, "-m", "muxtcp.bench.micro"],
            env={**os.environ, "PYTHONHASHSEED": "0"},  # tables of strings are then laid out the same each time
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise OSError(f"valgrind ended with exit code {done.returncode}: {done.stderr.strip().splitlines()[-1]}")
        parts = [_total(Path(f"{out}.{number}")) for number in range(1, 2 * len(STEPS) * COUNTED_ROUNDS + 1)]
    inside = iter(parts[1::2])
    return {name: median(next(inside) for _ in range(COUNTED_ROUNDS)) / TOGETHER for name in STEPS}


def _total(part: Path) -> int:
    found = re.search(r"^totals: (\d+)", part.read_text(), re.MULTILINE)
    if not found:
        raise OSError(f"callgrind wrote no totals into {part}")
    return int(found[1])


def report() -> str:
    """The table that `--micro` prints."""
    costs = measure()
    lines = [f"one message of {len(MESSAGE)} B, {TOGETHER} together, {platform.python_version()}", ""]
    lines += [f"{'':<8}  {'ns':>6}  {'instructions':>12}"]
    for name, cost in costs.items():
        counted = "-" if cost.instructions is None else f"{cost.instructions:,.0f}"
        lines.append(f"{name:<8}  {cost.nanoseconds:>6.0f}  {counted:>12}")
    if any(cost.instructions is None for cost in costs.values()):
        lines.append("\nvalgrind, which would count instructions, is not installed")
    return "\n".join(lines)


if __name__ == "__main__":
    for counted in STEPS.values():
        asyncio.run(_play(counted, COUNTED_ROUNDS, os.getppid))
