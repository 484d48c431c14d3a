"""The demo's client: one session at a time, nine channels in each, for as long as it is let."""

import asyncio
import socket
import time

import muxtcp

from .board import Board
from .feeds import FEEDS, Feed, decode


async def follow(board: Board, host: str, port: int) -> None:
    """Read all feeds and note them on the board; whenever the connection is lost, connect again.

    Raises:
        OSError: The host is unknown.
        ChannelRefused: The server is none of this demo.
    """

    def retry(error: Exception) -> bool:
        """An unknown host is a slip of the pen at first, and bad weather once it has been known."""
        unknown = isinstance(error, socket.gaierror) and not board.sessions
        return muxtcp.worth_retrying(error) and not unknown

    backoff = muxtcp.exponential(0.1, 1.0)
    async for session in muxtcp.connect(
        host, port, backoff=backoff, healthy_after=1.0, retry=retry, on_state=board.on_state
    ):
        try:
            async with asyncio.TaskGroup() as readers:
                for feed in FEEDS.values():
                    readers.create_task(read(session, feed, board))
        except* (muxtcp.SessionLost, muxtcp.SessionClosed):
            pass  # the board has heard of it from the connector, which goes on


async def read(session: muxtcp.Session, feed: Feed, board: Board) -> None:
    """Open the feed's channel and note each message."""
    async with session.open(feed.name, mode="r", priority=feed.priority) as channel:
        async for message in channel:
            board.add(feed.name, decode(message), len(message), time.time())
