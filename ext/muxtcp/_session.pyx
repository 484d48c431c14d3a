"""SessionCore: events of the engine go to channels, output of the engine to the connection.

A *turn* writes what is due and reports what came of it; it is scheduled at most once. What a session may do before its next turn is
bounded (`SHARE`): when that is used up it gives way, and reads no more until then. A dispatch (bytes arrived) reports everything first, or
what its share allows; when that woke tasks, the turn is scheduled behind them, so that their answers go out together in the same
iteration of the loop; when it woke none, it writes at once. `muxtcp.session.Session` subclasses this with what users call.
"""

import asyncio
from asyncio import current_task
from os import getpid
import time

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.buffer cimport PyBUF_WRITE
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.ref cimport Py_DECREF
from libc.math cimport INFINITY
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free

from muxtcp.errors import (
    ChannelRefused, ChannelReset, Code, HandshakeError, RemoteProtocolError, SessionClosed, SessionLost,
)
from muxtcp.isolation import Sparing, callback_failed
from muxtcp.sockets import Nobody, unacknowledged, writelines

from . cimport _machine
from ._channel cimport Channel, new_channel
from ._engine cimport Engine, text
from ._handshake cimport decode_open, encode_open, encode_pairs
from ._host cimport BYTES_SHIFT, ENDED_UNITS, FRAMES_SHIFT, MESSAGE_UNITS, OPENED_UNITS, SHARE
from ._life cimport BY_PEER, BY_STREAM, BY_US, OVER, SAY_NOTHING, UP
from ._output cimport BLOCK, CONGESTED, GIVING_WAY, LITTLE, OUT_OF_CREDIT, PARTED, PING_SLOT
from ._table cimport CLOSED, KEPT, OURS, SERVED, channel_t
from ._wakeup cimport Wakeup

cdef object logger = Sparing("muxtcp")

cdef enum:
    WRITE_SIZE = 262_144            # asked of the engine at once: several large messages in one writelines

cdef int VIOLATIONS = 0x100                  # codes from here on say that somebody broke the protocol ...
cdef int APPLICATION = 0x1000                # ... up to here
cdef tuple MODES = ("rw", "r", "w")


cdef class SessionCore(ChannelHost):
    def __init__(self, Engine engine not None, loop, config, codec):
        self.engine = engine
        self.engine.held_back |= CONGESTED                            # until there is a connection
        self.loop = loop
        self.thread = PyThread_get_thread_ident()
        self.create_future = loop.create_future
        self.call_soon = loop.call_soon
        self.config = config
        self.backlog = config.accept_backlog
        self.left = SHARE
        self.codec = codec
        self.timer_at = INFINITY
        self.opening = {}
        self.not_awaited = set()
        self.awake = []
        # uvloop's loop.time() is the same clock, but in milliseconds and as of the last poll: too coarse for round trips.
        self.clock = time.monotonic if type(loop).__module__.startswith("uvloop") else loop.time

    @property
    def exception(self):
        return self.failure

    # Hooks, overridden in Python

    def _on_hello(self):
        raise NotImplementedError

    def _on_up(self):
        raise NotImplementedError

    def _on_channel(self, channel):
        raise NotImplementedError

    def _on_pong(self, n):
        raise NotImplementedError

    def _on_ended(self, channels):
        raise NotImplementedError

    def _on_disconnected(self):
        raise NotImplementedError

    def _on_resumption(self, record, fields):
        raise NotImplementedError

    def _on_broken(self, cause):
        raise NotImplementedError

    # The connection

    cdef int connection_made(self, transport) except -1:
        self.transport = transport
        self.write_one, self.write_many = transport.write, writelines(transport)
        self.turn = self._turn                                  # a cycle, until the connection is lost
        self.begin_share()
        self.engine.held_back &= ~<uint32_t>CONGESTED
        if self.engine.client:                                  # dialling and TLS had a time of their own
            self.engine.deadline = self.clock() + self.config.handshake_timeout
        self.set_timer()
        self.flush()
        return 0

    cdef object lend_buffer(self):
        cdef size_t size = self.engine.large_pending()
        cdef char *to
        if size:
            self.storage = PyBytes_FromStringAndSize(NULL, size)
            self.engine.lend(PyBytes_AS_STRING(self.storage))
        to = self.engine.receive_space(&size)
        if to == NULL:
            raise MemoryError
        if self.engine.room != self.engine.counted_room:
            self.engine.count_room(self.engine.room)
        if to != self.lent_at or size != self.lent_size:
            self.lent_at, self.lent_size = to, size
            self.lent_view = PyMemoryView_FromMemory(to, size, PyBUF_WRITE)
        return self.lent_view

    cdef int bytes_arrived(self, Py_ssize_t size) except -1:
        cdef uint64_t parsed = self.engine.parsed
        self.engine.received(size, self.clock())
        self.deliver()
        # Many frames are no event, and a loop may read again at once.
        self.left -= (size >> BYTES_SHIFT) + ((self.engine.parsed - parsed) >> FRAMES_SHIFT)
        if self.left <= 0:
            self.give_way()
        return 0

    cdef int eof_arrived(self) except -1:
        self.eof_seen = True
        self.hear_the_end()
        if self.transport is not None:
            self.shut = True
            self.transport.close()
        return 0

    cdef int hear_the_end(self) except -1:
        """The connection brings nothing more. What a dispatch left when it stopped at its bound came before that."""
        while self.reading_paused and self.failure is None:
            self.begin_share()
            self.deliver()
        self.engine.received_eof(self.clock())
        self.deliver()
        return 0

    cdef int connection_lost(self, exc) except -1:
        self.transport = self.write_one = self.write_many = None
        self.connection_error = exc
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.failure is None:
            self.hear_the_end()
        if self.failure is None and self.engine.held_back & PARTED:
            return 0                                            # the session goes on without it
        if self.failure is None:
            self.end(SessionLost(cause="the connection was closed"))
        self.turn = None
        self._on_disconnected()
        return 0

    cdef int writing_paused(self) except -1:
        if self.failure is not None:
            return 0                                            # the last words are written, whatever the line takes
        self.engine.held_back |= CONGESTED
        self.full = True
        self.congested_since, self.congested_with = self.clock(), self._unsent()
        self.set_timer()
        return 0

    cdef int writing_resumed(self) except -1:
        self.engine.held_back &= ~<uint32_t>CONGESTED
        self.output_ready()                                     # not now: if that write fails, asyncio ends its transport twice
        return 0

    # Output

    cdef int output_ready(self) except -1:
        # a dispatch writes at its end anyway; and after the end there is nothing to write
        if not self.turn_due and not self.delivering and not self.firing and self.turn is not None:
            self.turn_due = True
            if PyThread_get_thread_ident() == self.thread:
                self.call_soon(self.turn)
            else:                                               # the collector runs in any thread
                self.loop.call_soon_threadsafe(self.turn)
        return 0

    cdef int give_way(self) except -1:
        if self.turn is None:                                   # no turn will come: there is no connection, now or any more
            self.left = SHARE
            return 0
        if self.engine.held_back & GIVING_WAY:
            return 0
        self.engine.held_back |= GIVING_WAY
        self.turns_cut_short += 1
        if not self.reading_paused and self.transport is not None and not self.shut and not self.eof_seen:
            self.reading_paused = True
            self.transport.pause_reading()
        if not self.turn_due:                                   # not as output_ready(): a dispatch gives way as well
            self.turn_due = True
            self.call_soon(self.turn)
        return 0

    cdef int read_on(self) except -1:
        self.reading_paused = False
        if self.transport is not None and not self.eof_seen and not self.transport.is_closing():
            self.transport.resume_reading()
        return 0

    def _turn(self):
        self.turn_due = False
        self.begin_share()
        self.flush()
        if self.reading_paused or self.engine.has_news():
            self.deliver()
        elif self.quiet is not None:
            self._check_quiet()

    def _write_now(self):
        self.flush()

    cdef int flush(self) except -1:
        cdef Engine engine = self.engine
        cdef list segments
        while self.transport is not None and not engine.held_back & CONGESTED and engine.has_output():
            if engine.slots & PING_SLOT:
                engine.now = self.clock()                       # a round trip is measured from here
            segments = engine.collect(LITTLE if self.full else WRITE_SIZE)
            if not segments:
                break
            if self.shut:
                return 0                                        # write() after close() raises
            if len(segments) == 1 and len(segments[0]) <= BLOCK:
                self.write_one(segments[0])
            else:
                self.write(segments)
        self.full = self.full and engine.held_back & CONGESTED
        if not self.delivering and engine.writable_first != NULL:
            self.output_ready()                                 # their turn comes when no user code is running
        if self.progress is not None:
            self.tell_progress()
        if engine.budget.used >= engine.budget.alarm:
            self.sound_alarm()
        return 0

    cdef int sound_alarm(self) except -1:
        try:
            self.engine.budget_owner.sound_alarm()
        except BaseException as error:                          # it is another session's business, or a server's
            callback_failed(self.loop, logger, error, "who was to be told that the memory budget is used up failed")
        return 0

    cdef int tell_progress(self) except -1:
        progress, self.progress = self.progress, None
        if progress is not None and not progress.done():
            progress.set_result(None)
        return 0

    cdef int write(self, list segments) except -1:
        """Hand segments to the transport in system calls that stay below the size where loopback becomes five times slower."""
        cdef list group = []
        cdef Py_ssize_t size, left = BLOCK
        for segment in segments:
            size = len(segment)
            while size > left:
                if self.transport.is_closing():                 # a write has failed: the others would be warned of
                    return 0
                view = memoryview(segment)
                group.append(view[:left])
                self.write_many(group)
                segment = view[left:]
                size -= left
                group, left = [], BLOCK
            group.append(segment)
            left -= size
        if group and not self.transport.is_closing():
            self.write_many(group)
        return 0

    # Events

    cdef int deliver(self) except -1:
        """Report what the engine has understood; bounded, then the loop gets its turn."""
        cdef Engine engine = self.engine
        cdef Channel channel
        cdef event_t event
        cdef int opens = self.backlog
        if self.delivering:
            return 0                                            # called from a callback: the loop below goes on
        self.delivering = True
        self.woken = 0
        try:
            while engine.pull(&event):
                if event.kind == _machine.MESSAGE_EVENT:
                    channel = <Channel>event.channel.owner
                    try:
                        if self.storage is not None and event.data == PyBytes_AS_STRING(self.storage):
                            channel.deliver(event.data, event.size, self.storage)
                            self.storage = None
                        else:
                            channel.deliver(event.data, event.size, None)
                    except BaseException as error:
                        self._callback_failed(channel, error)
                else:
                    if event.kind == _machine.OPENED_EVENT:
                        opens -= 1
                        self.left -= OPENED_UNITS
                    elif event.kind == _machine.FINISHED_EVENT or event.kind == _machine.RESET_EVENT:
                        self.left -= ENDED_UNITS
                    self.report(&event)
                self.left -= MESSAGE_UNITS
                if self.left <= 0 or opens == 0:
                    break
        finally:
            self.delivering = False
        if self.left <= 0 or opens == 0:
            engine.owe_ack()                                        # what is left may be many shares
            self.give_way()
        elif self.reading_paused and not engine.held_back & GIVING_WAY:
            self.read_on()
        if self.awake:
            self.fire()
        if self.woken:
            self.output_ready()                                 # behind the tasks that were just woken
        elif not self.turn_due and engine.has_output():
            self.flush()
        if self.quiet is not None:
            self._check_quiet()
        if engine.due() < self.timer_at:
            self.set_timer()
        if engine.budget.used >= engine.budget.alarm:
            self.sound_alarm()
        return 0

    cdef int fire(self) except -1:
        """Run the tasks whose message has come."""
        cdef list awake = self.awake
        cdef Wakeup wakeup
        self.awake = []
        if self.firing or current_task(self.loop) is not None:  # called from a task: no other may run inside it
            for wakeup in awake:
                wakeup.fire_soon()
            self.woken += 1
            return 0
        self.firing = True
        for wakeup in awake:
            wakeup.fire()
        self.firing = False
        return 0

    cdef int report(self, event_t *event) except -1:
        cdef Channel channel = None
        cdef int kind = event.kind
        if event.channel != NULL and event.channel.owner != NULL:
            channel = <Channel>event.channel.owner
        if kind == _machine.OPENED_EVENT:
            channel = new_channel(self, event.channel, decode_open(event.channel.text, event.channel.text_size), self.codec)
            free(event.channel.text)                            # it is the channel's now
            event.channel.text = NULL
            self._on_channel(channel)
            return 0
        try:
            if kind == _machine.FINISHED_EVENT:
                channel.peer_finished()
                if channel.state != NULL and channel.state.state == CLOSED:
                    self.detach(channel)
            elif kind == _machine.RESET_EVENT:
                refused = event.channel.flags & OURS and 0x10 <= event.code <= 0x1f
                reset = (ChannelRefused if refused else ChannelReset)(
                    channel_id=channel.id, name=channel.name, code=event.code, reason=text(event.data, event.size)
                )
                channel.fail(reset)
                self.detach(channel)
            elif kind == _machine.WRITABLE_EVENT:
                channel.writable()
            elif kind == _machine.ENDED_EVENT:
                self.detach(channel)
        except BaseException as error:
            self._callback_failed(channel, error)
            return 0
        if kind == _machine.HELLO_EVENT:
            self._on_hello()
        elif kind == _machine.REFUSED_EVENT:
            self.retry_after = event.number / 1000.0 if event.number else None
        elif kind == _machine.WELCOME_EVENT:
            self._on_up()
        elif kind == _machine.CAN_OPEN_EVENT:
            self._wake_openers()
        elif kind == _machine.PONG_EVENT:
            self._on_pong(event.number)
        elif kind == _machine.GOING_AWAY_EVENT:
            for channel in self.attached():                     # those above its last were never served
                if channel.state != NULL and channel.state.flags & OURS and channel.id > event.number:
                    code = event.code or Code.SHUTDOWN
                    channel.fail(ChannelRefused(
                        channel_id=channel.id, name=channel.name, code=code, reason="the peer is going away; it was not served"
                    ))
                    self.detach(channel)
            self._wake_openers()
        elif kind == _machine.ACKED_EVENT:
            self.tell_progress()
        elif kind == _machine.RESUMPTION_EVENT:
            self._on_resumption(event.number, event.data[: event.size])
        elif kind == _machine.BROKEN_EVENT:
            self._on_broken(self._lost(text(event.data, event.size)))
        elif kind == _machine.CLOSED_EVENT:
            self.end(self.reason_of_end(event))
        return 0

    cdef object reason_of_end(self, event_t *event):
        reason = text(event.data, event.size)
        code = event.code
        if self.engine.phase_then < UP and not (event.number == BY_STREAM and not code):
            return HandshakeError(code=code, reason=reason, retry_after=self.retry_after)
        if event.number == BY_PEER or event.number == BY_US:
            if VIOLATIONS <= code < APPLICATION or code == Code.CALM:
                return RemoteProtocolError(code=code, reason=reason)
            return SessionClosed(code=code, reason=reason, remote=event.number == BY_PEER)
        return self._lost(reason)

    def _lost(self, cause, known=None):
        lost = SessionLost(
            cause=cause,
            silent_for=max(0.0, self.clock() - self.engine.heard),
            queued=self.engine.queued,
            loop_lag=self.engine.lag,
            unknown=self.engine.sent_bytes,
            sent=self.engine.fate(known) if self.engine.resumable else None,
            received=self.engine.heard_fate if self.engine.resumable else None,
        )
        lost.__cause__ = self.connection_error
        return lost

    def _callback_failed(self, Channel channel, error):
        """A listener raised: its channel is reset, and the session goes on."""
        callback_failed(self.loop, logger, error, "a listener of channel %d (%r) failed", channel.id, channel.name)
        channel._reset(Code.INTERNAL, "the listener failed")

    # Channels

    def _serve_as_task(self, Channel channel):
        """Keep the channel's slot until `_handler_returned`, also when the channel ends before that. Whether there is one to keep."""
        if channel.state == NULL:                                       # what made the handler has ended the channel
            return False
        channel.state.flags |= SERVED
        return True

    def _handler_returned(self, Channel channel):
        """What serves a channel of the peer has ended: its slot may be given back."""
        self.engine.handler_returned(channel.id)
        if self.failure is None and self.engine.has_output():
            self.output_ready()

    def attached_channels(self):
        return self.attached()

    cdef list attached(self):
        """Those that the engine keeps alive."""
        return [channel for channel in self.shown() if (<Channel>channel).state.flags & KEPT]

    cdef list shown(self):
        """The channels that somebody has, also those that have ended."""
        cdef size_t index
        cdef channel_t *state
        cdef list channels = []
        for index in range(self.engine.table.room):
            state = self.engine.table.slots[index]
            if state != NULL and state.owner != NULL:
                channels.append(<Channel>state.owner)
        return channels

    cdef int detach(self, Channel channel) except -1:
        """The engine will not report of the channel again: from here on only its users keep it alive."""
        if channel.state != NULL and channel.state.flags & KEPT:
            channel.state.flags &= ~<int>KEPT
            Py_DECREF(channel)
        return 0

    def _open(self, str name, meta, str mode, int priority, codec, deadline, traceparent):
        """Open a channel now; None when there is no slot for it."""
        cdef channel_t *state
        deadline_ms = None if deadline is None or deadline == INFINITY else max(0, int(deadline * 1000))
        kind = MODES.index(mode)
        state = self.engine.open_channel(encode_open(name, meta, kind, priority, deadline_ms, traceparent), kind, priority)
        if state == NULL:
            return None
        channel = new_channel(self, state, (name, encode_pairs(meta), mode, priority, deadline_ms, traceparent), codec)
        self.output_ready()
        return channel

    async def _slot(self):
        """Wait until opening may be tried again."""
        waiter = self.loop.create_future()
        self.opening[waiter] = None
        try:
            await waiter
        finally:
            self.opening.pop(waiter, None)                      # who is cancelled must not be kept until a slot comes

    def _wake_openers(self):
        waiters, self.opening = self.opening, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
                self.woken += 1

    def _in_use(self):
        """How many channels have not ended yet, of those that are awaited."""
        cdef size_t index, count = 0
        cdef channel_t *state
        for index in range(self.engine.table.room):
            state = self.engine.table.slots[index]
            if state != NULL and state.state != CLOSED and state.id not in self.not_awaited:
                count += 1
        return count

    def _check_quiet(self):
        cdef Engine engine = self.engine
        if self.quiet.done():
            return
        written = not engine.has_output() and engine.log.count == 0 and not engine.held_back & (PARTED | OUT_OF_CREDIT)
        if self.failure is not None or engine.phase == OVER or self._in_use() == 0 and written:
            self.quiet.set_result(None)

    async def _until_quiet(self):
        """Wait until all channels have ended and everything is written."""
        quiet = self.quiet = self.quiet or self.loop.create_future()
        self.output_ready()
        await asyncio.shield(quiet)
        if self.quiet is quiet:                                 # or somebody waits anew already
            self.quiet = None

    # The end

    cdef int end(self, exc) except -1:
        """The session is over: everyone who waits learns why, and the connection is closed in good order."""
        cdef Channel channel
        cdef list channels
        if self.failure is not None:
            return 0
        self.failure = exc
        self.engine.held_back &= ~<uint32_t>CONGESTED                           # nothing can be written behind our EOF
        self.flush()
        channels = self.attached()
        for channel in channels:
            channel.failure = channel.own(exc)
            self.detach(channel)
        self._wake_openers()
        self.tell_progress()
        if self.quiet is not None:
            self._check_quiet()
        if self.transport is not None:
            self._close_connection()
            if self.reading_paused:
                self.read_on()                                  # up to the end
        self.engine.forget()                                    # the exception has the counts
        self._on_ended(channels)                                # who tells those that wait for them
        return 0

    def _close_connection(self):
        """Shut our direction down, read to the end of the peer's, close; abort after the timeout.

        A socket closed with unread input sends RST, which destroys at the peer what we have just sent. That is worth a while; but
        a peer whose handshake failed gets no more time than the handshake had.
        """
        cdef double patience = self.config.close_timeout
        if self.shut:
            return
        self.shut = True
        if self.eof_seen or not self.transport.can_write_eof():
            self.transport.close()
        elif not self.transport.is_closing():
            try:
                self.transport.write_eof()
            except (OSError, RuntimeError):                     # it is down already, which connection_lost will tell
                self.transport.abort()
        if self.timer is not None:
            self.timer.cancel()
        if self.engine.phase_then < UP:
            patience = max(0.0, min(patience, self.engine.deadline - self.clock()))
        self.timer = self.loop.call_later(patience, self.transport.abort)

    def _abort_connection(self):
        self.shut = True
        if self.transport is not None:
            self.transport.abort()

    # Between two connections

    def _leave_connection(self):
        """Give up the connection: whatever it still delivers is for nobody. Returns its transport, or None."""
        transport = self.transport
        self.transport = self.write_one = self.write_many = self.turn = None
        self.turn_due = self.reading_paused = self.eof_seen = self.shut = False
        self.storage = self.lent_view = None
        self.lent_at = NULL
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.timer_at = INFINITY
        if transport is not None:
            transport.set_protocol(Nobody())
        return transport

    def _take_connection(self, transport, frames):
        """There is another connection. Returns how many frames are sent again."""
        self.transport = transport
        self.write_one, self.write_many = transport.write, writelines(transport)
        self.turn = self._turn
        self.begin_share()
        self.connection_error = None
        return self.engine.rejoin(frames, self.clock())

    def _go_on(self, bytes rest):
        """Write and read over it."""
        self.flush()
        self.engine.receive_data(rest, self.clock())
        self.deliver()
        self.set_timer()

    def _give_up(self, cause, known=None):
        """There will be no other connection."""
        lost = self._lost(cause, known)
        self.engine.end_session(Code.TIMEOUT, BY_STREAM, SAY_NOTHING)
        self.end(lost)

    def _forked(self):
        """In the child of a fork: the connection is the parent's. It is not touched, nobody is woken, and no callback is told."""
        self.forked = True
        self._leave_connection()
        self.engine.end_session(Code.TIMEOUT, BY_STREAM, SAY_NOTHING)
        self.failure = SessionLost(cause=f"this process ({getpid()}) is a fork, and its parent has the session")
        for channel in self.shown():
            (<Channel>channel).disown(self.failure)
            self.detach(channel)
        self.engine.forget()

    def _finish(self, exc):
        self.end(exc)

    def _unwritten(self, Channel channel):
        """Whether messages of the channel wait to be written."""
        if channel.state == NULL:
            raise channel._how_it_ended()
        return channel.state.first != NULL

    # Time

    cdef int set_timer(self) except -1:
        cdef double due = self.engine.due()
        if self.failure is not None:
            return 0                                            # the timer is the abort's
        if self.engine.held_back & CONGESTED and self.congested_since + self.config.write_timeout < due:
            due = self.congested_since + self.config.write_timeout
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.timer_at = due
        if due < INFINITY and self.transport is not None:
            self.timer = self.loop.call_later(max(0.0, due - self.clock()), self._tick)
        return 0

    def _tick(self):
        now = max(self.clock(), self.timer_at)                  # a loop may call a little early, and would again and again
        self.timer = None
        self.timer_at = INFINITY
        self.engine.unsent = self._unsent()
        if self.engine.held_back & CONGESTED and self.engine.unsent < self.congested_with:
            self.congested_since, self.congested_with = now, self.engine.unsent     # slow, but it takes something
        if self.engine.held_back & CONGESTED and now - self.congested_since >= self.config.write_timeout:
            reason = f"the peer has taken nothing for {now - self.congested_since:.1f} s".encode()
            if self.engine.resumable and self.engine.phase == UP:
                self.engine.keep_reason(PyBytes_AS_STRING(reason), len(reason))
                self.engine.connection_lost(Code.TIMEOUT, 0)
            else:
                self.engine.close_session(Code.TIMEOUT, PyBytes_AS_STRING(reason), len(reason))
                self._abort_connection()
        else:
            self.engine.tick(now)
        self.deliver()
        if self.failure is None:
            self.set_timer()

    def _unsent(self):
        """Bytes that were handed to the transport and not acknowledged by the peer's kernel."""
        return self.transport.get_write_buffer_size() + unacknowledged(self.transport.get_extra_info("socket"))
