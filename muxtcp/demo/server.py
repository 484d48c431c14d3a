"""The demo's server: whoever opens a channel named after a feed gets the feed's random numbers on it."""

import asyncio
import itertools
import random
import time

import muxtcp

from .feeds import FEEDS, Feed, Sample, encode


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


async def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C; the first line on standard output says where.

    Raises:
        OSError: The address cannot be used; the text names it.
    """
    # The feeds never end, so an end in good order has nothing to wait for.
    async with muxtcp.serve(handler, host, port, signals=True, drain_timeout=0.1) as server:
        print("listening on", *server.addresses, flush=True)
        await server.wait_closed()
