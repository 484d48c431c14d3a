"""The demo's client: one session at a time, nine channels in each, for as long as it is let.

A session survives a broken connection; a killed server takes it along, and a new one begins.
"""

import asyncio
import socket
import time

import muxtcp

from .board import Board
from .feeds import FEEDS, Feed, decode

RESUME = 30.0  # seconds that a session may be without a connection


async def follow(board: Board, host: str, port: int, break_every: float | None = None) -> None:
    """Read all feeds and note them on the board; whenever the session is lost, begin another.

    Args:
        board: What is told.
        host: Of the server.
        port: Of the server.
        break_every: Seconds after which the connection is cut, again and again.

    Raises:
        OSError: The host is unknown.
        ChannelRefused: The server is none of this demo.
    """

    def retry(error: Exception) -> bool:
        """An unknown host is a slip of the pen at first, and bad weather once it has been known."""
        unknown = isinstance(error, socket.gaierror) and not board.sessions
        return muxtcp.worth_retrying(error) and not unknown

    backoff = muxtcp.exponential(0.1, 1.0)
    connector = muxtcp.connect(
        host, port, resume=RESUME, backoff=backoff, healthy_after=1.0, retry=retry, on_state=board.on_state
    )
    try:
        async for session in connector:
            try:
                async with asyncio.TaskGroup() as tasks:
                    for feed in FEEDS.values():
                        tasks.create_task(read(session, feed, board))
                    if break_every is not None:
                        tasks.create_task(keep_breaking(session, break_every))
            except* (muxtcp.SessionLost, muxtcp.SessionClosed):
                pass  # the board has heard of it from the connector, which goes on
    finally:
        connector.stop()  # also a resumption that is under way: whoever gives up following waits for none


async def keep_breaking(session: muxtcp.Session, every: float) -> None:
    """Cut the connection again and again, as a cable that is pulled out would."""
    while True:
        await asyncio.sleep(every)
        if session.transport is not None:
            session.transport.abort()


async def read(session: muxtcp.Session, feed: Feed, board: Board) -> None:
    """Open the feed's channel and note each message."""
    async with session.open(feed.name, mode="r", priority=feed.priority) as channel:
        async for message in channel:
            board.add(feed.name, decode(message), len(message), time.time())
