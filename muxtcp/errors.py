"""What can go wrong, and the codes by which the two peers tell each other.

    MuxError
    ├── ProtocolError             .code .reason
    │   ├── LocalProtocolError    we asked for something illegal; nothing was sent
    │   └── RemoteProtocolError   the peer broke the rules; the session is gone
    ├── SessionClosed             .code .reason .remote: closed in good order by either side
    ├── SessionLost               .cause .silent_for .queued .loop_lag .unknown; also a ConnectionError
    ├── ChannelError              .channel_id .name
    │   ├── EndOfStream           the peer's half is over and everything it sent was received
    │   ├── ChannelClosed         this side closed the channel
    │   ├── ChannelReset          .code .reason .remote
    │   ├── CodecError            .message: the codec cannot decode what came; the channel goes on
    │   └── ChannelRefused        .code .reason
    ├── MessageTooLarge           .size .limit: raised before anything is sent
    ├── HandshakeError            .code .reason .retry_after: refused, by either side, before the session began
    └── ReconnectFailed           .attempts .elapsed: the connector gave up; the last error is its __cause__

A deadline raises the built-in `TimeoutError`, a bad configuration one `ValueError` that lists every finding, and what
the operating system reports stays an `OSError`. An end (`EndOfStream`, `SessionClosed`) and a loss (`ChannelReset`,
`SessionLost`) are never confusable.

Every exception can be pickled and copied, with its attributes and notes.
"""

from copy import copy
from enum import IntEnum
from typing import Any, NamedTuple


class Code(IntEnum):
    """Why something was refused, reset or ended: the numbers of section 12 of the protocol.

    Numbers from 0x1000 to 2^62 belong to the application (in `Channel.reset`). An attribute `code` of an exception is
    a `Code` where the number is known and a plain `int` where it is not, so `error.code == Code.BUSY` and
    `error.code == 0x1234` both work.
    """

    NO_ERROR = 0x00
    INTERNAL = 0x01  # a handler, or the peer itself, failed
    CANCELLED = 0x02  # no longer wanted
    CALM = 0x03  # too many oddities in too short a time
    SHUTDOWN = 0x04  # the peer is going away
    TIMEOUT = 0x05

    NOT_FOUND = 0x10  # no service of that name
    FORBIDDEN = 0x11
    BUSY = 0x12  # try later
    UNSUPPORTED = 0x13  # the service cannot serve this mode, codec or version

    UNAUTHENTICATED = 0x20
    BAD_VERSION = 0x21
    LIMITS = 0x22  # the parameters or the memory do not allow a session
    HANDSHAKE_TIMEOUT = 0x23
    HANDSHAKE_TOO_LARGE = 0x24
    BAD_PARAMETER = 0x25

    BAD_PREFACE = 0x100
    BAD_VARINT = 0x101
    BAD_FRAME = 0x102
    BAD_KIND = 0x103
    BAD_RECORD = 0x104
    FRAME_TOO_LARGE = 0x105
    MESSAGE_TOO_LARGE = 0x106
    BAD_PART = 0x107
    CREDIT_EXCEEDED = 0x108
    LIMIT_BACKWARDS = 0x109
    LIMIT_OVERFLOW = 0x10A
    BAD_CHANNEL_ID = 0x10B
    CHANNEL_REUSED = 0x10C
    UNKNOWN_CHANNEL = 0x10D
    CHANNEL_ENDED = 0x10E
    TOO_MANY_CHANNELS = 0x10F
    DATA_AFTER_FINISH = 0x110
    BAD_OPEN = 0x111
    BAD_UTF8 = 0x112
    EARLY_FRAME = 0x113
    BAD_ACK = 0x114

    @classmethod
    def of(cls, number: int) -> int:
        """The member with this number, or the number itself when it has no name."""
        return cls._value2member_map_.get(number, number)  # type: ignore[return-value]


def described(code: int) -> str:
    """A code by name and number: "BUSY (0x12)", or "code 0x1234" for one without a name."""
    known = Code.of(code)
    return f"{known.name} (0x{known:x})" if isinstance(known, Code) else f"code 0x{code:x}"


def _told(what: str, code: int, reason: str) -> str:
    """`what` happened, with the code, and with the reason when one was given."""
    return f"{what}: {described(code)}" + (f": {reason}" if reason else "")


def _rebuilt(cls: "type[MuxError]", args: tuple[Any, ...], state: dict[str, Any]) -> "MuxError":
    """What `pickle` and `copy` call: the exception again, without its keyword-only constructor."""
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class MuxError(Exception):
    """Base of every exception of the library's own."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.args, self.__dict__)


class ProtocolError(MuxError):
    """One side broke the rules of the protocol.

    Attributes:
        code: which rule, by the name it has on the wire.
        reason: what exactly, in words.
    """

    _what = "protocol error"

    def __init__(self, *, code: int, reason: str = "") -> None:
        super().__init__(_told(self._what, code, reason))
        self.code = Code.of(code)
        self.reason = reason


class LocalProtocolError(ProtocolError):
    """This side asked for something illegal, such as a send after `send_eof()`; nothing was sent and all goes on."""

    _what = "not allowed"


class RemoteProtocolError(ProtocolError):
    """The peer broke the rules; the session has ended."""

    _what = "the peer broke the protocol"


class SessionClosed(MuxError):
    """The session was closed in good order.

    Attributes:
        code: why; NO_ERROR for an ordinary end.
        reason: what the closing side said, "" for nothing.
        remote: whether the peer closed it.
    """

    def __init__(self, *, code: int = Code.NO_ERROR, reason: str = "", remote: bool = False) -> None:
        super().__init__(_told(f"session closed by {'the peer' if remote else 'this side'}", code, reason))
        self.code = Code.of(code)
        self.reason = reason
        self.remote = remote


class Fate(NamedTuple):
    """What became of the messages of one direction, as far as this side can know."""

    acknowledged: int
    """They are on the other side, and the sender knows."""
    unknown: int
    """They were on their way when the connection broke: the other side may have them, or not."""
    unsent: int
    """The other side certainly does not have them."""

    def __str__(self) -> str:
        return f"{self.acknowledged:,} acknowledged, {self.unknown:,} unknown, {self.unsent:,} not sent"


class SessionLost(MuxError, ConnectionError):
    """The session ended without a goodbye: the connection broke, or the peer fell silent.

    The exception of the transport, where there was one, is the `__cause__`.

    Attributes:
        cause: what happened, in words that name the peer.
        silent_for: seconds since the last byte from the peer arrived.
        queued: bytes that waited on this side and were certainly not sent, each message counting 64 more than its size.
        loop_lag: longest time in seconds for which this side's own event loop was last seen blocked.
        unknown: bytes that were given to the operating system and may or may not have arrived.
        sent: what became of the messages of this side; None when the session was not resumable, and nothing is known.
        received: the same of the peer's messages.
    """

    def __init__(
        self,
        *,
        cause: str,
        silent_for: float = 0.0,
        queued: int = 0,
        loop_lag: float = 0.0,
        unknown: int = 0,
        sent: Fate | None = None,
        received: Fate | None = None,
    ) -> None:
        known = (
            f"{queued:,} bytes not sent, {unknown:,} sent and unconfirmed" if sent is None else f"messages sent: {sent}"
        )
        super().__init__(
            f"session lost: {cause} (silent for {silent_for:.1f} s; {known}; own loop blocked for {loop_lag:.1f} s)"
        )
        self.sent = sent
        self.received = received
        self.cause = cause
        self.silent_for = silent_for
        self.queued = queued
        self.loop_lag = loop_lag
        self.unknown = unknown


class ChannelError(MuxError):
    """A channel cannot do what was asked.

    Attributes:
        channel_id: its number, unique in the session.
        name: the name it was opened with.
    """

    _session = 0  # id() of the session that raised it: in a proxy, another session's channel has the same number

    def __init__(self, what: str = "failed", *, channel_id: int, name: str) -> None:
        super().__init__(f"channel {channel_id} {name!r} {what}")
        self.channel_id = channel_id
        self.name = name


class EndOfStream(ChannelError):
    """The peer's half is over: it sent everything it meant to send, and all of it was received."""

    def __init__(self, *, channel_id: int, name: str) -> None:
        super().__init__("ended: the peer has sent everything", channel_id=channel_id, name=name)


class ChannelClosed(ChannelError):
    """This side closed the channel."""

    def __init__(self, *, channel_id: int, name: str) -> None:
        super().__init__("was closed by this side", channel_id=channel_id, name=name)


class CodecError(ChannelError):
    """A message came that the codec cannot decode. It counts as received, and the channel goes on with the next.

    What the codec raised is the `__cause__`. (What `encode` raises reaches the caller of `send()` as it is.)

    Attributes:
        message: the bytes that came.
    """

    def __init__(self, *, channel_id: int, name: str, message: bytes, cause: str = "") -> None:
        what = f"received a message of {len(message):,} bytes that its codec cannot decode"
        super().__init__(what + (f": {cause}" if cause else ""), channel_id=channel_id, name=name)
        self.message = message


class ChannelReset(ChannelError):
    """The channel was killed: messages on their way in either direction may be lost.

    Attributes:
        code: why.
        reason: what the resetting side said, "" for nothing.
        remote: whether the peer reset it.
    """

    def __init__(self, *, channel_id: int, name: str, code: int, reason: str = "", remote: bool = True) -> None:
        what = _told(f"was reset by {'the peer' if remote else 'this side'}", code, reason)
        super().__init__(what, channel_id=channel_id, name=name)
        self.code = Code.of(code)
        self.reason = reason
        self.remote = remote


class ChannelRefused(ChannelError):
    """The peer does not serve this channel.

    Attributes:
        code: why; NOT_FOUND when it has no service of that name.
        reason: what the peer said, "" for nothing.
    """

    def __init__(self, *, channel_id: int, name: str, code: int, reason: str = "") -> None:
        super().__init__(_told("was refused by the peer", code, reason), channel_id=channel_id, name=name)
        self.code = Code.of(code)
        self.reason = reason


class MessageTooLarge(MuxError):
    """A message that the peer would not accept; nothing of it was sent, and the channel goes on.

    Attributes:
        size: bytes of the message.
        limit: bytes that the peer accepts, its `max_message`.
    """

    def __init__(self, *, size: int, limit: int) -> None:
        super().__init__(f"message of {size:,} bytes is over the peer's max_message of {limit:,}")
        self.size = size
        self.limit = limit


class HandshakeError(MuxError):
    """No session came about: one side refused the other.

    An `on_session` callback raises it to refuse a client.

    Attributes:
        code: why, such as UNAUTHENTICATED, BAD_VERSION, BUSY or LIMITS.
        reason: what the refusing side said, "" for nothing.
        retry_after: seconds that the server asks a client to stay away, None when it did not say.
    """

    def __init__(self, *, code: int, reason: str = "", retry_after: float | None = None) -> None:
        what = _told("handshake refused", code, reason)
        super().__init__(what if retry_after is None else f"{what} (retry after {retry_after:g} s)")
        self.code = Code.of(code)
        self.reason = reason
        self.retry_after = retry_after


class ReconnectFailed(MuxError):
    """The connector gave up; the error of its last attempt is the `__cause__`.

    Attributes:
        attempts: how many it made since the last healthy session.
        elapsed: seconds since then.
    """

    def __init__(self, *, attempts: int, elapsed: float) -> None:
        super().__init__(f"gave up after {attempts:,} attempt{'' if attempts == 1 else 's'} in {elapsed:.1f} s")
        self.attempts = attempts
        self.elapsed = elapsed


def raised_again(error: Exception) -> Exception:
    """A new object that says the same: one that is raised again keeps its old tracebacks."""
    again = copy(error)
    again.__cause__ = error.__cause__
    return again


def is_again(error: BaseException, original: Exception | None) -> bool:
    """Whether it is the original or what `raised_again` made of it: a copy, which shares the tuple of its arguments."""
    return type(error) is type(original) and error.args is original.args
