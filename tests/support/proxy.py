"""A TCP proxy that does on command what networks do at the worst moment.

In a test it is a process of its own, so that it also works while the loop of the test is busy or its peers are stopped:

    with ProxyProcess(server_port) as proxy:
        async with connect("127.0.0.1", proxy.port, resume=30.0) as session:
            proxy.cut(after=1_000, direction="to_server")

By hand it takes one command a line, and answers each with a line:

    $ python tests/support/proxy.py 7777 --listen 7778
    listening on 7778
    cut how=fin
    ok
"""

import argparse
import asyncio
import contextlib
import inspect
import socket
import struct
import subprocess
import sys
from collections import deque
from types import TracebackType
from typing import Any, Self

PIECE = 65_536  # bytes moved at once
PIECES = 64  # on their way in one direction while `delay` holds them
DIRECTIONS = ("to_server", "to_client")
HERE = "127.0.0.1"

Piece = tuple[float, bytes]  # when it is due, and what it is; b"" for the end


class Lane:
    """One direction of a connection: what `source` says goes to `target`, or nowhere when that is None."""

    def __init__(self, connection: "Connection", source: socket.socket, target: socket.socket) -> None:
        self.connection = connection
        self.source = source
        self.target: socket.socket | None = target
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.passed = 0  # bytes
        self.cut_at: int | None = None
        self.cut_how = ""
        self._pieces: asyncio.Queue[Piece] = asyncio.Queue(PIECES)

    async def take(self) -> None:
        """Read from the source until it ends."""
        loop = asyncio.get_running_loop()
        data = b" "
        while data:
            await self.flowing.wait()
            data = await loop.sock_recv(self.source, PIECE)
            await self._pieces.put((loop.time() + self.connection.proxy.seconds, data))

    async def give(self) -> None:
        """Write to the target, up to the byte at which the connection is to be cut."""
        loop = asyncio.get_running_loop()
        while True:
            due, data = await self._pieces.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            await self.flowing.wait()
            if not data:
                self.half_close()
                return
            if self.cut_at is not None:
                data = data[: max(0, self.cut_at - self.passed)]
            if self.target is not None:
                await loop.sock_sendall(self.target, data)
            self.passed += len(data)
            if self.cut_at is not None and self.passed >= self.cut_at:
                self.connection.cut(self.cut_how)
                return

    def half_close(self) -> None:
        """The target hears an end; what comes later is for nobody."""
        if self.target is not None:
            with contextlib.suppress(OSError):  # it has left already
                self.target.shutdown(socket.SHUT_WR)
        self.target = None


class Connection:
    """A client and the server, and the two lanes between them."""

    def __init__(self, proxy: "Proxy", client: socket.socket, server: socket.socket) -> None:
        self.proxy = proxy
        self.sockets = {"client": client, "server": server}
        self.lanes = {"to_server": Lane(self, client, server), "to_client": Lane(self, server, client)}
        self._tasks: list[asyncio.Task[None]] = []
        self._gone = ""  # the side that was reset alone, and the socket of the other
        self._left: socket.socket | None = None

    async def run(self) -> None:
        """Move bytes until both lanes have ended, or something ends them."""
        try:
            await self._move()
            if self._left is not None:
                while await asyncio.get_running_loop().sock_recv(self._left, PIECE):
                    pass
        except OSError:  # one side reset: so does the other
            self._reset_when_closed(*self.sockets)
        finally:
            for sock in self.sockets.values():
                sock.close()

    async def _move(self) -> None:
        for lane in self.lanes.values():
            self._tasks += [asyncio.create_task(lane.take()), asyncio.create_task(lane.give())]
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        failures = [task.exception() for task in self._tasks if task.done() and not task.cancelled()]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)  # only now nobody waits for the sockets
        if self._left is not None:
            self.sockets[self._gone].close()
        for failure in filter(None, failures):
            raise failure

    def cut(self, how: str) -> None:
        if how == "rst":
            self._reset_when_closed(*self.sockets)
            for task in self._tasks:
                task.cancel()
        else:  # both hear an end; what they still say is read, or closing would reset them
            for lane in self.lanes.values():
                lane.half_close()

    def reset(self, side: str) -> None:
        """One side's connection is reset; what the other says is read, and goes nowhere."""
        self._reset_when_closed(side)
        self._gone = side
        self._left = self.sockets["server" if side == "client" else "client"]
        for task in self._tasks:
            task.cancel()

    def _reset_when_closed(self, *sides: str) -> None:
        for side in sides:
            if self.sockets[side].fileno() >= 0:
                self.sockets[side].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Proxy:
    """Listens, and connects whoever comes with the server. Its commands are the public methods below the line.

    `which` is the place of a connection among those that are up, in the order in which they came; -1 the newest, None
    all of them, where that makes sense.
    """

    def __init__(self, server_port: int, port: int = 0, host: str = HERE) -> None:
        self._server = (host, server_port)
        self._place = (host, port)
        self._listener: socket.socket | None = None
        self._listening: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._connections: list[Connection] = []
        self._cuts: deque[tuple[str, int, str]] = deque()  # of connections that will come
        self.seconds = 0.0  # for which each piece is held
        self.accept()

    @property
    def port(self) -> int:
        return int(self._place[1])

    async def _listen(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            task = loop.create_task(self._carry(client))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _carry(self, client: socket.socket) -> None:
        server = socket.socket()
        for sock in client, server:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().sock_connect(server, self._server)
        except OSError:  # nobody there: the client is turned away, too
            client.close()
            server.close()
            return
        connection = Connection(self, client, server)
        self._connections.append(connection)
        if self._cuts:
            how, after, direction = self._cuts.popleft()
            lane = connection.lanes[direction]
            lane.cut_at, lane.cut_how = after, how
        try:
            await connection.run()
        finally:
            self._connections.remove(connection)

    def _lanes(self, which: int | None, direction: str | None) -> list[Lane]:
        if direction not in (None, *DIRECTIONS):
            raise ValueError(f"direction is {direction!r}, not one of {', '.join(DIRECTIONS)}")
        connections = self._connections if which is None else [self._connections[which]]
        directions = DIRECTIONS if direction is None else [direction]
        return [connection.lanes[name] for connection in connections for name in directions]

    # --- commands -----------------------------------------------------------------------------------------------------

    def cut(self, how: str = "rst", after: int = 0, direction: str = "to_server", which: int = -1) -> None:
        """End a connection on both sides, by "rst" or "fin": now, or when `after` more bytes went in a direction."""
        if how not in ("rst", "fin"):
            raise ValueError(f"how is {how!r}, not rst or fin")
        (lane,) = self._lanes(which, direction)
        if after:
            lane.cut_at, lane.cut_how = lane.passed + after, how
        else:
            lane.connection.cut(how)

    def cut_next(self, how: str = "rst", after: int = 1, direction: str = "to_server") -> None:
        """The same with the next connection, `after` bytes from its beginning; said twice, with the one after it."""
        self._cuts.append((how, after, direction))

    def reset(self, side: str = "client", which: int = -1) -> None:
        """Reset the "client" or the "server"; the other hears nothing, for ever."""
        self._connections[which].reset(side)

    def half_close(self, direction: str = "to_server", which: int = -1) -> None:
        """Tell one side that the other has finished; the other direction goes on."""
        for lane in self._lanes(which, direction):
            lane.half_close()

    def stall(self, direction: str | None = None, which: int = -1) -> None:
        """Nothing more arrives, not even an end; without a direction in both."""
        for lane in self._lanes(which, direction):
            lane.flowing.clear()

    def resume(self, direction: str | None = None, which: int | None = -1) -> None:
        """What came meanwhile arrives."""
        for lane in self._lanes(which, direction):
            lane.flowing.set()

    def swap(self, which: int = -2, other: int = -1, direction: str = "to_client") -> None:
        """From now on bytes of each of two connections go to the other's client, or server."""
        (one,), (two,) = self._lanes(which, direction), self._lanes(other, direction)
        one.target, two.target = two.target, one.target

    def delay(self, seconds: float) -> None:
        """Each byte that comes from now on takes so long, in either direction."""
        self.seconds = seconds

    async def refuse(self) -> None:
        """Whoever connects is refused by the kernel; connections that are up go on."""
        if self._listening is not None and self._listener is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listener.close()
            self._listening = None

    def accept(self) -> None:
        """The end of `refuse`, on the same port."""
        if self._listening is None:
            self._listener = socket.create_server(self._place, backlog=1_024)
            self._listener.setblocking(False)
            self._place = self._listener.getsockname()
            self._listening = asyncio.get_running_loop().create_task(self._listen(self._listener))

    def count(self) -> int:
        """How many connections are up."""
        return len(self._connections)


COMMANDS = {
    name: member for name, member in vars(Proxy).items() if inspect.isfunction(member) and not name.startswith("_")
}


async def obey(proxy: Proxy, line: str) -> str:
    """Run one command, "cut how=fin after=100"; what to answer."""
    name, *arguments = line.split()
    try:
        keywords = {key: _value(value) for key, _, value in (argument.partition("=") for argument in arguments)}
        result = COMMANDS[name](proxy, **keywords)
        if inspect.isawaitable(result):
            result = await result
    except (KeyError, IndexError, TypeError, ValueError) as error:
        return f"error: {type(error).__name__}: {error}"
    return "ok" if result is None else str(result)


def _value(text: str) -> Any:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return None if text == "None" else text


class ProxyProcess:
    """The proxy as a child process, for the length of a `with` block; its commands are methods, with keywords alone.

    They return when the proxy has done it, within a millisecond or so. LookupError: there is no such connection.
    """

    def __init__(self, server_port: int, *prefix: str) -> None:
        command = [*prefix, sys.executable, __file__, str(server_port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.port = int(self._read().rpartition(" ")[2])

    def __getattr__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise AttributeError(name)
        return lambda **keywords: self._ask(" ".join([name, *(f"{key}={value}" for key, value in keywords.items())]))

    def _ask(self, command: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        answer = self._read()
        if answer.startswith("error"):
            raise (LookupError if "IndexError" in answer else RuntimeError)(f"{command}: {answer}")
        return answer

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the proxy ended with {self._process.wait()}")
        return line.strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate()  # it ends with its input


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("server_port", type=int)
    parser.add_argument("--listen", type=int, default=0, metavar="PORT", help="0: the system chooses")
    options = parser.parse_args()
    proxy = Proxy(options.server_port, options.listen)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    print("listening on", proxy.port, flush=True)
    while line := (await lines.readline()).decode().strip():
        print(await obey(proxy, line), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
