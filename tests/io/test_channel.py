"""The Channel API as users see it, over memory and over real sockets, on every loop."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from support.basics import until

import muxtcp
from muxtcp import (
    Channel,
    ChannelListener,
    ChannelRefused,
    ChannelReset,
    Code,
    CodecError,
    Config,
    EndOfStream,
    HandshakeError,
    LocalProtocolError,
    Priority,
    Session,
    SessionClosed,
    codecs,
)
from muxtcp.testing import pair

OVER = pytest.mark.parametrize("over", ["memory", "tcp"])


class Peer:
    """The other side: hands each channel to the test, and keeps it open until the test is over."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[Channel] = asyncio.Queue()
        self.leaving = asyncio.Event()

    async def handler(self, channel: Channel) -> None:
        self.arrived.put_nowait(channel)
        await self.leaving.wait()


@asynccontextmanager
async def joined(over: str = "memory", **options: Any) -> AsyncIterator[tuple[Session, Session, Peer]]:
    """A client's session, the server's, and who takes the channels that either opens."""
    peer = Peer()
    if over == "memory":
        async with pair(peer.handler, peer.handler, **options) as p:
            yield p.client, p.server, peer
        return
    client_config = options.pop("client_config", options.get("config"))
    async with muxtcp.serve(peer.handler, "127.0.0.1", 0, **options) as server:
        session = await muxtcp.connect(
            server.addresses[0], handler=peer.handler, codec=options.get("codec"), config=client_config
        )
        await until(lambda: server.sessions)
        yield session, next(iter(server.sessions)), peer
        peer.leaving.set()
        await session.close()


@asynccontextmanager
async def channels(
    over: str = "memory", mode: Any = "rw", channel_codec: Any = None, **options: Any
) -> AsyncIterator[tuple[Channel, Channel]]:
    """One channel, as its opener and as the other side hold it."""
    async with joined(over, **options) as (client, _, peer):
        ours = await client.open("it", mode=mode, codec=channel_codec)
        yield ours, await peer.arrived.get()


async def everything(channel: Channel) -> list[Any]:
    return [message async for message in channel]


class Notes(ChannelListener):
    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.over = asyncio.Event()

    def on_message(self, channel: Channel, view: memoryview) -> None:
        self.heard.append(bytes(view))

    def on_eof(self, channel: Channel) -> None:
        self.heard.append("eof")

    def on_closed(self, channel: Channel, exc: Exception | None) -> None:
        self.heard.append(exc)
        self.over.set()


@OVER
async def test_messages_arrive_whole_and_in_order_whichever_way_they_are_sent(over: str) -> None:
    async with channels(over) as (ours, theirs):
        await ours.send(b"one")
        assert ours.send_nowait(b"two")
        await ours.send_many([b"three", b"", bytes(100_000)])
        await ours.send_eof()
        assert await theirs.recv() == b"one"
        assert await everything(theirs) == [b"two", b"three", b"", bytes(100_000)]


@OVER
async def test_batches_are_what_is_here_already(over: str) -> None:
    async with channels(over) as (ours, theirs):
        await ours.send_many([b"%d" % n for n in range(1_000)])
        await ours.send_eof()
        batches = [batch async for batch in theirs.batches()]
        assert all(batches)
        assert [message for batch in batches for message in batch] == [b"%d" % n for n in range(1_000)]


async def test_recv_nowait_takes_what_is_here_or_says_why_not() -> None:
    async with channels() as (ours, theirs):
        with pytest.raises(BlockingIOError, match="no message is waiting on channel 1 .'it'."):
            theirs.recv_nowait()
        await ours.send(b"here")
        await ours.send_eof()
        await until(lambda: theirs.stats().unread)
        assert theirs.recv_nowait() == b"here"
        with pytest.raises(EndOfStream):
            while True:
                await asyncio.sleep(0)
                with pytest.raises(BlockingIOError):
                    theirs.recv_nowait()


@OVER
async def test_a_listener_hears_messages_the_end_and_the_close(over: str) -> None:
    async with channels(over) as (ours, theirs):
        await ours.send(b"before it listens")
        await until(lambda: theirs.stats().unread)
        notes = Notes()
        theirs.listen(notes)
        with pytest.raises(LocalProtocolError):
            await theirs.recv()
        await ours.send_many([b"a", bytes(50_000)])
        await ours.send_eof()
        await until(lambda: "eof" in notes.heard)
        await theirs.close()
        assert notes.heard == [b"before it listens", b"a", bytes(50_000), "eof", None]


async def test_a_listener_takes_more_than_a_window_and_its_credit_comes_back() -> None:
    async with channels(config=Config(channel_window=4_096)) as (ours, theirs):
        notes = Notes()
        theirs.listen(notes)
        for _ in range(100):
            await ours.send(bytes(1_000))
        await until(lambda: len(notes.heard) == 100)


# --- ends -------------------------------------------------------------------------------------------------------------


@OVER
async def test_half_close_leaves_the_other_direction_open(over: str) -> None:
    async with channels(over) as (ours, theirs):
        await ours.send(b"question")
        await ours.send_eof()
        assert await everything(theirs) == [b"question"]
        with pytest.raises(EndOfStream):
            await theirs.recv()
        with pytest.raises(LocalProtocolError, match="this side has sent its end"):
            await ours.send(b"more")
        await theirs.send(b"answer")
        assert await ours.recv() == b"answer"
        await theirs.close()
        with pytest.raises(EndOfStream):
            await ours.recv()


@OVER
async def test_a_close_with_unread_input_loses_nothing_that_was_sent(over: str) -> None:
    async with channels(over) as (ours, theirs):
        await ours.send_many([b"never read"] * 100)
        await until(lambda: theirs.stats().unread)
        for _ in range(30):
            await theirs.send(bytes(10_000))
        await theirs.close()
        received = 0
        with pytest.raises((EndOfStream, ChannelReset)):
            while True:
                received += len(await ours.recv())
        assert received == 300_000


@OVER
@pytest.mark.parametrize("opener", [True, False])
async def test_a_reset_reaches_the_other_side_with_code_and_reason(over: str, opener: bool) -> None:
    async with channels(over) as pair_of:
        one, other = pair_of if opener else pair_of[::-1]
        receiving = asyncio.create_task(other.recv())
        await asyncio.sleep(0)
        await one.reset(0x1234, "überdrüssig")
        with pytest.raises(ChannelReset) as caught:
            await receiving
        assert (caught.value.code, caught.value.reason, caught.value.remote) == (0x1234, "überdrüssig", True)
        with pytest.raises(ChannelReset):
            await other.send(b"?")
        with pytest.raises(ChannelReset) as caught:
            await one.send(b"?")
        assert not caught.value.remote


async def test_a_refusal_is_the_acceptors_and_a_reset_with_its_code_is_not_one_for_him() -> None:
    async with channels() as (ours, theirs):
        with pytest.raises(LocalProtocolError, match="opened by this side"):
            await ours.refuse(Code.BUSY)
        with pytest.raises(ValueError, match="from 0x10 to 0x1f, not 0x1"):
            await theirs.refuse(Code.INTERNAL)
        await theirs.refuse(Code.BUSY, "try later")
        with pytest.raises(ChannelRefused) as caught:
            await ours.recv()
        assert (caught.value.code, caught.value.reason) == (Code.BUSY, "try later")
    async with channels() as (ours, theirs):
        await ours.reset(Code.BUSY)
        with pytest.raises(ChannelReset):
            await theirs.recv()


@OVER
async def test_a_channel_of_one_direction(over: str) -> None:
    async with channels(over, mode="w") as (ours, theirs):
        await ours.send(b"out")
        assert await theirs.recv() == b"out"
        with pytest.raises(EndOfStream):
            await ours.recv()
        with pytest.raises(LocalProtocolError, match="or only receives"):
            await theirs.send(b"back")
    async with channels(over, mode="r") as (ours, theirs):
        await theirs.send(b"in")
        assert await ours.recv() == b"in"
        with pytest.raises(EndOfStream):
            await theirs.recv()
        with pytest.raises(LocalProtocolError, match="or only receives"):
            ours.send_nowait(b"out")


async def test_an_error_in_the_block_resets_and_the_end_of_the_block_closes() -> None:
    async with joined() as (client, _, peer):
        async with client.open("fine") as ours:
            await ours.send(b"all there is")
        assert await everything(await peer.arrived.get()) == [b"all there is"]
        with pytest.raises(ZeroDivisionError):
            async with client.open("failing"):
                raise ZeroDivisionError
        with pytest.raises(ChannelReset) as caught:
            await (await peer.arrived.get()).recv()
        assert caught.value.code is Code.CANCELLED


@OVER
@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_codecs_of_the_session_and_of_a_channel(over: str, codec: str) -> None:
    async with channels(over, codec=codec) as (ours, theirs):
        await ours.send({"a": [1, None, "ü"]})
        assert await theirs.recv() == {"a": [1, None, "ü"]}
    async with channels(over, channel_codec=codec) as (ours, theirs):
        await ours.send([1, 2])
        assert getattr(codecs, codec)().decode(await theirs.recv()) == [1, 2]


async def test_a_codec_that_raises_tells_its_caller_and_the_channel_goes_on() -> None:
    async with channels(codec="json") as (ours, theirs):
        with pytest.raises(TypeError):
            await ours.send(object())
        await ours.send("fine")
        assert await theirs.recv() == "fine"
    async with channels(channel_codec=codecs.json(int)) as (ours, theirs):
        await theirs.send(b"not json")
        await theirs.send(b"7")
        with pytest.raises(CodecError, match="8 bytes that its codec cannot decode: .*malformed") as caught:
            await ours.recv()
        assert caught.value.message == b"not json"
        assert isinstance(caught.value.__cause__, ValueError)
        assert await ours.recv() == 7


@pytest.mark.parametrize("made", [None, "text", bytearray(b"x")], ids=lambda made: type(made).__name__)
async def test_a_codec_makes_bytes_and_nothing_else(made: Any) -> None:
    class Wrong:
        def encode(self, obj: object) -> Any:
            return made

        def decode(self, message: bytes) -> object:
            return message

    async with channels(channel_codec=Wrong()) as (ours, theirs):
        for send in (ours.send, ours.send_nowait, lambda message: ours.send_many([message])):
            with pytest.raises(TypeError, match=f"made {type(made).__name__} of a message, not bytes"):
                await send(1)  # type: ignore[misc]
        await theirs.send(b"on")
        assert await ours.recv() == b"on"


async def test_an_urgent_message_overtakes_bulk() -> None:
    async with joined(socket_buffer=4_096, bandwidth=20e6) as (client, _, peer):
        bulk = await client.open("bulk", priority=Priority.BULK)
        urgent = await client.open("urgent", priority=Priority.URGENT)
        theirs = {(channel := await peer.arrived.get()).name: channel for _ in range(2)}
        assert [theirs[name].priority for name in ("bulk", "urgent")] == [Priority.BULK, Priority.URGENT]
        for _ in range(10):
            assert bulk.send_nowait(bytes(20_000))
        assert urgent.send_nowait(b"now")
        await theirs["urgent"].recv()
        assert theirs["bulk"].stats().unread < 10


@pytest.mark.parametrize(
    ("reason", "config", "others"),
    [
        ("peer_window", Config(channel_window=4_096), 0),
        ("session_window", Config(session_window=65_536, memory_limit=1_200_000, send_buffer=16_384), 1),
        ("socket", Config(send_buffer=16_384), 0),
        ("memory", Config(send_buffer=16_384), 4),
    ],
)
async def test_a_stall_names_the_limit_that_holds(reason: str, config: Config, others: int) -> None:
    full = reason in ("socket", "memory")
    async with pair(Peer().handler, config=config, socket_buffer=4_096 if full else 262_144) as p:
        if full:
            p.link.stall()
        for _ in range(others):
            other = await p.client.open("other")
            while other.send_nowait(bytes(3_000)):
                pass
        channel = await p.client.open("it")
        assert channel.stall is None
        while channel.send_nowait(bytes(3_000)):
            pass
        sending = asyncio.create_task(channel.send(bytes(3_000)))
        for _ in range(2):  # it is left with the engine, and its turn comes
            await asyncio.sleep(0)
        assert channel.stall is not None
        assert channel.stall.reason == reason
        assert channel.stall.since <= asyncio.get_running_loop().time()
        sending.cancel()
        await asyncio.wait([sending])
        assert channel.stall is None


async def test_an_idle_reader_is_named_and_stats_count_in_bytes() -> None:
    async with channels() as (ours, theirs):
        await ours.send(b"12345")
        await until(lambda: theirs.stats().unread)
        assert theirs.stall.reason == "reader_idle"
        assert (ours.stats().sent, theirs.stats().received, theirs.stats().unread) == (5 + 64, 5 + 64, 1)
        await theirs.recv()
        assert theirs.stall is None
        assert theirs.stats().unread == 0


# --- sessions ---------------------------------------------------------------------------------------------------------


@OVER
async def test_a_request_has_a_deadline_and_its_channel_is_reset(over: str) -> None:
    async with joined(over) as (client, _, peer):
        with pytest.raises(TimeoutError, match="no answer to 'slow' within 0.05 s"):
            await client.request("slow", b"?", timeout=0.05)
        theirs = await peer.arrived.get()
        assert theirs.deadline is not None
        assert await theirs.recv() == b"?"
        with pytest.raises(ChannelReset) as caught:
            await theirs.send(b"too late")
            await until(lambda: theirs.closed)
            await theirs.send(b"too late")
        assert caught.value.code is Code.TIMEOUT
        assert not client.channels


@OVER
async def test_the_server_opens_channels_too(over: str) -> None:
    async with joined(over) as (_, server, peer):
        ours = await server.open("push", meta={"k": "v"})
        theirs = await peer.arrived.get()
        assert (theirs.name, theirs.meta, theirs.id % 2) == ("push", {"k": "v"}, 0)
        await ours.send(b"news")
        assert await theirs.recv() == b"news"
        await ours.close()


async def test_admission_sees_who_comes_and_may_refuse() -> None:
    async def admit(session: Session) -> None:
        if session.peer_auth != b"sesame":
            raise HandshakeError(code=Code.UNAUTHENTICATED, reason=f"not {session.peer_meta['who']}")

    async with muxtcp.serve(None, "127.0.0.1", 0, on_session=admit, meta={"who": "server"}) as server:
        with pytest.raises(HandshakeError, match="not me") as caught:
            await muxtcp.connect(server.addresses[0], meta={"who": "me"})
        assert caught.value.code is Code.UNAUTHENTICATED
        async with muxtcp.connect(server.addresses[0], auth=b"sesame") as session:
            assert session.peer_meta == {"who": "server"}


@OVER
async def test_draining_waits_for_open_channels_and_opens_no_more(over: str) -> None:
    async with joined(over) as (client, server, peer):
        ours = await client.open("it")
        theirs = await peer.arrived.get()
        draining = asyncio.create_task(server.drain())
        await until(lambda: client.engine.peer_is_leaving)
        with pytest.raises(SessionClosed, match="no new channels"):
            await client.open("late")
        await ours.send(b"still served")
        assert await theirs.recv() == b"still served"
        assert not draining.done()
        await ours.close()
        await theirs.close()
        await draining


async def test_a_channel_that_crossed_a_goodbye_was_refused_and_not_lost() -> None:
    async with joined() as (client, server, peer):
        await client.ping()
        draining = asyncio.create_task(server.drain())
        await asyncio.sleep(0)
        crossing = await client.open("crossing")
        with pytest.raises(ChannelRefused, match="not served") as caught:
            await crossing.recv()
        assert caught.value.code is Code.SHUTDOWN
        await draining
        assert peer.arrived.empty()


@OVER
async def test_a_ping_measures_the_round_trip(over: str) -> None:
    async with joined(over) as (client, server, _):
        for session in (client, server):
            assert await session.ping() > 0
            assert 0 < session.rtt < 10


async def test_a_ping_waits_for_the_answer_or_the_end() -> None:
    async with pair(None) as p:
        p.link.stall()
        pinging = asyncio.create_task(p.client.ping())
        await asyncio.sleep(0)
        p.client.abort()
        with pytest.raises(SessionClosed):
            await pinging


async def test_the_memory_limit_holds_at_least_one_message() -> None:
    async with joined() as (client, _, _):
        client.set_memory_limit(2_000_000)
        with pytest.raises(ValueError, match="1,000 bytes does not hold one message: at least 1,048,640"):
            client.set_memory_limit(1_000)


async def test_a_plain_handler_keeps_the_channel_open_and_one_that_raises_resets_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = Notes()

    def handler(channel: Channel) -> None:
        if channel.name == "broken":
            raise ZeroDivisionError("as planned")
        channel.listen(kept)

    async with pair(handler) as p:
        channel = await p.client.open("kept")
        await channel.send(b"heard")
        await until(lambda: kept.heard)
        with caplog.at_level(logging.CRITICAL, "muxtcp"), pytest.raises(ChannelReset) as caught:
            await (await p.client.open("broken")).recv()
        assert caught.value.code is Code.INTERNAL
        assert not channel.closed


async def test_a_session_and_its_channels_may_be_collected_in_one_cycle() -> None:
    async with joined() as (client, _, peer):
        codec = SimpleNamespace(encode=bytes, decode=bytes)
        held = await client.open("it", codec=codec)
        await peer.arrived.get()
    codec.cycle = held
    del codec, held, client, peer, _
    gc.collect()
