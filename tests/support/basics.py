"""What users do in most tests: answer, and wait."""

import asyncio
from collections.abc import Callable

from muxtcp import Channel


async def echo(channel: Channel) -> None:
    """A handler that sends back what comes."""
    async for message in channel:
        await channel.send(message)


async def until(condition: Callable[[], object]) -> None:
    """Give the loop turns until it holds."""
    while not condition():
        await asyncio.sleep(0)
