"""What a session does about its connections when it may outlive them (section 11 of the protocol).

the connection breaks   _on_broken -> _part(): nothing of it counts any more; then on_break tells whoever can help
client                  the connector dials, and makes a Session with guest_of=... that asks to carry this one on
server                  a Session of the new connection hears the question, fences the one it is about, and answers
both                    the session of the new connection hands it over: _carry_on()
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from muxtcp._channel import Channel
from muxtcp._engine import Engine, Peer
from muxtcp._protocol import MuxProtocol
from muxtcp._session import SessionCore
from muxtcp.authentication import Certificate, certificate_identity
from muxtcp.codecs import Codec
from muxtcp.config import Config
from muxtcp.errors import Code, HandshakeError, SessionClosed, SessionLost, raised_again
from muxtcp.isolation import Sparing, callback_failed
from muxtcp.resumption import RESUME, RESUME_CONFIRM, RESUME_FAILED, Failed, Guest, Host, Malformed, Ticket, Why
from muxtcp.states import OnState, State, StateInfo

logger = Sparing(__name__)


class Lot(Protocol):
    """Where a server looks for the session that a client asks for: see `muxtcp.parking.Parking`."""

    def find(self, incarnation: bytes, session_id: bytes) -> "Lasting":
        """The session, or `Failed`."""

    def refused(self, failure: Failed) -> None:
        """A client's question was answered so."""

    def attempted(self, session: "Lasting") -> None:
        """The session was fenced for a client that has still to prove itself."""

    def failed(self, session: "Lasting") -> None:
        """That client's connection has ended before it did, and no other has asked since."""


class Lasting(SessionCore):
    """A session that may be carried on over another connection.

    Attributes:
        peername: the address of the peer, as the transport tells it.
        ssl_object: of the connection; None without TLS.
        certificate_identity: whom the peer's verified certificate names; None without one.
        authenticated_as: what a server's `authenticate` made of a client's credentials.
        ticket: by which the two sides know each other again; only when `engine.resumable`.
        granted: seconds for which the server keeps the session after a break; 0.0: it ends with its connection.
        on_break: called with the session when it has lost its connection. Without one it is lost with it.
        on_rejoined: called with the session when it has a connection again.
        on_state: called with each `State` of the session and its `StateInfo`: CONNECTED, then RECONNECTING and RESUMED
            at each break that it survives, and at its end LOST, when it did not survive one, or DISCONNECTED. They must
            not block; what they raise is logged.
        handed_over: whether this session gave its connection to the one that it was made to carry on.
        refusal: why that failed, if it did.
        broken_at: when the connection broke, by `clock`; None while there is one.
        broken_by: why it broke.
        gap: seconds that the last break took.
        replayed: frames that were sent again after it.
        resumptions: how often the session was carried on.
    """

    ticket: Ticket

    def __init__(
        self,
        engine: Engine,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        codec: Codec | None,
        *,
        guest: "Guest[Lasting] | None" = None,
        falls_back: bool = False,
        lot: "Lot",
        nonce: bytes,
        psk: bytes | None,
    ) -> None:
        super().__init__(engine, loop, config, codec)
        self.peername: Any = None
        self.ssl_object: Any = None
        self.certificate_identity: str | None = None
        self.authenticated_as: str | None = None
        self.granted = 0.0
        self.on_break: Callable[[Lasting], None] | None = None
        self.on_rejoined: Callable[[Lasting], None] | None = None
        self.on_state: list[OnState] = []
        self.handed_over = False
        self.broken_at: float | None = None
        self.broken_by: SessionLost | None = None
        self.gap = 0.0
        self.replayed = self._replayed_in_all = 0
        self.resumptions = 0
        self._up: asyncio.Future[None] = loop.create_future()
        self.refusal: Failed | None = None
        self._guest = guest
        self._falls_back = falls_back
        self._host: Host[Lasting] | None = None
        self._lot, self._nonce, self._psk = lot, nonce, psk

    def protocol(self) -> MuxProtocol:
        """The asyncio protocol of this session's connection, for `loop.create_connection` and the like. Once."""
        return MuxProtocol(self)

    # The session that lasts

    def _take_names(self) -> None:
        if self.transport is not None:
            self.peername = self.transport.get_extra_info("peername")
            self.ssl_object = self.transport.get_extra_info("ssl_object")
            self.certificate_identity = certificate_identity(self.peer_certificate)

    @property
    def peer_certificate(self) -> Certificate | None:
        """The peer's certificate, as `getpeercert()` gives it; None when it showed none, or none that was verified."""
        return None if self.ssl_object is None else self.ssl_object.getpeercert() or None

    @property
    def peer_identity(self) -> str | None:
        """Who the peer is; None when nothing shows it.

        On a server what `authenticate` returned. Else whom the peer's verified certificate names: its first URI, else
        its first DNS name, else, when it has no alternative names, its common name.
        """
        return self.authenticated_as or self.certificate_identity

    def _know_again(self, peer: Peer) -> None:
        """Keep what shows each side to the other. Raises HandshakeError when that cannot be."""
        if self._nonce:
            try:
                self.ticket = Ticket.of_welcome(peer.ticket, self._nonce, self._psk)
            except Malformed as error:
                raise HandshakeError(code=Code.BAD_PARAMETER, reason=f"the server's ticket: {error}") from error
            self.granted = peer.resume_ms / 1000
        self.ticket.seal(self.engine.limits)

    @property
    def connected(self) -> bool:
        """Whether there is a connection: not before the first, between two, and after the last."""
        return self.transport is not None

    def fence(self) -> None:
        """Drop the present connection, if there is one, and ignore whatever it still delivers."""
        self._part(None)

    def _on_broken(self, cause: SessionLost) -> None:
        self._part(cause)

    def _part(self, cause: SessionLost | None) -> None:
        transport = self._leave_connection()
        self.engine.part()
        if transport is not None:
            transport.abort()
        self.ssl_object = None  # it holds tens of KiB
        if self.broken_at is not None:
            return
        self.broken_at, self.broken_by = self.clock(), cause
        if self.on_break is not None:
            self._tell(StateInfo(cause=cause))
            self.on_break(self)
        elif cause is not None:
            self._give_up(cause.cause)

    def _carry_on(self, transport: asyncio.Transport, rest: bytes, frames: int) -> None:
        """A new connection is there; the peer has `frames` of our frames, and `rest` has come behind the handshake."""
        if self.broken_at is None or self.exception is not None:  # it has ended meanwhile
            transport.abort()
            return
        protocol = MuxProtocol(self)
        transport.set_protocol(protocol)
        protocol.take_over(transport)
        self.gap = self.clock() - self.broken_at
        self.broken_at = None
        self.resumptions += 1
        self.replayed = self._take_connection(transport, frames)
        self._replayed_in_all += self.replayed
        self._take_names()
        if self.on_rejoined is not None:
            self.on_rejoined(self)
        self._tell(StateInfo(gap=self.gap, replayed=self.replayed))
        self._go_on(rest)  # at last: it may bring the next break, or the end

    @property
    def state(self) -> State:
        """Where the session is: CONNECTING, CONNECTED, RECONNECTING, RESUMED, LOST or DISCONNECTED."""
        if self.exception is not None:
            return State.LOST if self.granted and isinstance(self.exception, SessionLost) else State.DISCONNECTED
        if not self._up.done():
            return State.CONNECTING
        if self.broken_at is not None:
            return State.RECONNECTING
        return State.RESUMED if self.resumptions else State.CONNECTED

    def _tell(self, info: StateInfo) -> None:
        """The state has changed."""
        state = self.state
        for callback in list(self.on_state):
            try:
                callback(state, info)
            except BaseException as error:
                callback_failed(self.loop, logger, error, "a callback in on_state failed for state %r", state.value)

    def _resumption_stats(self) -> dict[str, int]:
        held, full = self.engine.replay_log
        return {
            "resumptions": self.resumptions,
            "frames_sent_again": self._replayed_in_all,
            "replay_log_bytes": held,
            "replay_log_full_ms": int(full * 1000),
        }

    async def _flush_channel(self, channel: Channel) -> None:
        """Wait until the peer's session has everything that was accepted on the channel: see `Channel.flush`."""
        while self._unwritten(channel):
            await self._progress(channel)
        target = self.engine.sent_frames
        if not self.engine.resumable:
            await self.ping()  # everything before it has come to the peer when the answer is here
            return
        self.engine.ping(self.clock())  # the answer brings an ACK with it, earlier than the peer would send one
        self._turn()
        while self.engine.acknowledged_frames < target:
            await self._progress(channel)

    async def _progress(self, channel: Channel) -> None:
        """Wait until something was written or acknowledged."""
        if channel.exception is not None:
            raise channel._how_it_ended()
        if self.exception is not None:
            raise self._why_ended()
        if self.progress is None:
            self.progress = self.loop.create_future()
        await asyncio.shield(self.progress)

    def _why_ended(self) -> Exception:
        """What ended the session, to be raised."""
        assert self.exception is not None
        return raised_again(self.exception)

    async def ping(self) -> float:
        """Overridden."""
        raise NotImplementedError

    # The session of a new connection, until it hands it over

    def _on_resumption(self, record: int, fields: bytes) -> None:
        try:
            if record == RESUME:
                self._asked(fields)
            elif record == RESUME_CONFIRM:
                assert self._host is not None
                self._hand_over(self._host.session, self._host.proven(fields))
            else:
                assert self._guest is not None
                frames = self._guest.answered(self.engine, record, fields)
                self._turn()  # RESUME_CONFIRM goes before whatever the session that lasts has to say
                self._hand_over(self._guest.session, frames)
        except Failed as failure:
            self._refused(failure, record)
        except Malformed as error:
            self.engine.close(Code.BAD_FRAME, str(error))

    def _asked(self, fields: bytes) -> None:
        self._take_names()
        self._host = Host(self.engine, self._lot.find, self.certificate_identity)
        try:
            self._host.asked(fields)
            self._lot.attempted(self._host.session)
        except Failed as failure:
            self.refusal = failure
            self._lot.refused(failure)
            self.engine.answer_resume(RESUME_FAILED, failure.record())
            if self._host.fenced:
                self._host.session._give_up(str(failure))

    def _refused(self, failure: Failed, record: int) -> None:
        self.refusal = failure
        if record == RESUME_FAILED and self._falls_back and failure.why is not Why.BUSY:
            self.engine.greet_anew()
            return
        if record == RESUME_CONFIRM:
            self._lot.refused(failure)
        elif not self._up.done():
            self._up.set_exception(failure)
            self._up.exception()  # whether anyone waits for it is the caller's business
        self.engine.close(Code.CANCELLED, str(failure))

    def _on_ended(self, channels: list[Channel]) -> None:
        """The session is over. If it was to carry another one on and has not, that one waits again."""
        if self._host is not None and self._host.pending and not self.handed_over:
            self._lot.failed(self._host.session)

    def _hand_over(self, session: "Lasting", frames: int) -> None:
        rest = self.engine.take_rest()
        transport = self._leave_connection()
        assert transport is not None
        self.handed_over = True
        if not self._up.done():
            self._up.set_result(None)
        self._finish(SessionClosed(code=Code.NO_ERROR, reason="its connection carries another session on"))
        session._carry_on(transport, rest, frames)
