"""What the suites share: two engines joined in memory, and a loop to run channels on."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from muxtcp._engine import Engine, Event, EventKind


class Engines:
    """A client's and a server's engine past the handshake; bytes go from one to the other when we say so.

    With `echo` the server sends every message back, and finishes what the client finishes.
    """

    def __init__(self, *, echo: bool = False, **options: Any) -> None:
        self.client = Engine(client=True, **options)
        self.server = Engine(client=False, **options)
        self.echo = echo
        self.server.receive_data(self.client.data_to_send(), 0.0)
        while event := self.server.next_event():
            assert event.kind == EventKind.HELLO, event
        self.server.accept()
        self.exchange()

    def exchange(self) -> int:
        """Carry everything to and fro until both are silent; every message is consumed. How many the client got."""
        received = 0
        while True:
            upward, downward = self.client.data_to_send(), self.server.data_to_send()
            if not upward and not downward:
                return received
            self.server.receive_data(upward, 0.0)
            while event := self.server.next_event():
                self.serve(event)
            self.client.receive_data(downward, 0.0)
            while event := self.client.next_event():
                match event.kind:
                    case EventKind.MESSAGE:
                        self.client.consume(event.channel, len(event.data))
                        received += 1
                    case EventKind.FINISHED:
                        self.client.release(event.channel)
                    case EventKind.CLOSED:
                        raise AssertionError(event)

    def serve(self, event: Event) -> None:
        """The server's side of one event."""
        match event.kind:
            case EventKind.MESSAGE:
                self.server.consume(event.channel, len(event.data))
                if self.echo:
                    self.server.send(event.channel, event.data)
            case EventKind.FINISHED if self.echo:
                self.server.finish(event.channel)
                self.server.release(event.channel)
            case EventKind.CLOSED:
                raise AssertionError(event)


@pytest.fixture
def connected() -> Callable[..., Engines]:
    """Makes two engines past the handshake: `connected(echo=..., **options)`."""
    return Engines


@pytest.fixture
def wide() -> dict[str, int]:
    """Options of engines that never wait for credit."""
    return {"channel_window": 1 << 28, "session_window": 1 << 28, "memory_limit": 1 << 29, "send_buffer": 1 << 28}


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner
