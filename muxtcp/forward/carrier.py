"""Carrier: what all carried connections of one process share, and the two ways in which one comes to be."""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, NamedTuple

from muxtcp import Channel, MuxError
from muxtcp.isolation import Sparing
from muxtcp.sockets import Address, dial, listen

from .endpoints import EVERYWHERE, Endpoint
from .faults import Fault
from .local import Arrived, LocalEnd, ignore, reset_when_closed
from .traffic import Traffic

READ = 65_536  # bytes that are read at once, and so the largest message
BACKLOG = 4_096  # connections that the kernel keeps until they are accepted

logger = logging.getLogger(__name__)
sparing = Sparing(__name__)

Open = Callable[[str], Awaitable[Channel]]  # for a connection from the peer of this name
Accepts = Callable[[], asyncio.BaseProtocol]


class Carrier:
    """Accepts and dials connections, and carries each in a channel, in a task that it keeps.

    Args:
        max_connections: that may be open at once; further ones are reset.
        dial_timeout: seconds in which a target has to answer.
    """

    def __init__(self, max_connections: int = 2_048, dial_timeout: float = 10.0) -> None:
        self.max_connections = max_connections
        self._dial_timeout = dial_timeout
        self._buffer = memoryview(bytearray(READ))
        self._tasks: set[asyncio.Task[None]] = set()
        self.open = 0

    def end(self, traffic: Traffic, arrived: Arrived = ignore, early: bytes = b"") -> LocalEnd:
        """A protocol for one connection."""
        return LocalEnd(self._buffer, traffic, arrived, early)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in a task that `finished()` waits for and `abort()` ends.

        What serves a channel is none of its session's handlers, which are cancelled with it: the last of what a client
        said may still be on its way to the target when that client has said goodbye.
        """
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finished(self) -> None:
        """Wait until every connection is over."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def abort(self) -> None:
        """Reset what is still open."""
        for task in self._tasks:
            task.cancel()
        await self.finished()

    # A connection that comes in

    def accepts(self, traffic: Traffic, open_channel: Open) -> Callable[[], LocalEnd]:
        """A protocol factory for a listener: what comes in is carried in a channel from `open_channel`."""

        def arrived(end: LocalEnd) -> None:
            self.spawn(self.carry_accepted(end, open_channel))

        return lambda: self.end(traffic, arrived)

    async def carry_accepted(self, end: LocalEnd, channel: Channel | Open) -> None:
        """Carry a connection in a channel, or in one that is opened for it; reset it if that cannot be."""
        traffic, peer = end.traffic, name_of(end.transport)
        if not self._enter(traffic):
            end.reset()
            if isinstance(channel, Channel):
                await channel.reset()
            return
        try:
            channel = channel if isinstance(channel, Channel) else await channel(peer)
        except (MuxError, OSError) as error:
            end.reset()
            self._leave(traffic, peer, error)
        except BaseException:
            end.reset()
            self._leave(traffic, peer, None)
            raise
        else:
            await self._carry(end, channel, peer)

    async def listen(self, place: Endpoint, accepts: Accepts) -> "Listening":
        """Listen at a place, on every address behind it.

        Raises:
            OSError: it cannot be listened on; the text names it.
        """
        loop = asyncio.get_running_loop()
        if place.path:
            _check_unserved(place.path)
            address = Address(path=place.path)
        else:
            address = Address("" if place.host == EVERYWHERE else place.host, place.port)
        listening = Listening([], await listen(address, backlog=BACKLOG))
        create = loop.create_unix_server if place.path else loop.create_server
        for sock in listening.sockets:
            listening.servers.append(await create(accepts, sock=sock, backlog=BACKLOG))  # else it becomes 100 again
        return listening

    # A connection that goes out

    async def dial(self, channel: Channel, places: Iterable[Endpoint], traffic: Traffic, asked_by: str) -> None:
        """Connect a channel of the peer's with the first of the places that answers; reset it if none does."""
        if not self._enter(traffic):
            await channel.reset(Fault.FAILED, f"{self.open:,} connections are open, the most that are allowed")
            return
        try:
            end = await self._dialled(places, traffic)
        except OSError as error:
            await channel.reset(Fault.of(error), str(Told(error)))
            self._leave(traffic, asked_by, error)
        except BaseException:
            self._leave(traffic, asked_by, None)
            raise
        else:
            await self._carry(end, channel, asked_by, confirm=True)

    async def _dialled(self, places: Iterable[Endpoint], traffic: Traffic) -> LocalEnd:
        failure: OSError | None = None
        for place in places:
            address = Address(path=place.path) if place.path else Address(place.host, place.port)
            try:
                async with asyncio.timeout(self._dial_timeout) as limit:
                    return await self._attached(await dial(address), traffic)
            except TimeoutError as error:
                reason = f"cannot connect to {place}: no answer within {self._dial_timeout:g} s"
                failure = TimeoutError(reason) if limit.expired() else error
            except OSError as error:
                failure = error
        assert failure is not None
        raise failure

    async def _attached(self, sock: socket.socket, traffic: Traffic) -> LocalEnd:
        loop, end = asyncio.get_running_loop(), self.end(traffic)
        reset_when_closed(sock)
        create = loop.create_unix_connection if sock.family == socket.AF_UNIX else loop.create_connection
        try:
            await create(lambda: end, sock=sock)
        except BaseException:
            sock.close()
            raise
        return end

    # Both

    async def _carry(self, end: LocalEnd, channel: Channel, peer: str, *, confirm: bool = False) -> None:
        failure: Exception | None = None
        logger.debug("%s, %s: open, in channel %d", peer, end.traffic.name, channel.id)
        try:
            if confirm and not channel.closed:
                await channel.send(b"")  # it is connected: whoever opened it may wait for that
            failure = await end.carry(channel)
        except MuxError as error:
            failure = error
        finally:
            end.reset()
            self._leave(end.traffic, peer, failure)

    def _enter(self, traffic: Traffic) -> bool:
        """Count one more connection, unless there are too many."""
        if self.open >= self.max_connections:
            traffic.failed += 1
            sparing.warning("a connection is turned away: %s are open, the most that are allowed", f"{self.open:,}")
            return False
        traffic.opened += 1
        traffic.open += 1
        self.open += 1
        return True

    def _leave(self, traffic: Traffic, peer: str, failure: Exception | None) -> None:
        traffic.open -= 1
        self.open -= 1
        if failure is None:
            logger.debug("%s, %s: over", peer, traffic.name)
            return
        traffic.failed += 1
        # With the name as part of the message, each target's failures are a cause of their own.
        sparing.info(f"%s, {traffic.name.replace('%', '%%')}: %s", peer, Told(failure))


class Listening(NamedTuple):
    """What listens at one place."""

    servers: list[asyncio.AbstractServer]
    sockets: list[socket.socket]

    def __str__(self) -> str:
        """Where, as people write it."""
        names = [sock.getsockname() for sock in self.sockets]
        return " and ".join(name if isinstance(name, str) else str(Endpoint(*name[:2])) for name in names)

    def close(self) -> None:
        """Accept nothing more."""
        for server in self.servers:
            server.close()
        for sock in self.sockets:  # uvloop closes the descriptor alone, which leaves the file of a Unix socket
            sock.close()


class Told(Exception):
    """An error in the words that are of use here: what the other side or the system said, without numbers."""

    def __str__(self) -> str:
        [error] = self.args
        said = getattr(error, "strerror" if isinstance(error, OSError) else "reason", "")
        return said or str(error)


def name_of(transport: asyncio.Transport) -> str:
    """Who is at the other end of a connection that came in."""
    place = transport.get_extra_info("peername")
    return str(Endpoint(*place[:2])) if isinstance(place, tuple) else "a local process"


def _check_unserved(path: str) -> None:
    """The file of a socket that nobody serves is an earlier run's, and is replaced; one that is served is not."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(path)
        except OSError:
            return
    raise OSError(errno.EADDRINUSE, f"cannot listen on {path}: {os.strerror(errno.EADDRINUSE)}")
