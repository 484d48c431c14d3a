"""States: where a session or a connector is, and what is told of each change."""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Where a connector is, or a session: for a session those that a connector has with one, from CONNECTED to LOST."""

    DISCONNECTED = "disconnected"  # no session: none yet, or it ended (cause)
    CONNECTING = "connecting"  # an attempt is under way (attempt)
    CONNECTED = "connected"  # a session is up (attempt: how many it took)
    WAITING = "waiting"  # until the next attempt (attempt: the one that failed, delay, cause)
    RECONNECTING = "reconnecting"  # the connection broke; the session waits to be carried on over another (cause)
    RESUMED = "resumed"  # it is (gap, replayed): nothing was lost
    LOST = "lost"  # it is not (cause: `SessionLost` with what is known of its messages)
    FAILED = "failed"  # gave up, or the error was not worth another attempt (attempt, cause)
    STOPPED = "stopped"  # by stop()


class StateInfo(NamedTuple):
    """What `on_state` is told beside the state."""

    attempt: int = 0  # of a connector: counted from the last healthy session; 0 before the first
    delay: float | None = None  # seconds until the next attempt
    cause: BaseException | None = None  # why the session ended or the attempt failed; None for a close from this side
    gap: float | None = None  # seconds for which the session had no connection
    replayed: int | None = None  # frames that were sent again


NOTHING_MORE = StateInfo()

OnState = Callable[[State, StateInfo], object]
