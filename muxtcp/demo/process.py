"""The server as a child process: started, killed, started again on the same port, and never left behind."""

import asyncio
import contextlib
import sys

START = 10.0  # seconds to begin listening in
GRACE = 2.0  # seconds to end in when asked to


class ServerFailed(Exception):
    """The server process ended before it listened; it has said why on standard error."""


class ServerProcess:
    """`python -m muxtcp.demo server` in a child process, for the length of an `async with` block."""

    def __init__(self, host: str, port: int, web_port: int | None = None) -> None:
        self.host = host
        self.port = port  # 0 until the first start has found a free one
        self.web_port = web_port  # the same; None: no page
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> "ServerProcess":
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(GRACE):
                    await self._process.wait()
            except TimeoutError:
                await self.kill()

    async def start(self) -> None:
        """Start the server, and wait until it listens.

        Raises:
            ServerFailed: It ended instead.
            TimeoutError: It did neither in `START` seconds.
        """
        command = [sys.executable, "-m", "muxtcp.demo", "server", "--host", self.host, "--port", str(self.port)]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            *([] if self.web_port is None else ["--web", "--web-port", str(self.web_port)]),
            "--until-stdin-ends",  # so that it ends even if this process is killed
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the parent alone
        )
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START):
                line = await self._process.stdout.readline()  # "listening on tcp://127.0.0.1:7777"
        except TimeoutError:
            raise TimeoutError(f"the server process did not listen within {START:g} s") from None
        if not line:
            raise ServerFailed(f"the server ended with exit code {await self._process.wait()}")
        addresses = line.split()[2:]
        self.port = int(addresses[0].rpartition(b":")[2])
        if self.web_port is not None:
            self.web_port = int(addresses[-1].rstrip(b"/").rpartition(b":")[2])

    async def wait(self) -> None:
        """Wait until the process has ended."""
        assert self._process is not None
        await self._process.wait()

    async def kill(self) -> None:
        """SIGKILL: no goodbye, as in a crash."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
            self._process.kill()
        await self._process.wait()
