"""The event loops by name, for programs that are run by hand or as a process of their own."""

import asyncio

NAMES = ["asyncio", "uvloop"]


def runner(name: str) -> asyncio.Runner:
    """An `asyncio.Runner` on the loop of this name."""
    if name == "asyncio":
        return asyncio.Runner()
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
