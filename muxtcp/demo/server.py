"""The demo's server: whoever opens a channel named after a feed gets the feed's random numbers on it."""

import asyncio
import itertools
import json
import os
import random
import signal
import time
from pathlib import Path

import muxtcp

from .feeds import FEEDS, Feed, Sample, encode

PAGE = Path(__file__).parent / "page"


async def handler(channel: muxtcp.Channel) -> None:
    """Serve one channel; the library runs this once for each that a client opens."""
    feed = FEEDS.get(channel.name)
    if feed is None:
        await channel.refuse(muxtcp.Code.NOT_FOUND, f"no feed {channel.name!r}, only {', '.join(FEEDS)}")
    else:
        await publish(feed, channel)


async def publish(feed: Feed, channel: muxtcp.Channel) -> None:
    """Send a sample at once and then more in the feed's rhythm, until the client or the session is gone."""
    dice = random.Random()
    loop = asyncio.get_running_loop()
    reading, due = dice.uniform(20, 80), loop.time()
    for number, delay in enumerate(itertools.chain([0.0], feed.rhythm(dice))):
        due = max(due + delay, loop.time())  # a client that was slow gets no burst of what it missed
        await asyncio.sleep(due - loop.time())
        reading = min(max(reading + dice.gauss(0, 2), 0), 100)
        await channel.send(encode(Sample(number, time.time(), reading), dice.randint(*feed.size)))


async def page_handler(channel: muxtcp.Channel) -> None:
    """The same for the page, which asks what feeds there are, and may ask for a crash."""
    match channel.name:
        case "feeds":
            feeds = [{"name": feed.name, "priority": feed.priority} for feed in FEEDS.values()]
            await channel.send(json.dumps(feeds).encode())
        case "control" if await channel.recv() == b'"kill"':
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            await handler(channel)


async def serve(host: str, port: int, web_port: int | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C; the first line on standard output says where.

    Args:
        host: Where to listen.
        port: The same.
        web_port: Of the page; None: there is none.

    Raises:
        OSError: The address cannot be used; the text names it.
    """
    if web_port is not None:
        await _serve_page(host, port, web_port)
        return
    # The feeds never end, so an end in good order has nothing to wait for.
    async with muxtcp.serve(handler, host, port, signals=True, drain_timeout=0.1) as server:
        print("listening on", *server.addresses, flush=True)
        await server.wait_closed()


async def _serve_page(host: str, port: int, web_port: int) -> None:
    from muxtcp import web  # what it needs is an extra

    folders = {"/": PAGE, "/muxtcp/": web.STATIC}
    async with (
        muxtcp.serve(page_handler, host, port, signals=True, drain_timeout=0.1) as server,
        web.serve_web(server, host, web_port, static=folders) as site,
    ):
        print("listening on", *server.addresses, f"http://{host}:{site.port}/", flush=True)
        await server.wait_closed()
