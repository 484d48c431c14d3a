"""Where a transport over a channel differs from one over a socket, and why. `docs/adapters.md` tells users the same."""

from typing import Any, NamedTuple

ALL_LOOPS = ("asyncio", "asyncio-debug", "uvloop")


class Deviation(NamedTuple):
    """What is seen on each stage, on the loops where that differs; on the others there is no difference.

    Where sockets of one loop alone are different, a channel does as those of asyncio.
    """

    why: str
    socket: Any
    channel: Any
    loops: tuple[str, ...] = ALL_LOOPS


MADE, RESET = ("made",), ("lost", "ConnectionResetError")

DEVIATIONS = {
    "extra_info_socket": Deviation(
        why="the socket is the whole session's: an option that is set on it, or a shutdown(), would meet every channel",
        socket=True,
        channel=False,
    ),
    "a_connection_to_where_nobody_is": Deviation(
        why="an OPEN has no answer to wait for, which saves a round trip: a refusal is told when it comes",
        socket=("ConnectionRefusedError", []),
        channel=(None, [MADE, ("lost", "ConnectionRefusedError")]),
    ),
    "what_the_peer_of_an_abort_is_told": Deviation(
        why="abort() drops data: on a socket the peer may take what came for all there is, on a channel it never does",
        socket=([MADE, ("lost", "NoneType")], [MADE, ("data", b"data"), ("eof",), ("lost", "NoneType")]),
        channel=([MADE, ("lost", "NoneType")], [MADE, ("data", b"data"), RESET]),
    ),
    "what_the_peer_of_a_failure_is_told": Deviation(
        why="the same: a protocol that raised has not sent all that it meant to send",
        socket=[MADE, ("eof",), ("lost", "NoneType")],
        channel=[MADE, RESET],
    ),
    "the_end_is_told_once": Deviation(
        why="a loop that reads again after the end meets the end again; a channel has told it",
        socket=[MADE, ("eof",), ("eof",)],
        channel=[MADE, ("eof",)],
    ),
    "connection_made_raises": Deviation(
        why="uvloop never reads from the socket then; asyncio logs it and goes on",
        socket=(([MADE], [MADE]), ["ZeroDivisionError"]),
        channel=(([MADE], [MADE, ("data", b"still there")]), ["ZeroDivisionError"]),
        loops=("uvloop",),
    ),
    "paused_since_connection_made": Deviation(
        why="uvloop begins to read after connection_made(), whatever that said",
        socket=[MADE, ("data", b"data")],
        channel=[MADE],
        loops=("uvloop",),
    ),
    "a_writer_resumes_at_the_low_water_mark": Deviation(
        why="uvloop resumes a writer when all is written, whatever the low-water mark is",
        socket=([MADE, ("pause",), ("resume",)], [False]),
        channel=([MADE, ("pause",), ("resume",)], [True]),
        loops=("uvloop",),
    ),
    "writes_after_a_reset_go_nowhere": Deviation(
        why="uvloop raises; asyncio drops what is written, and warns after a few times",
        socket=(["RuntimeError"] * 3, [MADE, RESET]),
        channel=([None] * 3, [MADE, RESET]),
        loops=("uvloop",),
    ),
}
