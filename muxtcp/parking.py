"""Where a server keeps sessions whose connection broke, until their client comes back or their time is over."""

import asyncio
import os
from collections import Counter, OrderedDict
from dataclasses import dataclass

from muxtcp._engine import MemoryBudget
from muxtcp.lasting import Lasting
from muxtcp.resumption import Failed, Ticket, Why, new_incarnation

LONGEST = 120.0  # seconds that a server may grant
TOMBSTONE_TIME = 600.0  # seconds for which it is remembered how far a session had come
TOMBSTONES = 4_096
# Shares of the process's memory budget: beyond the first none is kept that breaks, beyond the second none at all.
KEEP_NONE, GIVE_UP = 0.85, 0.98
# Bytes that a parked session and each of its channels, with a handler's task, cost beside their messages: resident
# memory grew by 8,700 and 4,250 apiece (`tests/adversity/parked.py`), rounded up.
SESSION, CHANNEL = 10_240, 5_120


@dataclass(slots=True)
class Break:
    """What a session without a connection has left."""

    expires: float  # loop time
    timer: asyncio.TimerHandle
    attempted: bool = False  # whether a client has asked for it, and may still prove itself


@dataclass(slots=True)
class Tombstone:
    """A session that is no more."""

    known: tuple[int, int]  # frames received, and their bytes
    expires: float


class Parking:
    """The resumable sessions of a server: those that are up, and those that wait for their client.

    A process that runs short of memory keeps none that break from now on, and at last gives up those that wait.

    Args:
        longest: the most seconds that a client is granted.
        psk: a key that the clients have, too.
        most: how many sessions may wait; beyond that the one that has waited longest goes.
        most_per_identity: the same for the sessions of one `peer_identity`; those of nobody in particular do not count.
        memory: bytes that they may cost together; the same.
        budget: what all sessions of the process cost.
        counters: where to count; an own one unless given.

    Attributes:
        counters: `parked`, `resumed`, `expired`, `evicted`, `not_parked_over_budget`, `evicted_over_budget`, and one
            for each reason of a refusal: `resume_unknown`, ...
    """

    def __init__(
        self,
        longest: float,
        *,
        psk: bytes | None = None,
        most: int = 1_024,
        most_per_identity: int = 8,
        memory: int = 64 << 20,
        budget: MemoryBudget | None = None,
        counters: Counter[str] | None = None,
    ) -> None:
        checks = {
            f"resume is {longest:g} s, not from 0 to {LONGEST:g}": 0 <= longest <= LONGEST,
            f"max_parked is {most:,}, not 0 or more": most >= 0,
            f"max_parked_per_identity is {most_per_identity:,}, not 1 or more": most_per_identity >= 1,
            f"parked_memory is {memory:,} bytes, not 0 or more": memory >= 0,
        }
        if findings := [finding for finding, fine in checks.items() if not fine]:
            raise ValueError("; ".join(findings))
        self.counters: Counter[str] = Counter() if counters is None else counters
        self._longest, self._psk, self._memory = longest, psk, memory
        self._most, self._most_per_identity = most, most_per_identity
        self._budget = MemoryBudget() if budget is None else budget
        self._loop: asyncio.AbstractEventLoop  # of those that wait
        self._process = os.getpid()
        self._incarnation = new_incarnation()
        self._sessions: dict[bytes, Lasting] = {}
        self._breaks: dict[bytes, Break] = {}
        self._parked: OrderedDict[bytes, int] = OrderedDict()  # what each costs, of those in _breaks that wait
        self._parked_of: dict[str | None, dict[bytes, None]] = {}  # their keys by identity, in the same order
        self._cost = 0
        self._stopped = False
        self._tombstones: OrderedDict[bytes, Tombstone] = OrderedDict()

    @property
    def cost(self) -> int:
        """Bytes that the waiting sessions cost."""
        return self._cost

    def __len__(self) -> int:
        """How many sessions wait."""
        return len(self._parked)

    # The life of a session

    def admit(self, session: Lasting, wished: float, nonce: bytes) -> tuple[float, bytes]:
        """Grant a new session its time: seconds, and the ticket for its WELCOME."""
        session.granted = min(wished, self._longest)
        if not session.granted:
            return 0.0, b""
        self._notice_fork()
        session.ticket, wire = Ticket.issue(nonce, self._incarnation, self._psk)
        self._sessions[session.ticket.id] = session
        session.on_break, session.on_rejoined = self.broken, self.rejoined
        return session.granted, wire

    def find(self, incarnation: bytes, session_id: bytes) -> Lasting:
        """The session that a client asks for. Raises `Failed` when it is not here."""
        self._notice_fork()
        now = asyncio.get_running_loop().time()
        if incarnation != self._incarnation:
            raise Failed(Why.WRONG_INCARNATION)
        gap = self._breaks.get(session_id)
        if gap is not None and gap.expires <= now:  # its timer is late
            self._expire(session_id)
        if session_id in self._sessions:
            return self._sessions[session_id]
        tombstone = self._tombstones.get(session_id)
        if tombstone is None or tombstone.expires <= now:
            raise Failed(Why.UNKNOWN)
        raise Failed(Why.EXPIRED, known=tombstone.known)

    def refused(self, failure: Failed) -> None:
        """Count a refusal."""
        self.counters[f"resume_{failure.why.name.lower()}"] += 1

    def broken(self, session: Lasting) -> None:
        """A session has lost its connection, or was fenced: keep it for the granted time."""
        loop, key = asyncio.get_running_loop(), session.ticket.id
        expires = loop.time() + session.granted
        self._breaks[key] = Break(expires, loop.call_at(expires, self._expire, key))
        if session.broken_by is not None:  # else it was fenced, and its client is there
            self._park(session)

    def attempted(self, session: Lasting) -> None:
        """It was fenced for a client that has still to prove itself: `rejoined` or `failed` follows."""
        self._breaks[session.ticket.id].attempted = True

    def failed(self, session: Lasting) -> None:
        """The newest attempt came to nothing: the session waits for another, unless it has ended."""
        gap = self._breaks.get(session.ticket.id)
        if gap is not None:
            gap.attempted = False
            self._park(session)

    def rejoined(self, session: Lasting) -> None:
        """Its client came back."""
        self._unpark(session.ticket.id)
        self.counters["resumed"] += 1

    def stop(self) -> None:
        """No client can come back any more, but those that have asked already: a session that breaks is given up."""
        self._stopped = True

    def waits(self, session: Lasting) -> bool:
        """Whether it has no connection, and no client has asked for it."""
        gap = self._breaks.get(session.ticket.id) if session.granted else None
        return gap is not None and not gap.attempted

    def forget(self, session: Lasting) -> None:
        """It has ended. For a while it is remembered how far it had come, in case its client does not know that."""
        if not session.granted:
            return
        key = session.ticket.id
        self._unpark(key)
        if self._sessions.pop(key, None) is None:  # it was another process's
            return
        position, now = session.engine.position, asyncio.get_running_loop().time()
        self._tombstones[key] = Tombstone((position.frames, position.bytes), now + TOMBSTONE_TIME)
        while len(self._tombstones) > TOMBSTONES or next(iter(self._tombstones.values())).expires <= now:
            self._tombstones.popitem(last=False)

    def _park(self, session: Lasting) -> None:
        key = session.ticket.id
        if self._stopped:
            self._end(key, "the server is shutting down")
            return
        if key in self._parked:
            return
        if self._budget.over(KEEP_NONE):
            self.counters["not_parked_over_budget"] += 1
            self._end(key, "the process has no memory to keep it")
            return
        self.counters["parked"] += 1
        cost = SESSION + CHANNEL * len(session.attached_channels()) + session.engine.held_bytes
        if cost > self._memory:  # or it would take all others with it
            self._evict(key)
            return
        self._parked[key] = cost
        self._cost += cost
        self._loop = asyncio.get_running_loop()
        self._budget.call_when_over(GIVE_UP, self._short_of_memory)
        theirs = self._parked_of.setdefault(session.peer_identity, {})
        theirs[key] = None
        if session.peer_identity is not None and len(theirs) > self._most_per_identity:
            self._evict(next(iter(theirs)))
        while len(self._parked) > self._most or self._cost > self._memory:
            self._evict(next(iter(self._parked)))

    def _unpark(self, key: bytes) -> None:
        gap = self._breaks.pop(key, None)
        if gap is not None:
            gap.timer.cancel()
        if key in self._parked:
            self._cost -= self._parked.pop(key)
            identity = self._sessions[key].peer_identity
            del self._parked_of[identity][key]
            if not self._parked_of[identity]:
                del self._parked_of[identity]
            if not self._parked:
                self._budget.call_when_over(None, self._short_of_memory)

    def _short_of_memory(self) -> None:
        """Called by whichever session took the last, in its own loop: its turn is not the time to end others."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._relieve)

    def _relieve(self) -> None:
        while self._parked and self._budget.over(GIVE_UP):
            self.counters["evicted_over_budget"] += 1
            self._end(next(iter(self._parked)), "it was given up for want of memory")
        if self._parked:
            self._budget.call_when_over(GIVE_UP, self._short_of_memory)

    def _evict(self, key: bytes) -> None:
        self.counters["evicted"] += 1
        self._end(key, "it was given up for want of memory")

    def _expire(self, key: bytes) -> None:
        if key not in self._breaks:  # a fork has the timers of its parent, and has forgotten its sessions
            return
        self.counters["expired"] += 1
        self._end(key, f"its client did not come back within {self._sessions[key].granted:g} s")

    def _end(self, key: bytes, cause: str) -> None:
        session = self._sessions[key]
        self._unpark(key)
        session._give_up(cause)

    def _notice_fork(self) -> None:
        """A child has copies of its parent's sessions, which are not its own."""
        if os.getpid() != self._process:
            self._process = os.getpid()
            self._incarnation = new_incarnation()
            self._sessions.clear()
            self._breaks.clear()
            self._parked.clear()
            self._budget.call_when_over(None, self._short_of_memory)
            self._parked_of.clear()
            self._tombstones.clear()
            self._cost = 0
