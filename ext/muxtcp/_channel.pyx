"""Channel: what the user holds of one channel: an Inbox that also sends, listens and ends."""

from asyncio import CancelledError
from collections import namedtuple
from sys import is_finalizing

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.buffer cimport PyBUF_READ
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint32_t

from muxtcp.errors import ChannelReset, Code, EndOfStream, LocalProtocolError, MessageTooLarge
from muxtcp.isolation import Sparing, callback_failed
from muxtcp.threads import run_in

from ._engine cimport Engine, fitting
from ._handshake cimport decode_pairs
from ._host cimport BYTES_SHIFT, MESSAGE_UNITS, ChannelHost, check_thread
from ._instant cimport DONE
from ._output cimport (
    BLOCK, IS_OVER, LOG_FULL, OUT_OF_CREDIT, PARTED, QUEUED, TOO_LARGE, WAIT_CONNECTION, WAIT_MEMORY, WAIT_PEER, WAIT_SOCKET, WRITTEN,
)
from ._table cimport KEPT, OURS, WANTS_WRITE
from ._wakeup cimport put_off

cdef object logger = Sparing("muxtcp")

cdef enum:
    FLUSH_QUEUE = 262_144               # bytes of large messages to collect: one writelines of several, never one each

Stall = namedtuple("Stall", "reason since")
ChannelStats = namedtuple("ChannelStats", "unread sent received send_credit receive_window")
cdef dict HELD = {
    WAIT_PEER: "peer_window", WAIT_SOCKET: "socket", WAIT_MEMORY: "memory", WAIT_CONNECTION: "connection",
}


cdef class ChannelListener:
    """Receives without a task: subclass it, override what is of interest, and give it to `Channel.listen()`. See on_message()."""
    cdef int message(self, Channel channel, const char *data, Py_ssize_t size) except -1:
        view = PyMemoryView_FromMemory(<char *>data, size, PyBUF_READ)
        try:
            self.on_message(channel, view)
        finally:
            view.release()              # so that a view that was kept raises instead of showing other bytes later
        return 0

    cpdef on_message(self, Channel channel, view):
        """A message; `view` is a memoryview that is valid during this call only. Credit goes back when it returns."""

    cpdef on_writable(self, Channel channel):
        """After `send_nowait()` has returned False: it may be tried again."""

    cpdef on_eof(self, Channel channel):
        """The peer has sent everything; this side may go on sending."""

    cpdef on_closed(self, Channel channel, exc):
        """The channel is over: `exc` says why, None after this side's own close(). The last call."""


cdef Channel new_channel(ChannelHost host, channel_t *state, tuple opening, codec):
    """A Channel for the engine's `state`, which from now on keeps it alive until the channel has ended."""
    cdef Channel channel = Channel.__new__(Channel)
    name, meta, mode, priority, deadline_ms, traceparent = opening
    channel.host = host
    channel.engine = host.engine
    channel.state = state
    channel.id = state.id
    channel.name = name
    channel.pairs = meta
    channel.wish = priority
    channel.codec = codec
    channel.deadline = None if deadline_ms is None else host.loop.time() + deadline_ms / 1000
    channel.traceparent = traceparent
    channel.finished = mode == ("w" if state.flags & OURS else "r")
    state.owner = <PyObject *>channel
    state.flags |= KEPT
    Py_INCREF(channel)
    return channel


@cython.final
@cython.no_gc_clear                     # __dealloc__ needs `engine` and `host`
cdef class Channel(Inbox):
    """One logical, ordered, flow-controlled path of messages. From `session.open()`, or given to a handler.

    Receive with recv(), `async for`, batches() or listen(); send with send(), send_nowait() or send_many(), and
    flush() to know that it came; end with send_eof(), close(), reset() or refuse(). A message is bytes, or whatever the codec makes of them.
    """

    def __dealloc__(self):
        if self.state != NULL:
            self.engine.release_channel(self.state)
            # The collector may have cleared the session first, and a program that failed may have closed the loop.
            # When the interpreter ends, the loop may be half gone.
            if self.host.engine is not None and self.host.failure is None and not is_finalizing() and not self.host.loop.is_closed():
                self.host.output_ready()

    def __repr__(self):
        how = "closed" if self.state == NULL else "failed" if self.failure is not None else "open"
        return f"<Channel {self.id} {self.name!r} {how}>"

    @property
    def meta(self):
        """What the opener said of it: text to text. Made anew each time, and kept as the few bytes that it came as."""
        return decode_pairs(PyBytes_AS_STRING(self.pairs), PyBytes_GET_SIZE(self.pairs))

    @property
    def session(self):
        """The session that the channel belongs to."""
        return self.host

    # Receiving

    def listen(self, ChannelListener listener not None, *, bint paused=False):
        """Give what has come and what will come to a listener, in place of recv(). Raises LocalProtocolError if a task receives.

        Paused: messages and the peer's end wait for another listen(). What on_message() or on_eof() raises meanwhile is raised here,
        and the rest may be received in another way.
        """
        cdef bytes message
        check_thread(self.host)
        if self.receivers:
            raise LocalProtocolError(code=Code.CHANNEL_REUSED, reason="a task is receiving from this channel")
        self.listener = listener
        self.paused = paused
        try:
            # until it closes the channel, pauses it, or gives it to another one
            while self.count and self.listener is listener and not self.paused:
                message = self.pop()
                try:
                    listener.message(self, PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))
                finally:
                    if self.state != NULL:
                        self.engine.consumed(self.state, PyBytes_GET_SIZE(message))
            if self.finished and self.listener is listener and not self.paused:
                listener.on_eof(self)
        except BaseException:
            self.listener = None
            raise
        finally:
            self.credit_moved()
        if self.closed and self.listener is listener:
            self.tell_closed(self.failure)

    def _listener(self):
        return self.listener

    def _drop_codec(self):
        """What is sent is bytes from now on, as what a listener gets always is."""
        self.codec = None

    # What the engine reports

    cdef int deliver(self, const char *data, Py_ssize_t size, bytes whole) except -1:
        if self.listener is not None and not self.paused:
            (<ChannelListener>self.listener).message(self, data, size)
            if self.state != NULL:
                self.engine.consumed(self.state, size)
            return 0
        self.push(whole if whole is not None else PyBytes_FromStringAndSize(data, size))
        if self.sleeping:
            self.wake_receiver()
        return 0

    cdef int peer_finished(self) except -1:
        self.finished = True
        self.wake_all()
        if self.listener is not None and not self.paused:
            (<ChannelListener>self.listener).on_eof(self)
        return 0

    cdef int fail(self, exc) except -1:
        """The channel is over by a reset or by the end of the session."""
        if self.failure is None and self.state != NULL:
            self.failure = self.own(exc)
            self.tell_closed(exc)
        return 0

    cdef int tell_closed(self, exc) except -1:
        cdef ChannelListener listener = self.listener
        self.wake_all()
        if self.senders:
            for waiter in self.senders:
                if not waiter.done():
                    waiter.set_result(None)
                    self.host.woken += 1
        if listener is not None:
            self.listener = None
            try:
                listener.on_closed(self, exc)
            except BaseException as error:                      # the channel is over in any case, and close() never fails
                callback_failed(self.host.loop, logger, error, "a listener of channel %d (%r) failed in on_closed()", self.id, self.name)
        return 0

    def _tell_closed(self):
        """Tell those who wait that the session is over, which the channel knows already."""
        self.tell_closed(self.failure)

    cdef int writable(self) except -1:
        if self.senders:
            self.wake_sender()
            return 0
        if self.listener is not None:
            (<ChannelListener>self.listener).on_writable(self)
        if self.state != NULL and not self.senders and not self.state.flags & WANTS_WRITE:
            self.engine.stop_waiting(self.state)           # nobody used what was promised: others may
        return 0

    cdef int wake_sender(self) except -1:
        for waiter in self.senders:
            if not waiter.done():
                waiter.set_result(None)
                self.host.woken += 1
            return 0
        return 0

    # Sending

    def send(self, message):
        """Await until the message is accepted, whole or not at all. Waits for credit and memory, never for an answer.

        Cancelled, it has not sent the message. One that has begun can't be taken back: then send() returns, and the cancellation comes
        at the next await.

        Raises MessageTooLarge, LocalProtocolError, ChannelClosed, ChannelReset, ChannelRefused, SessionClosed, SessionLost, TypeError.
        """
        cdef bytes data
        check_thread(self.host)
        if type(message) is bytes and self.codec is None:
            data = <bytes>message
        else:
            data = self._encoded(message)
        if not self.senders and self.try_send(data) > 0:
            return DONE
        return self._send(data)

    def _encoded(self, message):
        if self.codec is not None:
            encoded = self.codec.encode(message)
            if type(encoded) is not bytes:
                raise TypeError(f"the codec of channel {self.id} ({self.name!r}) made {type(encoded).__name__} of a message, not bytes")
            return encoded
        if isinstance(message, (bytes, bytearray, memoryview)):
            return bytes(message)
        raise TypeError(f"a message is bytes, bytearray or memoryview, not {type(message).__name__}; or give the channel a codec")

    async def _send(self, bytes data):
        """Wait in line until the message is accepted. The first in line leaves his with the engine, if all it lacks is room."""
        cdef bint first
        cdef int result
        if not self.senders:
            result = self.try_send(data, offer=True)
            if result > 0:
                return
            self._raise_unsendable(result, data)
        waiter = self.host.create_future()
        if self.senders is None:
            self.senders = []
        self.senders.append(waiter)
        accepted = False
        try:
            while True:
                await waiter
                if not self.offering():
                    accepted = self.offer_taken()
                    result = QUEUED if accepted else self.try_send(data, offer=True)
                    if result > 0:
                        accepted = True
                        self.held = 0
                        return
                    self._raise_unsendable(result, data)
                woken, waiter = waiter, self.host.create_future()
                self.senders[self.senders.index(woken)] = waiter
        except CancelledError as error:
            accepted = self.senders[0] is waiter and self.offer_taken()
            if not (accepted and put_off(error)):
                raise
        finally:
            first = self.senders[0] is waiter
            if first and not accepted:
                self.offer_taken()                              # nobody is there any more to be told
            self.senders.remove(waiter)
            if self.senders:
                if first:                                       # the turn, used or given up, passes on
                    self.wake_sender()
            elif not accepted and self.state != NULL:
                self.held = 0
                self.engine.stop_waiting(self.state)
                self.host.output_ready()                        # what was promised is another channel's now: it has to be told

    def _raise_unsendable(self, int result, bytes data):
        if result == TOO_LARGE:
            raise MessageTooLarge(size=len(data), limit=self.engine.peer_max_message)
        if result == IS_OVER:
            if self.failure is None and self.state != NULL and not self.engine.over:
                raise LocalProtocolError(
                    code=Code.DATA_AFTER_FINISH,
                    reason=f"on channel {self.id} ({self.name!r}) this side has sent its end, or only receives",
                )
            raise self._how_it_ended()

    cdef bint offering(self) noexcept:
        """Whether the engine has the message of the first in line, and has not accepted it yet."""
        return self.state != NULL and self.state.offered != NULL and self.failure is None

    cdef bint offer_taken(self) noexcept:
        """Whether the engine has accepted the message of the first in line; if not, it has it no longer."""
        cdef bint taken = self.taken
        self.taken = False
        return taken if self.state == NULL else self.engine.settle_offer(self.state)

    cdef int try_send(self, bytes message, bint offer=False) except? -100:
        cdef Engine engine = self.engine
        cdef int result
        if self.state == NULL:
            return IS_OVER
        result = engine.offer(self.state, message) if offer else engine.send_object(self.state, message)
        if result > 0:
            self.host.left -= MESSAGE_UNITS + (PyBytes_GET_SIZE(message) >> BYTES_SHIFT)
            if self.host.left <= 0:
                self.host.give_way()
        if result == WRITTEN:
            if engine.used + engine.sealed >= BLOCK:
                self.host.flush()
        elif result == QUEUED:
            if engine.queued >= FLUSH_QUEUE and not engine.held_back:
                self.host.flush()
        elif result == IS_OVER or result == TOO_LARGE:
            return result
        elif result < 0:
            if not self.held:
                self.held_since = self.host.loop.time()
            self.held = result
            if not self.host.turn_due:
                self.host.output_ready()                        # BLOCKED wants to be said
            return result
        self.held = 0
        if not self.host.turn_due:
            self.host.output_ready()
        return result

    def send_nowait(self, message):
        """Send now: True; or False where send() would wait, and nothing was sent. Raises as send()."""
        check_thread(self.host)
        cdef bytes data = message if type(message) is bytes and self.codec is None else self._encoded(message)
        cdef int result
        if self.senders:
            return False
        result = self.try_send(data)
        if result > 0:
            return True
        self._raise_unsendable(result, data)
        if result == WAIT_SOCKET or result == WAIT_MEMORY:
            self.engine.wait_for_room(self.state, PyBytes_GET_SIZE(data))
        return False

    async def send_many(self, messages):
        """Send each message of an iterable in order, as send() would; cancelled, the ones accepted so far are sent."""
        check_thread(self.host)
        for message in messages:
            data = message if type(message) is bytes and self.codec is None else self._encoded(message)
            if self.senders or self.try_send(data) <= 0:
                await self._send(data)

    def send_threadsafe(self, message):
        """Send from another thread than the loop's: a concurrent.futures.Future, whose result() waits as send() does."""
        cdef object sent = message if self.codec is not None else self._encoded(message)
        try:
            return run_in(self.host.loop, lambda: self._send_here(sent))
        except RuntimeError as error:
            raise RuntimeError(f"the event loop of channel {self.id} ({self.name!r}) is closed") from error

    async def _send_here(self, message):
        await self.send(message)

    # The end

    async def send_eof(self):
        """Say that this side has sent its last message; receiving goes on. What was accepted before arrives first."""
        check_thread(self.host)
        if self.failure is not None or self.state == NULL:
            self._raise_unsendable(IS_OVER, b"")
        self.engine.finish_channel(self.state)
        for waiter in self.senders or ():
            if not waiter.done():
                waiter.set_result(None)
        self.host.output_ready()

    async def flush(self):
        """Wait until the peer's session has everything that was sent."""
        check_thread(self.host)
        if self.failure is not None or self.state == NULL:
            self._raise_unsendable(IS_OVER, b"")
        await self.host._flush_channel(self)

    async def close(self):
        """End in good order: what was sent still arrives, what was not received is dropped. Never fails, never waits."""
        check_thread(self.host)
        if self.state != NULL:
            self.let_go()
            self.clear()
            if self.failure is None:
                self.tell_closed(None)

    async def reset(self, code=Code.CANCELLED, str reason=""):
        """Kill both halves: the peer's recv() and send() raise ChannelReset(code, reason); a reason has at most 255 bytes."""
        self._reset(code, reason)

    def _reset(self, code, str reason):
        cdef bytes said
        check_thread(self.host)
        fitting(code)
        if self.state == NULL:
            return
        said = reason.encode()[:255].decode("utf-8", "ignore").encode()
        self.engine.reset_channel(self.state, code, PyBytes_AS_STRING(said), len(said))
        self.let_go()
        self.clear()
        if self.failure is None:
            self.failure = self.own(
                ChannelReset(channel_id=self.id, name=self.name, code=code, reason=reason, remote=False)
            )
            self.tell_closed(self.failure)

    async def refuse(self, code=Code.NOT_FOUND, str reason=""):
        """Decline a channel that the peer opened: there it raises ChannelRefused. Codes 0x10 to 0x1f, else ValueError."""
        check_thread(self.host)
        if not 0x10 <= code <= 0x1f:
            raise ValueError(f"a refusal has a code from 0x10 to 0x1f, not {code:#x}; for others there is reset()")
        if self.state != NULL and self.state.flags & OURS:
            raise LocalProtocolError(code=Code.BAD_CHANNEL_ID, reason=f"channel {self.id} was opened by this side")
        self._reset(code, reason)

    cdef int let_go(self) except -1:
        """Leave the rest to the engine: our half ends in good order, what still comes is turned away."""
        cdef channel_t *state = self.state
        cdef bint kept = state.flags & KEPT != 0
        self.taken = self.engine.settle_offer(state)
        self.state = NULL
        self.engine.release_channel(state)
        if self.host.failure is None:
            self.host.output_ready()
        if kept:
            Py_DECREF(self)
        return 0

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, value, traceback):
        if kind is None or issubclass(kind, EndOfStream):
            await self.close()
        else:
            self._reset(Code.CANCELLED, "")                     # so that what was sent so far is not taken for all there is

    # Facts

    @property
    def closed(self):
        """Whether the channel is over: closed or reset by this side, reset by the peer, or its session is gone."""
        return self.state == NULL or self.failure is not None

    @property
    def priority(self):
        """As it was opened: from 0 (urgent) to 3 (bulk)."""
        return self.wish

    @property
    def exception(self):
        """Why the channel is over, when it did not end in good order; None otherwise."""
        return self.failure

    @property
    def stall(self):
        """What holds the channel up: (reason, since in loop time), or None.

        Reasons: peer_window, session_window, socket, memory, connection, acknowledgements (a send waits for it); reader_idle
        (messages wait for the user).
        """
        if self.held and (self.senders or self.state != NULL and self.state.flags & WANTS_WRITE):
            return Stall(self.what_holds(), self.held_since)
        if self.count and not self.receivers and (self.listener is None or self.paused):
            return Stall("reader_idle", self.unread_since)
        return None

    cdef str what_holds(self):
        """Why a sender waits: there is no room, for a reason of its own, or something else is lacking."""
        cdef uint32_t held_back = self.engine.held_back
        if self.held not in (WAIT_SOCKET, WAIT_MEMORY):
            return HELD[self.held]
        if held_back & PARTED:
            return "connection"
        if held_back & LOG_FULL:
            return "acknowledgements"
        return "session_window" if held_back & OUT_OF_CREDIT else HELD[self.held]

    def stats(self):
        """(unread messages; bytes sent, received, send_credit, receive_window); a message counts 64 bytes more than its size."""
        if self.state == NULL:
            return ChannelStats(self.count, 0, 0, 0, 0)
        return ChannelStats(
            self.count, self.state.outgoing.used, self.state.incoming.received,
            self.state.outgoing.limit - self.state.outgoing.used, self.state.incoming.window,
        )
