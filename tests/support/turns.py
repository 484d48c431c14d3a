"""What happens in which turn of the loop."""

import asyncio


class Clock:
    """Counts the turns of the loop, for as long as it is entered."""

    def __init__(self) -> None:
        self.turns = 0

    def tick(self) -> None:
        self.turns += 1
        self.handle = asyncio.get_running_loop().call_soon(self.tick)

    def __enter__(self) -> "Clock":
        self.tick()
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.cancel()
