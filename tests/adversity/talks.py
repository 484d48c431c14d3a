"""Conversations of every kind between two sides that check each other: what was accepted arrives, once and in order.

A message says which it is, so a receiver knows at each whether one is missing, doubled or out of place; the last one
of a direction says how many there were. A channel that is reset, or whose session ends, may only lose messages from its
end.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from weakref import WeakSet

from muxtcp import Channel, ChannelListener, ChannelReset, MuxError, Session

T = TypeVar("T")

END = b"the end, after "
NAGGED = 0.2  # share of the calls that are cancelled, and tried again
TURNS = 4  # of the loop at most, until they are
LONG = 100  # messages of a conversation at most
LARGE = 300_000  # bytes of a message, now and then
SLOW = 0.02  # seconds at most that a slow reader rests
GAVE_UP = 0x1001  # code of our resets
READERS = ["recv", "for", "batches", "nowait", "listener"]


class CutShort(Exception):
    """A conversation has ended early, because its session did."""


def message(number: int, size: int) -> bytes:
    """One that says which it is, in at least 8 bytes."""
    return number.to_bytes(8) + bytes([number & 0xFF]) * (size - 8)


class Lane:
    """One direction of a channel, as its receiver sees it."""

    def __init__(self) -> None:
        self.count = 0
        self.ended = False

    def take(self, data: bytes) -> None:
        assert not self.ended, f"{data[:20]!r} after the last message"
        if data.startswith(END):
            assert data == END + b"%d" % self.count, f"{data!r}, and {self.count} came"
            self.ended = True
        else:
            expected = message(self.count, len(data))
            assert data == expected, f"message {int.from_bytes(data[:8])} of {len(data)} bytes in place of {self.count}"
            self.count += 1


class Listening(ChannelListener):
    """Takes a lane without a task; `over` is done when it has ended."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_message(self, channel: Channel, view: memoryview) -> None:
        self.lane.take(bytes(view))

    def on_eof(self, channel: Channel) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def on_closed(self, channel: Channel, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.cancel() if exc is None else self.over.set_exception(exc)


class Talker:
    """One side: the handler of all its sessions, and what it says on its own account.

    Attributes:
        counts: messages, conversations, cancellations and so on since it began.
        ending: the sessions that this side is about to end, whatever they are in the middle of.
    """

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.ending: WeakSet[Session] = WeakSet()

    def is_ending(self, session: Session) -> bool:
        return session in self.ending or session.closed or session.peer_going_away

    def excused(self, session: Session, error: Exception) -> bool:
        """Whether an error is what must be expected of a session that ends."""
        kinds = (MuxError, CutShort)
        ends = isinstance(error, kinds) or (isinstance(error, ExceptionGroup) and error.split(kinds)[1] is None)
        if ends and self.is_ending(session):
            self.counts["cut short"] += 1
            return True
        return False

    # what both sides are made of

    async def nagged(self, call: Callable[[], Awaitable[T]]) -> T:
        """What the call returns, which is now and then cancelled in the middle and made again: that must not show."""
        while self.random.random() < NAGGED:
            done: list[T] = []

            async def once(done: list[T] = done) -> None:
                done.append(await call())

            task = asyncio.create_task(once())
            try:
                for _ in range(self.random.randrange(TURNS)):
                    await asyncio.sleep(0)
            finally:
                task.cancel()
                [error] = await asyncio.gather(task, return_exceptions=True)
            if isinstance(error, Exception):
                raise error
            if done:
                return done[0]
            self.counts["cancellations"] += 1
        return await call()

    def expected(self, reset: ChannelReset, session: Session) -> None:
        assert reset.remote or self.is_ending(session), reset
        assert reset.code == GAVE_UP or self.is_ending(session), reset

    def size(self) -> int:
        return LARGE if self.random.random() < 0.01 else int(2 ** self.random.uniform(3, 12))

    async def say(self, channel: Channel, count: int, *, whole: bool = True) -> None:
        """Send so many messages, in one way or another; `whole`: and say that this was all."""
        number = 0
        while number < count:
            if self.random.random() < 0.2:
                group = [message(each, self.size()) for each in range(number, min(count, number + 20))]
                await channel.send_many(group)
                number += len(group)
            else:
                data = message(number, self.size())
                await self.nagged(lambda data=data: self.accepted(channel, data))
                number += 1
        if whole:
            await channel.send(END + b"%d" % count)
            await channel.send_eof()

    async def accepted(self, channel: Channel, data: bytes) -> None:
        """Send. The message is accepted where this returns, and not before; a bare `send()` may accept when called."""
        await channel.send(data)

    async def hear(self, channel: Channel, *, slow: bool = False) -> int:
        """Take what comes in one way or another until the end; how many messages."""
        lane = Lane()
        try:
            await self.listen(channel, lane, self.random.choice(READERS), slow)
        finally:
            self.counts["messages"] += lane.count
        if not lane.ended and self.is_ending(channel.session):
            raise CutShort
        assert lane.ended, f"the channel ended after {lane.count} messages, and without the last one"
        return lane.count

    async def listen(self, channel: Channel, lane: Lane, reader: str, slow: bool) -> None:
        if reader == "listener" and not slow:
            listener = Listening(lane)
            channel.listen(listener)
            await listener.over
        elif reader == "batches":
            async for batch in channel.batches():
                for data in batch:
                    lane.take(data)
                await self.rest(slow)
        else:
            while not lane.ended:
                try:
                    data = channel.recv_nowait() if reader == "nowait" else await self.nagged(channel.recv)
                except BlockingIOError:
                    data = await channel.recv()
                lane.take(data)
                await self.rest(slow)
            async for data in channel:
                lane.take(data)

    async def rest(self, slow: bool) -> None:
        if slow and self.random.random() < 0.3:
            await asyncio.sleep(self.random.random() * SLOW)

    # what is said

    async def converse(self, session: Session) -> None:
        """One conversation, whole."""
        kind = self.random.choice(CONVERSATIONS)
        self.counts["conversations"] += 1
        await kind(self, session)

    async def open(self, session: Session, name: str, **options: Any) -> Channel:
        options.setdefault("priority", self.random.randrange(4))
        self.counts["channels"] += 1
        return await self.nagged(lambda: session.open(name, **options))

    async def echo(self, session: Session) -> None:
        async with await self.open(session, "echo") as channel:
            count = self.random.randrange(LONG)
            async with asyncio.TaskGroup() as group:
                group.create_task(self.say(channel, count))
                heard = group.create_task(self.hear(channel))
            assert heard.result() == count

    async def upload(self, session: Session) -> None:
        async with await self.open(session, "sink", meta={"slow": "yes" * self.random.randrange(2)}) as channel:
            count = self.random.randrange(LONG)
            await self.say(channel, count)
            assert await self.nagged(channel.recv) == b"%d" % count

    async def flushed(self, session: Session) -> None:
        async with await self.open(session, "sink", mode="w") as channel:
            await self.say(channel, self.random.randrange(LONG))
            await channel.flush()

    async def download(self, session: Session) -> None:
        count = self.random.randrange(LONG)
        async with await self.open(session, "source", mode="r", meta={"count": f"{count}"}) as channel:
            assert await self.hear(channel, slow=self.random.random() < 0.5) == count

    async def ask(self, session: Session) -> None:
        question = message(self.random.getrandbits(60), self.size())
        self.counts["channels"] += 1
        assert await self.nagged(lambda: session.request("request", question)) == question[::-1]

    async def objects(self, session: Session) -> None:
        async with await self.open(session, "echo", codec="json") as channel:
            for number in range(self.random.randrange(LONG)):
                thing = {"number": number, "text": "x" * self.random.randrange(100)}
                await channel.send(thing)
                assert await self.nagged(channel.recv) == thing
                self.counts["messages"] += 1
            await channel.send_eof()
            assert [thing async for thing in channel] == []

    async def give_up(self, session: Session) -> None:
        channel = await self.open(session, "sink")
        await self.say(channel, self.random.randrange(LONG), whole=False)
        await channel.reset(GAVE_UP)
        self.counts["resets"] += 1

    async def be_given_up(self, session: Session) -> None:
        channel = await self.open(session, "reset", meta={"count": f"{self.random.randrange(LONG)}"})
        try:
            await self.say(channel, 2 * LONG, whole=False)
            await channel.recv()
        except ChannelReset as reset:
            self.expected(reset, session)
        else:
            raise AssertionError("the channel was not reset")

    async def be_called_back(self, session: Session) -> None:
        async with await self.open(session, "call back") as channel:
            assert await channel.recv() == b"done"

    # what the other side says

    async def handler(self, channel: Channel) -> None:
        try:
            await self.answer(channel)
        except Exception as error:
            if not self.excused(channel.session, error):
                raise
            await channel.reset()

    async def answer(self, channel: Channel) -> None:
        match channel.name:
            case "echo":
                async for data in channel:
                    await self.nagged(lambda data=data: self.accepted(channel, data))
            case "sink":
                try:
                    count = await self.hear(channel, slow=bool(channel.meta.get("slow")))
                except ChannelReset as reset:
                    self.expected(reset, channel.session)
                    raise
                if "slow" in channel.meta:
                    await channel.send(b"%d" % count)
            case "source":
                await self.say(channel, int(channel.meta["count"]))
            case "request":
                await channel.send((await channel.recv())[::-1])
            case "reset":
                lane = Lane()
                for _ in range(int(channel.meta["count"])):
                    lane.take(await channel.recv())
                self.counts["messages"] += lane.count
                self.counts["resets"] += 1
                await channel.reset(GAVE_UP)
            case "call back":
                await self.converse(channel.session)
                await channel.send(b"done")


CONVERSATIONS = [
    Talker.echo,
    Talker.upload,
    Talker.flushed,
    Talker.download,
    Talker.ask,
    Talker.objects,
    Talker.give_up,
    Talker.be_given_up,
    Talker.be_called_back,
]
