"""Inbox: the receiving half of a channel."""

from collections.abc import AsyncIterator, Coroutine, Generator
from typing import Any, Self, final

from muxtcp.codecs import Codec

@final
class Receive(Coroutine[Any, Any, Any]):
    """What `recv()` returns; nothing is taken before it is awaited."""

    def __await__(self) -> Generator[Any, Any, Any]: ...
    def __iter__(self) -> Generator[Any, Any, Any]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any: ...
    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any: ...
    def close(self) -> None: ...

@final
class Batches(AsyncIterator[list[Any]]):
    """What `batches()` returns."""

    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, list[Any]]: ...

class Inbox:
    """The messages of one channel that wait for the user, and the tasks that wait for messages."""

    @property
    def id(self) -> int:
        """The number on the wire: odd when the client opened it, even when the server did; never reused."""

    @property
    def name(self) -> str:
        """What the opener called it: at most 255 bytes of UTF-8."""

    @property
    def codec(self) -> Codec | None:
        """What turns objects into messages and back on this side; None for bytes."""

    def recv(self) -> Coroutine[Any, Any, Any]:
        """Wait for the next message and take it.

        Cancelling it takes nothing: the message is there for the next call. Several tasks may wait; each message goes
        to one of them. What has come before a reset or a loss can still be received.

        Returns:
            `bytes`, or what the codec's `decode` returns.

        Raises:
            EndOfStream: the peer has sent its last message, and it was taken.
            ChannelReset, ChannelRefused: the peer gave the channel up.
            ChannelClosed: this side has closed it.
            SessionClosed, SessionLost: the session is over.
            LocalProtocolError: a listener receives from this channel.
            CodecError: the codec cannot decode the message. It counts as taken, and the next call gets the next one.
        """

    def __aiter__(self) -> Self:
        """Messages until the peer's `send_eof()`; any other end raises as `recv()` does."""

    def __anext__(self) -> Coroutine[Any, Any, Any]: ...
    def batches(self) -> Batches:
        """Messages in lists: those that are here, 1 to 4,096, until the peer's `send_eof()`.

        The cheapest way to receive many with a task; raises as `recv()` does.

        Example:
            async for batch in channel.batches():
                database.insert(batch)
        """

    def recv_nowait(self) -> Any:
        """Take the next message if it is here already.

        Raises:
            BlockingIOError: none is here yet.
            EndOfStream, ChannelError, SessionClosed, SessionLost: as `recv()`.
        """

    def _how_it_ended(self) -> Exception: ...
