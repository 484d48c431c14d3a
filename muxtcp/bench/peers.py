"""Contestants by others: programs in any language that keep to the contract of `bench/README.md`.

A folder of peers has a `peers.toml`: one table for each, with

    label         what the report calls it
    command       the words of its command line: one with a slash is a path in the folder, `python` is this interpreter
    distribution  the Python package whose version it is; any other program is asked with `--version`
    plays         which of `flood`, `echo`, `opens` and `idle` it has
    channels      false: it has one channel only; true unless given
    reference     true: no peer, but something to compare peers with; false unless given
    install       the command that installs it
"""

import asyncio
import json
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .stage import Contestant

PATIENCE = 20.0  # seconds in which a program says which version it is


@dataclass(frozen=True, kw_only=True)
class Play:
    """What a peer is asked to do: `flood`, `echo`, `opens` or `idle`, with messages of `size` on `channels`."""

    name: str
    size: int = 64
    channels: int = 1


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A program of somebody else's library, that is there or not."""

    id: str
    label: str
    program: tuple[str, ...]
    plays: tuple[str, ...]
    channels: bool
    reference: bool  # not a peer but a floor: raw sockets
    install: str
    distribution: str = ""
    version: str = ""

    def can(self, play: Play) -> bool:
        """Whether it has this play."""
        return play.name in self.plays and (self.channels or play.channels == 1)


@dataclass(frozen=True, kw_only=True)
class Performance(Contestant):
    """A peer in a play."""

    peer: Peer
    task: Play

    @property
    def label(self) -> str:
        """The peer's."""
        return self.peer.label

    @property
    def command(self) -> list[str]:
        """The peer's program."""
        return list(self.peer.program)

    @property
    def play(self) -> str:
        """By its name."""
        return self.task.name

    @property
    def arguments(self) -> dict[str, Any]:
        """What every play has."""
        return {"size": self.task.size, "channels": self.task.channels}


def home() -> Path | None:
    """The folder of peers of the repository that this package is in, or that one is working in; None elsewhere."""
    repositories = Path(__file__).parents[2], Path.cwd()
    return next((folder for root in repositories if (folder := root / "bench" / "peers").is_dir()), None)


def known(folder: Path) -> list[Peer]:
    """The peers that the folder describes.

    Raises:
        OSError: there is no readable `peers.toml`.
        ValueError: it is not as it should be.
    """
    path = folder / "peers.toml"
    try:
        return [_peer(folder, name, table) for name, table in tomllib.loads(path.read_text()).items()]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: {error!r}") from None


def _peer(folder: Path, name: str, table: dict[str, Any]) -> Peer:
    words = [str(folder / word) if "/" in word else word for word in table["command"]]
    return Peer(
        id=name,
        label=table["label"],
        program=tuple(sys.executable if word == "python" else word for word in words),
        plays=tuple(table["plays"]),
        channels=table.get("channels", True),
        reference=table.get("reference", False),
        install=table["install"],
        distribution=table.get("distribution", ""),
    )


def choose(peers: Sequence[Peer], names: Sequence[str]) -> list[Peer]:
    """Those of the peers that are named.

    Raises:
        ValueError: a name is not known.
    """
    unknown = set(names) - {peer.id for peer in peers}
    if unknown:
        listing = ", ".join(peer.id for peer in peers)
        raise ValueError(f"no peer is called {' or '.join(sorted(unknown))}; there are {listing}")
    return [peer for peer in peers if peer.id in names]


async def installed(peers: Sequence[Peer]) -> tuple[list[Peer], list[str]]:
    """The peers that are there, with their versions; and for each of the others a line that says why it is not."""
    found, missing = [], []
    for peer, answer in zip(peers, await asyncio.gather(*map(_ask, peers)), strict=True):
        if "version" in answer:
            found.append(replace(peer, version=str(answer["version"])))
        else:
            missing.append(f"without {peer.label}: {answer['missing']} (install it with: {peer.install})")
    return found, missing


async def _ask(peer: Peer) -> dict[str, str]:
    """The version of its distribution, or what the program says to `--version`; or what is missing."""
    if peer.distribution:
        try:
            return {"version": version(peer.distribution)}
        except PackageNotFoundError:
            return {"missing": f"{peer.distribution} is not installed"}
    try:
        process = await asyncio.create_subprocess_exec(
            *peer.program,
            "--version",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        return {"missing": f"{peer.program[0]}: {error.strerror}"}
    try:
        async with asyncio.timeout(PATIENCE):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return {"missing": f"its program does not say its version within {PATIENCE:g} s"}
    try:
        answer = json.loads(output)
    except json.JSONDecodeError:
        return {"missing": f"its program ended with exit code {process.returncode}"}
    return answer if isinstance(answer, dict) and answer.keys() & {"version", "missing"} else {"missing": str(answer)}
