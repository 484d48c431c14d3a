"""Link: two protocols joined in memory, and what can go wrong between them."""

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Literal

from ._memory import Pipe, Protocol, Traffic, Transport

Direction = Literal["to_server", "to_client"]


class Link:
    """A connection in memory between two asyncio protocols, with faults.

    Both protocols (`BufferedProtocol` or `Protocol`) get a transport that keeps asyncio's contract: water marks,
    reading that pauses, half-close, and `connection_lost` exactly once. Where loops differ it takes the harsher side:
    it keeps a view of what is written instead of a copy, and `write()` after `connection_lost` raises `RuntimeError`.
    One turn of the loop makes at most one delivery per direction.

    A side that closes with unread bytes before it, or that is sent more after it closed, answers as TCP does: the other
    side loses the connection with `ConnectionResetError`, and what was still on the way to it is gone.

    Args:
        client: The protocol at the client's end.
        server: The protocol at the server's end.
        latency: Seconds that each byte travels.
        bandwidth: Bytes per second, in each direction; None: as fast as the loop turns.
        chunk: The most bytes of one delivery. 1 is byte by byte; "random" is 1 byte to 64 KiB, drawn from `seed`; None
            fills the receiver's buffer.
        socket_buffer: Bytes that may be on the way in each direction before the sender's write buffer begins to fill.
        seed: What "random" is drawn from; the same seed gives the same sizes.

    Raises:
        ValueError: Options are out of range; the message lists all of them.
        RuntimeError: No event loop is running.
    """

    def __init__(
        self,
        client: Protocol,
        server: Protocol,
        *,
        latency: float = 0.0,
        bandwidth: float | None = None,
        chunk: int | Literal["random"] | None = None,
        socket_buffer: int = 262_144,
        seed: int = 0,
    ) -> None:
        _check_options(latency, bandwidth, chunk, socket_buffer)
        loop = asyncio.get_running_loop()

        def pipe(direction: Direction) -> Pipe:
            return Pipe(loop, latency, bandwidth, _chunk_sizes(chunk, f"{seed} {direction}"), socket_buffer, self.cut)

        to_server, to_client = pipe("to_server"), pipe("to_client")
        self._pipes: dict[Direction, Pipe] = {"to_server": to_server, "to_client": to_client}
        addresses = ("memory", 1), ("memory", 2)
        self._transports = (
            Transport(loop, client, incoming=to_client, outgoing=to_server, addresses=addresses),
            Transport(loop, server, incoming=to_server, outgoing=to_client, addresses=addresses[::-1]),
        )
        for protocol, transport in zip((client, server), self._transports, strict=True):
            loop.call_soon(protocol.connection_made, transport)

    def cut(self) -> None:
        """Break the connection now.

        Both protocols get `connection_lost(ConnectionResetError)`; what was on the way is gone.
        """
        for transport in self._transports:
            transport.lose(ConnectionResetError("the link was cut"))

    def cut_after(self, size: int, direction: Direction) -> None:
        """Break the connection once exactly `size` more bytes have been delivered in `direction`.

        Raises:
            ValueError: `size` is below 1; `cut()` breaks the connection before the next byte.
        """
        if size < 1:
            raise ValueError(f"cut_after() needs at least 1 byte, not {size:,}")
        self._pipe(direction).cut_in = size

    def stall(self, direction: Direction | None = None) -> None:
        """Deliver nothing more in `direction` (None: in both), not even an end, until `resume()`.

        This is a network that went silent. Senders notice only that their buffers fill.
        """
        for pipe in self._chosen(direction):
            pipe.stalled = True

    def resume(self, direction: Direction | None = None) -> None:
        """End a stall; what arrived meanwhile is delivered now."""
        for pipe in self._chosen(direction):
            pipe.stalled = False
            pipe.wake()

    def half_close(self, direction: Direction) -> None:
        """End `direction` behind its sender's back; the other direction goes on.

        The receiver sees the end of the stream after what was written so far. What is written later vanishes.
        """
        self._pipe(direction).end()

    def traffic(self, direction: Direction) -> Traffic:
        """How many bytes were written, delivered, and are on the way in `direction`."""
        return self._pipe(direction).traffic()

    def _pipe(self, direction: Direction) -> Pipe:
        if direction not in self._pipes:
            raise ValueError(f"direction must be 'to_server' or 'to_client', not {direction!r}")
        return self._pipes[direction]

    def _chosen(self, direction: Direction | None) -> Iterable[Pipe]:
        return self._pipes.values() if direction is None else [self._pipe(direction)]


def _check_options(latency: float, bandwidth: float | None, chunk: int | str | None, socket_buffer: int) -> None:
    findings = []
    if not 0 <= latency < float("inf"):
        findings.append(f"latency must be 0 or more seconds, not {latency}")
    if bandwidth is not None and not bandwidth > 0:
        findings.append(f"bandwidth must be above 0 bytes per second, not {bandwidth}")
    if chunk not in (None, "random") and (isinstance(chunk, str) or chunk < 1):
        findings.append(f"chunk must be at least 1 byte, 'random' or None, not {chunk!r}")
    if socket_buffer < 1:
        findings.append(f"socket_buffer must be at least 1 byte, not {socket_buffer:,}")
    if findings:
        raise ValueError("; ".join(findings))


def _chunk_sizes(chunk: int | Literal["random"] | None, seed: str) -> Callable[[], int | None]:
    """What to ask before each delivery for the most bytes it may have; None: no limit."""
    if chunk == "random":
        dice = random.Random(seed)
        return lambda: int(2 ** dice.uniform(0, 16))  # every order of magnitude is as likely
    return lambda: chunk
