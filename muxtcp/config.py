"""Config: every limit and deadline of a session, in one frozen object that is valid or does not exist."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

KIB, MIB = 1 << 10, 1 << 20

MESSAGE_OVERHEAD = 64  # what a message costs beside its bytes (section 7 of the protocol)
OPENING = 4 * KIB  # largest payload of an OPEN frame: name and meta, kept while the channel lives (section 6)
READ = 6  # bytes that each may cost: it is kept, and read, where one rare character makes a whole text four wide
HANDSHAKE = 16 * KIB  # largest record of a handshake (section 4)
STRANGER = 16 * KIB  # what a connection costs before its handshake ends, beside what it has said; measured, rounded up
TLS = 336 * KIB  # what it costs more over TLS, from its first byte on, of the loop and OpenSSL; measured, rounded up
CHANNEL = 16 * KIB  # what a channel costs with its handler's task and 64 pairs of meta, beside their text; measured
SESSION = 24 * KIB  # what a session costs beside all that varies; measured, rounded up
READ_BUFFER = 256 * KIB  # most that one wake-up reads
WRITTEN = 256 * KIB  # most that one wake-up writes


def _bounded(default: float | None, low: float, high: float, *, off: bool = False) -> Any:
    """A numeric field with its inclusive range; `off` allows None as well."""
    return field(default=default, metadata={"low": low, "high": high, "off": off})


def _seconds(default: float, *, off: bool = False) -> Any:
    """A duration between a millisecond, the resolution of the loops, and a day, beyond which None is meant."""
    return _bounded(default, 0.001, 86_400.0, off=off)


def check_seconds(name: str, value: float) -> None:
    """Raise ValueError for a time that is negative, or no number."""
    if not value >= 0:  # which nan is not, either
        raise ValueError(f"{name} is {value:g} s, not 0 or more")


class Cost(NamedTuple):
    """The most that one peer can make this process hold, in bytes; `str()` says it in words."""

    received: int  # messages that arrived and were not consumed
    sent: int  # messages that wait to be written or acknowledged, in the session and in the transport
    channels: int  # open channels with their names and meta
    reading: int  # what is being read at the moment
    session: int  # the session itself, with its peer's HELLO
    config: "Config"

    @property
    def total(self) -> int:
        """Bytes, all together."""
        return self.received + self.sent + self.channels + self.reading + self.session

    def __str__(self) -> str:
        c, received, sent, channels, reading, session = self.config, *(f"{part / MIB:,.1f} MiB" for part in self[:5])
        return (
            f"One peer costs at most {self.total / MIB:,.1f} MiB: {received} of received messages that nobody consumed "
            f"(memory_limit), {sent} waiting to be sent or acknowledged (send_buffer, high_water, replay_limit), "
            f"{channels} for {c.max_channels:,} "
            f"channels with name, meta and handler (max_channels), {reading} being read (max_frame) and {session} for "
            f"the session itself. Before its "
            f"handshake ends it costs at most {STRANGER // KIB} KiB, and six times what it has said (of at most "
            f"{HANDSHAKE // KIB} KiB), for {c.handshake_timeout:g} s; at most {c.max_handshakes:,} connections of a "
            f"listener ({c.max_handshakes_per_address:,} from one address) are in that state at once: "
            f"{c.max_handshakes * (STRANGER + READ * HANDSHAKE) / MIB:,.1f} MiB. "
            f"TLS, which none of this counts, costs a connection up to {TLS // KIB} KiB more from its first byte on, "
            f"of the event loop and OpenSSL: {c.max_handshakes * TLS / MIB:,.1f} MiB for those handshakes."
        )


@dataclass(frozen=True, kw_only=True)
class Config:
    """Limits and deadlines of a session. Sizes are bytes, durations seconds; None means off where it is allowed.

    The defaults suit a link between two services. Both peers have their own: a limit on what is received is announced
    to the other side, which keeps to it.

    Raises:
        ValueError: lists everything that is wrong with the values, alone and together.

    Example:
        config = Config(max_message=16 * 2**20, memory_limit=64 * 2**20, keepalive=None)
        print(config.worst_case())
    """

    # What this side accepts. The protocol fixes the ranges of what is announced.

    max_frame: int = _bounded(65_536, 16 * KIB, 16 * MIB)
    """Largest payload of one frame. It bounds how long a bulk frame holds up an urgent one behind it: 64 KiB take 5 ms
    at 100 Mbit/s. HTTP/2 starts at 16 KiB; below that the headers and wake-ups show, above it only the delay grows."""

    max_message: int = _bounded(1_048_576, 1 * KIB, 1 << 40)
    """Largest message. It bounds the one object that a peer can make us allocate. websockets has 1 MiB, gRPC 4 MiB."""

    channel_window: int = _bounded(262_144, 1 * KIB, 1 << 40)
    """Unconsumed bytes a channel starts with, each message counting 64 more than its size; it grows with consumption
    per round trip. At the start one channel carries a window per round trip: 26 MB/s at 10 ms. yamux has the same 256
    KiB, HTTP/2 64 KiB."""

    session_window: int = _bounded(262_144, 1 * KIB, 1 << 40)
    """The same for all channels together; it grows up to `memory_limit`. yamux has none, and so no bound on the sum;
    smux has 4 MiB, HTTP/2 64 KiB."""

    memory_limit: int = _bounded(16 * MIB, 2 * KIB, 1 << 50)
    """Unconsumed bytes of the whole session, whatever the windows grow to: a hard promise, and a large part of what
    a peer can cost. It takes at least one message of `max_message`. quinn bounds a connection by its windows
    too."""

    max_channels: int = _bounded(1_024, 1, 1 << 31)
    """Channels that the peer may have open at once, and handlers that run for them: 16 KiB each with its task at most,
    and up to 24 KiB for the largest name and meta once they are read. Go's HTTP/2 server has 250, nginx 128, yamux no
    limit."""

    accept_backlog: int = _bounded(256, 1, 1 << 31)
    """Channels that the peer has opened and whose handler has not run yet; it bounds a burst of opens. yamux has
    256."""

    # What this side sends.

    send_buffer: int = _bounded(1_048_576, 1 * KIB, 1 << 40)
    """Bytes queued for sending in the session before `send()` waits, each message counting 64 more than its size: what
    a peer that never reads can make us hold. A channel gets at most what is free: alone half of it, one of ten busy
    ones an eleventh. One message may go over it, so that any message can be sent."""

    replay_limit: int = _bounded(4 * MIB, 256 * KIB, 1 << 40)
    """Bytes of a resumable session that are kept until the peer acknowledges them; beyond it `send()` waits. It bounds
    the throughput to itself per round trip and acknowledgement (20 ms at most): 4 MiB at 20 ms are 200 MB/s.
    EternalTerminal keeps 64 MiB."""

    high_water: int = _bounded(65_536, 1, 1 << 31)
    """Bytes in the transport's own buffer at which the session stops writing to it. asyncio has 64 KiB as well. What
    is in this buffer can no longer be overtaken by an urgent message."""

    low_water: int = _bounded(16_384, 0, 1 << 31)
    """Bytes in the transport's buffer at which the session writes again: a quarter of `high_water`, as in asyncio.
    (uvloop takes 16 *bytes* unless told, which stalls the writer at each turn.)"""

    notsent_lowat: int | None = _bounded(65_536, 4 * KIB, 1 << 30, off=True)
    """TCP_NOTSENT_LOWAT: unsent bytes in the kernel above which the socket is not writable. It keeps what cannot be
    overtaken any more small; measured on a 100 Mbit/s bottleneck beside ten channels of bulk, an urgent message waits
    17 ms in place of 76."""

    # Deadlines.

    keepalive: float | None = _seconds(10.0, off=True)
    """Silence after which we ask the peer for a sign of life; None never asks, and a vanished peer is then found only
    by a write (`user_timeout`). yamux asks after 30 s, smux after 10, websockets after 20."""

    keepalive_timeout: float = _seconds(10.0)
    """Further silence after which the session is lost. A vanished peer is found within `keepalive + keepalive_timeout`:
    20 s here, 30 in smux, 40 in websockets."""

    handshake_timeout: float = _seconds(5.0)
    """Time from the accepted or established connection to the end of the handshake: how long an unauthenticated peer
    may hold a descriptor and its 16 KiB, and six times what it has said. websockets has 10 s, OpenSSH 120."""

    close_timeout: float = _seconds(5.0)
    """Bounds each of the two steps of `close()`: the open channels may finish for so long; then the peer's goodbye
    and the cancelled handlers together may take as long, before the connection is aborted. websockets has 10 s, yamux 5
    minutes."""

    write_timeout: float = _seconds(30.0)
    """A peer that lets us write nothing at all for so long is gone: the session is lost. It bounds how long
    `send_buffer` can be held by a reader that never reads. yamux has 10 s."""

    user_timeout: float | None = _seconds(20.0, off=True)
    """TCP_USER_TIMEOUT: sent data may stay unacknowledged for so long before the kernel ends the connection; Linux
    takes about 15 minutes otherwise. gRPC has 20 s as well."""

    # Patience.

    glitch_burst: int = _bounded(1_000, 1, 1 << 31)
    """Oddities of a peer (channels that it opens and resets within a second, unanswered; pings without data; limits
    announced twice) that are let pass at once; more end the session with CALM. Figure of nghttp2, chosen after the
    rapid-reset attacks of 2023."""

    glitch_rate: float = _bounded(33.0, 0.0, 1e9)
    """Oddities per second that are forgiven; so is one for each channel that the peer opened and that ended in order.
    Figure of nghttp2; Envoy, too, bears resets that are at most half of all requests."""

    max_handshakes: int = _bounded(256, 1, 1 << 31)
    """Connections of one listener whose handshake has not ended; further ones are closed at once, and counted.
    Without TLS their clients hear BUSY, and when to come back. OpenSSH starts to drop at 10, and has 100."""

    max_handshakes_per_address: int = _bounded(16, 1, 1 << 31)
    """The same from one origin, so that one host cannot use up all of `max_handshakes`: an IPv4 address, or the /64 of
    an IPv6 address, as Postfix counts them. Many clients behind one address (a proxy, NAT) want more after a restart:
    the others are closed at once as well, and come back later."""

    def __post_init__(self) -> None:
        findings = [finding for name in self.__dataclass_fields__ if (finding := self._finding(name))]
        if not findings:  # comparing makes sense only for numbers in range
            findings = self._contradictions()
        if findings:
            raise ValueError("bad configuration: " + "; ".join(findings))

    def _finding(self, name: str) -> str | None:
        """What is wrong with one field taken alone."""
        value, spec = getattr(self, name), self.__dataclass_fields__[name]
        low, high, off = spec.metadata["low"], spec.metadata["high"], spec.metadata["off"]
        if value is None and off:
            return None
        number = (int, float) if isinstance(spec.default, float) else int
        if not isinstance(value, number) or isinstance(value, bool):
            kind = "a number" if isinstance(spec.default, float) else "an int"
            return f"{name} must be {kind}{' or None' if off else ''}, not {value!r}"
        if not low <= value <= high:
            return f"{name} is {value:,}, not between {low:,} and {high:,}"
        return None

    def _contradictions(self) -> list[str]:
        """What is wrong with the fields taken together."""
        memory, cost = self.memory_limit, self.max_message + MESSAGE_OVERHEAD
        session, high, low = self.session_window, self.high_water, self.low_water
        checks = {
            f"memory_limit of {memory:,} cannot hold a message of max_message, which costs {cost:,}": memory < cost,
            f"memory_limit of {memory:,} is below session_window of {session:,}": memory < session,
            f"high_water of {high:,} is below low_water of {low:,}": high < low,
        }
        return [finding for finding, found in checks.items() if found]

    def worst_case(self) -> Cost:
        """The most that one peer, hostile or slow, can make this process hold; `print()` it for words.

        Without TLS, of which a Config does not know: that takes up to 336 KiB more of a connection from its first byte
        on, in the event loop and in OpenSSL.
        """
        return Cost(
            received=self.memory_limit + self.memory_limit // 8,  # room for a message that is arriving grows in eighths
            # The message that goes over send_buffer is the application's own choice, not the peer's.
            sent=self.send_buffer + WRITTEN + self.high_water + self.replay_limit,
            channels=self.max_channels * (CHANNEL + OPENING * READ),
            # The buffer holds one unfinished frame, and is up to twice as large when it has grown for it.
            reading=READ_BUFFER + 2 * self.max_frame,
            session=SESSION + HANDSHAKE * READ,
            config=self,
        )
