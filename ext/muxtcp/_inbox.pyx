"""Inbox: the messages of one channel that wait for the user, and the tasks that wait for messages.

A wake-up carries no message: a receiver that is cancelled in the same tick as its message arrives has taken nothing, and the next one
is woken in its place. Credit goes back when a message is taken.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, PyTypeObject
from libc.string cimport memcpy

from muxtcp.errors import ChannelClosed, Code, CodecError, EndOfStream, LocalProtocolError, raised_again

from ._host cimport LARGEST_BATCH, MESSAGE_UNITS, check_thread
from ._instant cimport PYGEN_NEXT, PYGEN_RETURN, muxtcp_install, muxtcp_return
from ._wakeup cimport ASLEEP, AWAKE, Wakeup


@cython.final
@cython.freelist(64)
cdef class Receive:
    """What recv() returns. Nothing is taken before it is awaited."""

    cdef Inbox inbox
    cdef int mode
    cdef Wakeup wakeup                  # while it waits for one
    cdef bint gave_way

    def __init__(self):
        raise TypeError("made by recv()")

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise AssertionError("replaced by receive_next")

    def send(self, value):
        cdef PyObject *result = NULL
        if receive_send(<PyObject *>self, <PyObject *>value, &result) == PYGEN_NEXT:
            yielded = <object>result
            Py_DECREF(yielded)
            return yielded
        returned = <object>result
        Py_DECREF(returned)
        raise StopIteration(returned)

    def throw(self, kind, value=None, traceback=None):
        self.close()
        raise kind if value is None else value

    def close(self):
        """Stop waiting. A wake-up that has come already is the next receiver's."""
        cdef Wakeup wakeup = self.wakeup
        if wakeup is None:
            return
        self.wakeup = None
        self.inbox.receivers.remove(wakeup)
        if wakeup.state != AWAKE:
            self.inbox.sleeping -= 1
        elif self.inbox.count and self.inbox.sleeping:
            self.inbox.wake_receiver()


cdef int receive_send(PyObject *self, PyObject *arg, PyObject **result) except? -1:
    cdef Receive receive = <Receive>self
    cdef Inbox inbox = receive.inbox
    check_thread(inbox.host)
    if receive.wakeup is not None:
        if receive.wakeup.state == ASLEEP:
            raise RuntimeError("resumed before a message came: recv() is awaited by asyncio tasks only")
        inbox.receivers.remove(receive.wakeup)
        receive.wakeup = None
        if inbox.count > 1 and inbox.sleeping:
            inbox.wake_receiver()
    elif inbox.count and inbox.host.left <= 0 and not receive.gave_way:
        receive.gave_way = True                             # a task that never has to wait would keep the loop for itself
        inbox.host.give_way()
        Py_INCREF(None)
        result[0] = <PyObject *>None
        return PYGEN_NEXT
    if inbox.count:
        value = inbox.take(receive.mode)
        Py_INCREF(value)
        result[0] = <PyObject *>value
        return PYGEN_RETURN
    inbox.over(receive.mode)
    receive.wakeup = inbox.sleep()
    receive.wakeup._asyncio_future_blocking = True
    Py_INCREF(receive.wakeup)
    result[0] = <PyObject *>receive.wakeup
    return PYGEN_NEXT


cdef PyObject *receive_next(PyObject *self) except? NULL:
    cdef PyObject *result = NULL
    if receive_send(self, <PyObject *>None, &result) == PYGEN_NEXT:
        return result
    muxtcp_return(result)
    Py_DECREF(<object>result)
    return NULL


muxtcp_install(<PyTypeObject *>Receive, receive_send, receive_next)


@cython.final
cdef class Batches:
    """What batches() returns: an async iterator of lists."""

    cdef Inbox inbox

    def __init__(self):
        raise TypeError("made by batches()")

    def __aiter__(self):
        return self

    def __anext__(self):
        return new_receive(self.inbox, BATCH)


cdef inline Receive new_receive(Inbox inbox, int mode):
    cdef Receive receive = Receive.__new__(Receive)
    receive.inbox = inbox
    receive.mode = mode
    return receive


@cython.no_gc_clear                     # as Channel
cdef class Inbox:
    """The receiving half of a channel, which is its only subclass: so its methods are final, and called directly."""

    def __init__(self):
        raise TypeError("channels come from session.open() and from the peer")

    def __dealloc__(self):
        self.clear()
        PyMem_Free(self.ring)

    # Receiving

    def recv(self):
        """Await the next message. Cancelling takes nothing. Raises EndOfStream after the last, ChannelError, SessionLost."""
        return new_receive(self, ONE)

    def __aiter__(self):
        return self

    def __anext__(self):
        return new_receive(self, NEXT)

    def batches(self):
        """Iterate over lists of the messages that are here, 1 to 4,096 each time, until the peer's send_eof()."""
        cdef Batches batches = Batches.__new__(Batches)
        batches.inbox = self
        return batches

    def recv_nowait(self):
        """The next message if it is here already, else BlockingIOError; at the end as recv()."""
        check_thread(self.host)
        if self.count:
            return self.take(ONE)
        self.over(ONE)
        raise BlockingIOError(f"no message is waiting on channel {self.id} ({self.name!r})")

    # What a receive takes

    @cython.final
    cdef object take(self, int mode):
        cdef bytes message
        cdef list batch
        if mode == BATCH:
            batch = []
            try:
                while len(batch) < min(self.count, <size_t>LARGEST_BATCH):
                    message = <bytes>self.ring[(self.first + len(batch)) & (self.room - 1)]
                    batch.append(message if self.codec is None else self._decoded(message))
            except CodecError:
                if not batch:                                   # else it begins the next batch, and raises there
                    self.drop_first()
                    self.credit_moved()
                    raise
            for _ in range(len(batch)):                         # only now: whatever else was raised has taken nothing
                self.drop_first()
            self.credit_moved()
            return batch
        message = self.drop_first()
        self.credit_moved()
        return message if self.codec is None else self._decoded(message)

    def _decoded(self, bytes message):
        try:
            return self.codec.decode(message)
        except Exception as error:
            raise CodecError(channel_id=self.id, name=self.name, message=message, cause=repr(error)) from error

    @cython.final
    cdef bytes drop_first(self):
        """Take the first message out of the ring, and give its credit back."""
        if self.count == 0:
            return None                                         # its codec has ended the channel, and so emptied the ring
        cdef bytes message = self.pop()
        self.host.left -= MESSAGE_UNITS
        if self.state != NULL:
            self.engine.consumed(self.state, PyBytes_GET_SIZE(message))
        return message

    @cython.final
    cdef object over(self, int mode):
        """Raise what says that nothing will come any more; return when something may."""
        if self.finished and self.state != NULL:                # whatever happened afterwards: the peer had sent everything
            if mode == ONE:
                raise self.own(EndOfStream(channel_id=self.id, name=self.name))
            raise StopAsyncIteration
        if self.failure is not None or self.state == NULL:
            raise self._how_it_ended()

    def _how_it_ended(self):
        """What says why the channel is over, to be raised."""
        if self.failure is None:
            return self.own(ChannelClosed(channel_id=self.id, name=self.name))
        return self.own(raised_again(self.failure))

    @cython.final
    cdef object own(self, error):
        """Mark an error as this session's, so that a handler's failure on another session is not taken for the end of its channel."""
        error._session = id(self.host)
        return error

    @cython.final
    cdef int credit_moved(self) except -1:
        if not self.host.turn_due and self.engine.has_output():
            self.host.output_ready()
        return 0

    # Who waits

    @cython.final
    cdef Wakeup sleep(self):
        """The wake-up of one more receiver, which must take it out of `receivers` again."""
        if self.listener is not None:
            raise LocalProtocolError(code=Code.CHANNEL_REUSED, reason="a listener receives from this channel")
        cdef Wakeup wakeup = Wakeup.__new__(Wakeup)
        wakeup.loop = self.host.loop
        if self.receivers is None:
            self.receivers = []
        self.receivers.append(wakeup)
        self.sleeping += 1
        return wakeup

    @cython.final
    cdef int wake_receiver(self) except -1:
        cdef Wakeup wakeup
        for wakeup in self.receivers:
            if wakeup.state == ASLEEP:
                self.sleeping -= 1
                wakeup.state = AWAKE
                if self.host.delivering:
                    self.host.awake.append(wakeup)
                else:
                    wakeup.fire_soon()
                return 0
        return 0

    @cython.final
    cdef int wake_all(self) except -1:
        while self.sleeping:
            before = self.sleeping
            self.wake_receiver()
            if self.sleeping == before:
                break
        return 0

    # The ring of messages that wait

    @cython.final
    cdef int push(self, bytes message) except -1:
        cdef PyObject **larger
        cdef size_t part
        if self.count == self.room:
            larger = <PyObject **>PyMem_Malloc(max(self.room * 2, <size_t>8) * sizeof(PyObject *))
            if larger == NULL:
                raise MemoryError
            part = self.room - self.first
            if self.room:
                memcpy(larger, self.ring + self.first, part * sizeof(PyObject *))
                memcpy(larger + part, self.ring, self.first * sizeof(PyObject *))
            PyMem_Free(self.ring)
            self.ring, self.first, self.room = larger, 0, max(self.room * 2, <size_t>8)
        Py_INCREF(message)
        self.ring[(self.first + self.count) & (self.room - 1)] = <PyObject *>message
        if self.count == 0:
            self.unread_since = self.engine.now
        self.count += 1
        return 0

    @cython.final
    cdef bytes pop(self):
        cdef bytes message = <bytes>self.ring[self.first]
        Py_DECREF(message)
        self.first = (self.first + 1) & (self.room - 1)
        self.count -= 1
        return message

    @cython.final
    cdef int disown(self, failure) except -1:
        """In the child of a fork: what came is the parent's, and an end would say that this process has read it all."""
        self.failure, self.finished = failure, False
        return self.clear()

    @cython.final
    cdef int clear(self) except -1:
        while self.count:
            self.pop()
        return 0
