"""Section 11 in both roles: a session with some traffic, how it breaks, and how it is carried on."""

from typing import Any

from conformance.lab import Lab, User, ensure, expect, pattern
from conformance.plays import right, wrong
from support import frames, tickets
from support.frames import PREFACE, Code, Kind, Record, Why
from support.raw import RawPeer
from support.tickets import Account, Position, sequenced

NONCE = bytes(range(16))
WISH = 30_000  # ms
KEY = b"a key of thirty-one bytes, nice"


class Talk:
    """A resumable session: channel 1 is open, each side has sent two messages, one frame each."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.account = Account()
        self.ticket = tickets.Ticket(bytes(range(16)), b"process1", bytes(range(32)))
        self.peer: RawPeer
        self.user: User
        self.told: dict[str, Any]  # the parameters of the implementation
        self.spoken = 0  # messages of the user

    async def agree(self, *, key: bytes | None = None, said: dict[str, Any] | None = None, **options: object) -> None:
        """Shake hands and get, or give, a ticket."""
        keyed: dict[str, object] = {} if key is None else {"key": key.hex()}
        if self.lab.role == "server":
            self.peer, self.user = await self.lab.begin(**options, **keyed)
            ours = {"resume": WISH, "ticket": NONCE, "replay_limit": 2**22, **(said or {})}
            welcome = await self.lab.greet(self.peer, self.user, **ours)
            self.told = welcome.fields
            self.ticket = tickets.Ticket.of_welcome(welcome.fields["ticket"], NONCE, key)
            hello = frames.parameters([1, 1], meta={"conformance": self.user.name}, **ours)
            self.ticket.limits = tickets.limits(hello, welcome.payload[1:])
            return
        self.peer, self.user = await self.lab.begin(**{"resume": WISH} | options, **keyed)
        hello = (await self.peer.until(Record.HELLO)).payload[1:]
        self.told = frames.read_parameters(hello, Record.HELLO)
        if key is not None:
            self.ticket.secret = tickets.hkdf(
                key, self.told["ticket"], bytes(16), self.ticket.id, self.ticket.incarnation
            )
        ours = {"resume": WISH, "ticket": self.ticket.welcome(derived=key is not None), **(said or {})}
        self.ticket.limits = tickets.limits(hello, frames.parameters([1], **ours))
        await self.peer.send(PREFACE, frames.welcome(**ours))
        await self.lab.connecting

    async def begin(self) -> None:
        if self.lab.role == "server":
            await self.account.send(self.peer, frames.open(1, "held"))
        else:
            expect(await self.user.open(), 1, "the first channel")
        await self.account.send(self.peer, frames.data(1, b"one"), frames.data(1, b"two"))
        for message in (b"one", b"two"):
            await self.user.reads(1, message)
        await self.user.send(1, 3, 2)
        self.spoken = 2
        for _ in range(2):
            await self.peer.until(Kind.DATA)
        self.account.takes(self.peer)

    @property
    def theirs(self) -> Position:
        """What the implementation must say of itself."""
        return len(self.account.sent), sum(map(len, self.account.sent)), 1

    @property
    def has_sent(self) -> int:
        """How many sequenced frames the implementation has sent so far."""
        return len(self.account.received)

    # The connection

    async def speaks(self) -> bytes:
        """Both directions work; the message that the user sent for it."""
        await self.account.send(self.peer, frames.data(1, b"more"))
        await self.user.reads(1, b"more")
        message = pattern(self.spoken, 4)
        await self.user.send(1, 4)
        self.spoken += 1
        while (await self.peer.until(Kind.DATA)).payload != message:
            pass
        return message

    async def still_lives(self) -> None:
        """The connection and the session are as they were."""
        await self.speaks()
        self.account.takes(self.peer)

    def breaks(self) -> None:
        self.account.takes(self.peer)
        self.peer.writer.transport.abort()

    async def goes_on(self, peer: RawPeer, have: int | None = None) -> None:
        """The session is up over this connection, where the implementation sends again what came after `have`."""
        self.peer = peer
        lacking = [] if have is None else [frames.frame(*item) for item in self.account.received[have:]]
        message = await self.speaks()
        if have is not None:
            expect(sequenced(peer), [*lacking, frames.data(1, message)], "sequenced frames after the break:")

    # The handshake of a resumption

    async def ask(self, question: bytes) -> RawPeer:
        """A new connection that begins with this."""
        peer = await self.lab.dial()
        await peer.send(PREFACE, question)
        return peer

    async def asked(self) -> tuple[RawPeer, Position]:
        """The next connection begins with a good RESUME: the client's position."""
        peer = await self.lab.dial()
        question = await peer.frame()
        expect(question.record, Record.RESUME, "the first frame")
        return peer, self.ticket.read_resume(question.payload[1:])

    async def answered(self, peer: RawPeer) -> Position:
        """RESUME is answered with a good RESUME_OK: the server's position."""
        answer = await peer.frame()
        expect(answer.record, Record.RESUME_OK, "the answer")
        return self.ticket.read_ok(answer.payload[1:])

    async def resume(self, position: Position | None = None) -> tuple[RawPeer, Position]:
        """Carry the session on: the connection, and the position of the implementation."""
        ours = self.account.position if position is None else position
        if self.lab.role == "server":
            peer = await self.ask(self.ticket.resume(ours))
            told = await self.answered(peer)
            await peer.send(self.ticket.confirm())
            return peer, told
        peer, told = await self.asked()
        await peer.send(PREFACE, self.ticket.resume_ok(ours))
        await self.confirmed(peer)
        return peer, told

    async def confirmed(self, peer: RawPeer) -> None:
        proof = await peer.frame()
        expect((proof.record, proof.payload[1:]), (Record.RESUME_CONFIRM, self.ticket.confirm_mac()), "the proof")

    async def refused(self, question: bytes, why: Why) -> RawPeer:
        """Ask, and get that answer."""
        peer = await self.ask(question)
        answer = await peer.frame()
        expect(answer.record, Record.RESUME_FAILED, "the answer")
        expect(Why(answer.fields["why"]).name, why.name, "RESUME_FAILED with")
        return peer


async def talk(lab: Lab, **options: Any) -> Talk:
    found = Talk(lab)
    await found.agree(**options)
    await found.begin()
    return found


# --- agreeing ---------------------------------------------------------------------------------------------------------


@right("S-2", each={"in clear": None, "derived from a key": KEY})
async def the_secret(lab: Lab, key: bytes | None) -> None:
    it = await talk(lab, key=key)
    it.breaks()
    peer, _ = await it.resume()
    await it.goes_on(peer)


# --- a good resumption ------------------------------------------------------------------------------------------------


@right("S-3", "S-4", "S-7", "S-8", "S-13")
async def a_session_is_carried_on(lab: Lab) -> None:
    it = await talk(lab)
    it.breaks()
    peer, told = await it.resume()
    expect(told, it.theirs, "position")
    await it.goes_on(peer, it.has_sent)


@right("S-7", "S-8", "S-11", each={str(have): have for have in (0, 1, 2)})
async def what_the_other_lacks_goes_first(lab: Lab, have: int) -> None:
    it = await talk(lab)
    it.breaks()
    peer, _ = await it.resume(it.account.before(have))
    await it.goes_on(peer, have)


@right("S-8")
async def limits_are_announced_anew(lab: Lab) -> None:
    it = await talk(lab)
    it.breaks()
    peer, _ = await it.resume()
    limit = (await peer.until(Record.SESSION_CREDIT)).fields["limit"]
    ensure(limit >= it.told["session_limit"], f"a SESSION_CREDIT of at least {it.told['session_limit']}", limit)
    limit = (await peer.until(Record.CHANNEL_CREDIT)).fields["limit"]
    ensure(limit >= it.told["max_channels"], f"a CHANNEL_CREDIT of at least {it.told['max_channels']}", limit)


@right("S-8", "R-2")
async def a_goaway_and_a_ping_without_an_answer_are_said_again(lab: Lab) -> None:
    it = await talk(lab)
    pinging = lab.later(it.user.ping())
    lab.later(it.user.leave(Code.SHUTDOWN, "soon"))
    said = (await it.peer.until(Record.GOAWAY)).fields
    it.breaks()
    peer, _ = await it.resume()
    expect((await peer.until(Record.GOAWAY)).fields, said, "GOAWAY")
    pings = [item for item in peer.heard if item.record is Record.PING] or [await peer.until(Record.PING)]
    await peer.send(frames.pong(pings[-1].fields["n"]))
    await pinging


@right("S-8", "K-7")
async def who_is_blocked_by_the_session_says_so_again(lab: Lab) -> None:
    it = Talk(lab)
    await it.agree(said={"session_limit": 1_000})
    await it.begin()
    sending = lab.later(it.user.send(1, 2_000))
    said = (await it.peer.until(Record.SESSION_BLOCKED)).fields
    it.breaks()
    peer, _ = await it.resume()
    expect((await peer.until(Record.SESSION_BLOCKED)).fields, said, "SESSION_BLOCKED")
    await peer.send(frames.session_credit(said["need"]))
    await sending


@right("S-6")
async def nothing_is_sent_before_the_proof(lab: Lab) -> None:
    it = await talk(lab)
    it.breaks()
    if lab.role == "server":
        peer = await it.ask(it.ticket.resume(it.account.before(0)))
        await it.answered(peer)
    else:
        peer, _ = await it.asked()
    await it.user.finish(1)  # may be written at once when there is a connection
    await peer.nothing()
    if lab.role == "server":
        await peer.send(it.ticket.confirm())
    else:
        await peer.send(PREFACE, it.ticket.resume_ok(it.account.before(0)))
        await it.confirmed(peer)
    await peer.until(Kind.FINISH)
    expect(sequenced(peer), [*(frames.frame(*item) for item in it.account.received), frames.finish(1)])


@right("S-8")
async def a_session_breaks_again_and_again(lab: Lab) -> None:
    it = await talk(lab)
    for _ in range(5):
        it.breaks()
        peer, told = await it.resume()
        expect(told[:2], it.theirs[:2], "position")
        await it.goes_on(peer)


# --- acknowledgements -------------------------------------------------------------------------------------------------


@right("S-9", "S-10", each={"few frames": (1, 1), "many frames": (300, 1), "many bytes": (3, 30_000)})
async def what_was_received_is_acknowledged(lab: Lab, sent: tuple[int, int]) -> None:
    count, size = sent
    it = await talk(lab)
    await it.account.send(it.peer, *[frames.data(1, bytes(size))] * count)
    acknowledged = 0
    while acknowledged < len(it.account.sent):
        told = (await it.peer.until(Record.ACK)).fields["frames"]
        ensure(acknowledged <= told <= len(it.account.sent), f"{acknowledged} to {len(it.account.sent)}", told)
        acknowledged = told


@wrong("S-9", each={"one more": None, "2^62": 2**62, "2^63 - 1": 2**63 - 1})
async def an_ack_of_the_unsent(lab: Lab, count: int | None) -> None:
    it = await talk(lab)
    await it.peer.send(frames.ack(it.has_sent + 1 if count is None else count))
    await lab.violated(it.peer, it.user, Code.BAD_ACK)


@right("S-9")
async def an_ack_that_goes_backwards_is_ignored(lab: Lab) -> None:
    it = await talk(lab)
    await it.peer.send(*(frames.ack(count) for count in (2, 1, 0, 2)))
    await it.still_lives()
    it.breaks()
    peer, _ = await it.resume()
    await it.goes_on(peer)


@right("S-11")
async def a_sender_whose_log_is_full_waits_and_forgets_nothing(lab: Lab) -> None:
    limits = {"channel_limit": 2**40, "session_limit": 2**40}
    it = Talk(lab)
    await it.agree(said=limits, replay_limit=262_144)
    await it.begin()
    have = it.has_sent
    sending = lab.later(it.user.send(1, 10_000, 80))
    while tickets.size(it.peer.heard) < 100_000:
        await it.peer.frame()
    await it.peer.probe()
    unacknowledged = sum(map(len, sequenced(it.peer)))
    ensure(unacknowledged <= 262_144, "at most the replay_limit of 262,144 bytes", unacknowledged)
    it.breaks()
    peer, _ = await it.resume(it.account.before(have))
    for number in range(2, 82):
        item = await peer.until(Kind.DATA)
        ensure(item.payload == pattern(number, 10_000), f"message {number}", item)
        await peer.send(frames.ack(have + len(sequenced(peer))))
    await sending


# --- the end ----------------------------------------------------------------------------------------------------------


@right("S-12")
async def the_end_of_the_stream_without_end_is_a_break(lab: Lab) -> None:
    it = await talk(lab)
    await it.peer.send(frames.goaway(2**60, Code.SHUTDOWN, "soon"))
    await it.peer.probe()
    it.breaks()
    peer, _ = await it.resume()
    await it.goes_on(peer)


@right("S-12")
async def end_ends_the_session(lab: Lab) -> None:
    it = await talk(lab)
    await it.peer.send(frames.goaway(2**60, Code.SHUTDOWN, "bye"), frames.end())
    it.peer.writer.write_eof()
    await it.user.ended("closed", str(int(Code.SHUTDOWN)))


@wrong("R-1", "S-12")
async def an_end_without_goaway(lab: Lab) -> None:
    it = await talk(lab)
    await it.peer.send(frames.end())
    await lab.violated(it.peer, it.user, Code.BAD_RECORD)


@right("S-12")
async def our_end_follows_the_last_goaway(lab: Lab) -> None:
    it = await talk(lab)
    closing = lab.later(it.user.abort())
    heard = [item.record for item in await it.peer.rest() if not item.channel]
    expect(heard[-2:], [Record.GOAWAY, Record.END], "the last records")
    await closing
