"""The `muxtcp` command as a process of its own: what it says, and how it ends."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

BOUND = 30  # seconds that a program may take


class Command:
    """A command that runs; what it has said so far."""

    def __init__(self, *arguments: str, token: str = "", **streams: Any) -> None:
        environment = {**os.environ, "MUXTCP_TOKEN": token, "PYTHONUNBUFFERED": "1"}
        program = [sys.executable, "-m", "muxtcp", *arguments]
        streams = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, **streams}
        self.process = subprocess.Popen(program, text=True, env=environment, **streams)
        self.said = ""

    def until(self, pattern: str) -> str:
        """Wait until this was said; what its first group is."""
        assert self.process.stderr is not None
        while (match := re.search(pattern, self.said)) is None:
            line = self.process.stderr.readline()
            assert line, f"{pattern!r} was not said:\n{self.said}"
            self.said += line
        return match[1] if match.groups() else match[0]

    def end(self, *signals: signal.Signals) -> int:
        """Send signals; the exit code."""
        for number in signals:
            self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=BOUND)
        self.said += rest
        return self.process.returncode


@contextlib.contextmanager
def command(*arguments: str, token: str = "", **streams: Any) -> Iterator[Command]:
    """One that is ended with the block; `streams` as `subprocess.Popen` takes them."""
    running = Command(*arguments, token=token, **streams)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()
