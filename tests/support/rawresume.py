"""Resumption against the library, over real connections, by a peer that shares no code with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from support import frames, tickets
from support.frames import PREFACE, Frame, Kind, Record, Why
from support.raw import PATIENCE, RawPeer
from support.rawpeer import User
from support.tickets import Account

import muxtcp

NONCE = bytes(range(16))
WISH = 30_000  # ms
KEY = b"a key of thirty-one bytes, nice"


def parameters_of(record: Frame) -> bytes:
    return record.payload[1:]


# --- the library is the server ----------------------------------------------------------------------------------------


class ServerLab:
    """A `muxtcp.serve()`, and the raw clients that come to it."""

    def __init__(self, server: muxtcp.Server, user: User) -> None:
        self.server, self.user = server, user
        self.peers: list[RawPeer] = []

    async def dial(self) -> RawPeer:
        host, port = self.server.sockets[0].getsockname()
        self.peers.append(RawPeer(*await asyncio.open_connection(host, port), client=True))
        return self.peers[-1]

    async def agree(
        self, *, psk: bytes | None = None, wish: int = WISH, **parameters: Any
    ) -> tuple[RawPeer, tickets.Ticket]:
        """A session that is resumable, and what is kept of it."""
        peer = await self.dial()
        said = {"resume": wish, "ticket": NONCE, "replay_limit": 2**22, **parameters}
        welcome = await peer.greet(**said)
        ticket = tickets.Ticket.of_welcome(welcome.fields["ticket"], NONCE, psk)
        ticket.limits = tickets.limits(frames.parameters([1, 1], **said), parameters_of(welcome))
        return peer, ticket

    async def ask(self, question: bytes) -> RawPeer:
        """A new connection that begins with this."""
        peer = await self.dial()
        await peer.send(PREFACE, question)
        return peer

    async def resume(self, ticket: tickets.Ticket, position: tickets.Position) -> tuple[RawPeer, tickets.Position]:
        """Carry the session on: the connection, and the server's position."""
        peer = await self.ask(ticket.resume(position))
        answer = await peer.frame()
        assert answer.record is Record.RESUME_OK, answer.fields
        told = ticket.read_ok(answer.payload[1:])
        await peer.send(ticket.confirm())
        return peer, told

    async def counted(self, name: str, times: int = 1) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.server.counters[name] < times:
                await asyncio.sleep(0)
        assert self.server.counters[name] == times


@asynccontextmanager
async def server_lab(**options: Any) -> AsyncIterator[ServerLab]:
    user = User()
    async with muxtcp.serve(user.handler, "127.0.0.1", 0, on_session=user.on_session, **options) as server:
        user.server = server
        lab = ServerLab(server, user)
        try:
            yield lab
        finally:
            for peer in lab.peers:
                peer.end()
            await user.leave()


class Conversation:
    """A resumable session with some traffic: channel 1 is open, each side has sent two messages, one frame each."""

    def __init__(self, lab: ServerLab, peer: RawPeer, ticket: tickets.Ticket) -> None:
        self.lab, self.peer, self.ticket = lab, peer, ticket
        self.account = Account()
        self.session: muxtcp.Session
        self.channel: muxtcp.Channel

    async def talk(self) -> None:
        self.session = await self.lab.user.session()
        await self.account.send(self.peer, frames.open(1, "talk"), frames.data(1, b"one"), frames.data(1, b"two"))
        self.channel = await self.lab.user.channel(1)
        assert [await self.channel.recv(), await self.channel.recv()] == [b"one", b"two"]
        await self.channel.send(b"ONE")
        await self.channel.send(b"TWO")
        await self.peer.until(Kind.DATA)
        await self.peer.until(Kind.DATA)
        self.account.takes(self.peer)

    @property
    def theirs(self) -> tickets.Position:
        """What the library must say of itself."""
        return len(self.account.sent), sum(map(len, self.account.sent)), 1

    async def still_lives(self) -> None:
        """The connection and the session are as they were: both directions work."""
        await self.account.send(self.peer, frames.data(1, b"still"))
        assert await self.channel.recv() == b"still"
        await self.channel.send(b"STILL")
        assert (await self.peer.until(Kind.DATA)).payload == b"STILL"
        self.account.takes(self.peer)
        assert self.session.resumptions == 0
        assert not self.session.closed

    async def breaks(self) -> None:
        """The connection is gone, and the server knows."""
        self.account.takes(self.peer)
        self.peer.writer.transport.abort()
        async with asyncio.timeout(PATIENCE):
            while self.session.connected:
                await asyncio.sleep(0)

    async def goes_on(self, peer: RawPeer) -> None:
        """The session is up again over this connection."""
        self.peer = peer
        await self.account.send(peer, frames.data(1, b"more"))
        assert await self.channel.recv() == b"more"
        await self.channel.send(b"MORE")
        while (await peer.until(Kind.DATA)).payload != b"MORE":
            pass


@asynccontextmanager
async def conversation(*, psk: bytes | None = None, wish: int = WISH, **options: Any) -> AsyncIterator[Conversation]:
    async with server_lab(psk=psk, **options) as lab:
        talk = Conversation(lab, *await lab.agree(psk=psk, wish=wish))
        await talk.talk()
        yield talk


async def refused(talk: Conversation, question: bytes, why: Why, known: tuple[int, int] | None = None) -> RawPeer:
    """Ask, and get that answer; the live session does not notice."""
    before = talk.lab.server.counters[f"resume_{why.name.lower()}"]
    peer = await talk.lab.ask(question)
    answer = (await peer.frame()).fields
    assert answer == {"record": "RESUME_FAILED", "why": why, "retry_after": 0, "known": known}
    await talk.lab.counted(f"resume_{why.name.lower()}", before + 1)
    return peer


# --- the library is the client ----------------------------------------------------------------------------------------


class ClientLab:
    """A `muxtcp.connect(resume=...)`, and the raw server that it dials again and again."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.peers: asyncio.Queue[RawPeer] = asyncio.Queue()
        self.accepted: list[RawPeer] = []
        self.states: list[tuple[muxtcp.State, muxtcp.StateInfo]] = []
        self.account = Account()
        self.ticket = tickets.Ticket(bytes(range(16)), b"process1", bytes(range(32)))
        self.port = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.append(RawPeer(reader, writer, client=False))
        self.peers.put_nowait(self.accepted[-1])

    async def peer(self) -> RawPeer:
        """The next connection."""
        async with asyncio.timeout(PATIENCE):
            return await self.peers.get()

    async def agree(self, *, ticket: bytes | None = None, granted: int = WISH, **parameters: Any) -> RawPeer:
        peer = await self.peer()
        hello = await peer.until(Record.HELLO)
        said = {"resume": granted, "ticket": self.ticket.welcome() if ticket is None else ticket, **parameters}
        self.ticket.limits = tickets.limits(parameters_of(hello), frames.parameters([1], **said))
        await peer.send(PREFACE, frames.welcome(**said))
        return peer

    async def asked(self) -> tuple[RawPeer, tickets.Position]:
        """The next connection begins with a good RESUME: the client's position."""
        peer = await self.peer()
        question = await peer.frame()
        assert question.record is Record.RESUME
        return peer, self.ticket.read_resume(question.payload[1:])

    async def resume(self) -> tuple[RawPeer, tickets.Position]:
        """Let the client carry its session on."""
        peer, told = await self.asked()
        await peer.send(PREFACE, self.ticket.resume_ok(self.account.position))
        proof = await peer.frame()
        assert (proof.record, proof.payload[1:]) == (Record.RESUME_CONFIRM, self.ticket.confirm_mac())
        return peer, told

    def path(self) -> str:
        return " ".join(state.name for state, _ in self.states)


@asynccontextmanager
async def client_lab(**options: Any) -> AsyncIterator[ClientLab]:
    """`user.tasks[0]` is the connecting; one that ends is not tried again, unless `options` say so."""
    user = User()
    lab = ClientLab(user)

    async def dial() -> None:
        connector = muxtcp.connect(
            "127.0.0.1",
            lab.port,
            handler=user.handler,
            **{"resume": WISH / 1000, "on_state": lambda *told: lab.states.append(told)} | options,
        )
        await user.on_session(await connector)

    listener = await asyncio.start_server(lab.accept, "127.0.0.1", 0)
    lab.port = listener.sockets[0].getsockname()[1]
    user.later(dial())
    try:
        yield lab
    finally:
        for peer in lab.accepted:
            peer.end()
        await user.leave()
        listener.close()
        await listener.wait_closed()
