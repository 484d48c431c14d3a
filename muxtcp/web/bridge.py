"""Bridge: the bytes of a WebSocket to a server elsewhere, and back, unchanged."""

import asyncio
import contextlib
from collections import Counter
from urllib.parse import unquote, urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK
from websockets.frames import CloseCode

from .pace import Pace

CONNECT = 10.0  # seconds
STALLED = 30.0  # seconds in which a client must have taken something; as `Config.write_timeout`
READ = 65_536  # bytes: so much of a session is on its way here, and a client that does not read holds up no more


class Bridge:
    """Connects each WebSocket with a connection of its own to one server.

    Args:
        address: "tcp://host:port", "tls://host:port" or "unix:///path".

    Raises:
        ValueError: the address is of another form.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        where = parts.path if parts.scheme == "unix" else parts.hostname and parts.port
        if parts.scheme not in ("tcp", "tls", "unix") or not where:
            raise ValueError(f"bad address {address!r}: it is written tcp://host:port, tls://host:port or unix:///path")
        self._parts = parts

    async def run(self, connection: ServerConnection, counters: Counter[str], pace: Pace) -> None:
        """The life of one WebSocket; refusals are counted."""
        try:
            async with asyncio.timeout(CONNECT):
                reader, writer = await self._dial()
        except OSError as error:
            counters["unreachable"] += 1
            await connection.close(CloseCode.TRY_AGAIN_LATER, f"unreachable: {error}"[:120])
            return
        inwards = asyncio.create_task(_inwards(connection, writer, counters, pace))
        outwards = asyncio.create_task(_outwards(reader, connection, counters))
        try:
            await asyncio.wait([inwards, outwards], return_when=asyncio.FIRST_COMPLETED)
            await connection.close()
        finally:
            for task in (inwards, outwards):
                task.cancel()
            for result in await asyncio.gather(inwards, outwards, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, OSError | ConnectionClosed):
                    raise result
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = self._parts
        if parts.scheme == "unix":
            return await asyncio.open_unix_connection(unquote(parts.path), limit=READ)
        return await asyncio.open_connection(parts.hostname, parts.port, ssl=parts.scheme == "tls" or None, limit=READ)


async def _inwards(
    connection: ServerConnection, writer: asyncio.StreamWriter, counters: Counter[str], pace: Pace
) -> None:
    try:
        while True:
            message = await connection.recv()
            await pace.step()
            if isinstance(message, str):
                counters["text_message"] += 1
                await connection.close(CloseCode.UNSUPPORTED_DATA, "muxtcp is binary")
                return
            writer.write(message)
            await writer.drain()
    except ConnectionClosedOK:
        writer.write_eof()
    except ConnectionClosed as error:
        if error.sent is not None and error.sent.code == CloseCode.MESSAGE_TOO_BIG:
            counters["too_large"] += 1


async def _outwards(reader: asyncio.StreamReader, connection: ServerConnection, counters: Counter[str]) -> None:
    while data := await reader.read(READ):
        try:
            async with asyncio.timeout(STALLED):
                await connection.send(data)
        except TimeoutError:
            counters["slow_reader"] += 1
            connection.transport.abort()
            return
