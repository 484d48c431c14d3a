"""Wakeup: a future that can run its task at once; and a cancellation that comes too late for what it met.

An asyncio future schedules its task: a handle, a context copy and another turn of the loop for each message, which is most of what a
small echo costs. A wake-up follows the same protocol as seen from a task (`_asyncio_future_blocking`, `add_done_callback` with a
context, `cancel`, `result`), but when bytes have arrived and everything is delivered, the session runs the tasks that wait from there:
the engine is at rest then, and no task is running. Everywhere else (a cancellation, a close from another task) it goes through the loop
as a future does.
"""

from asyncio import CancelledError, InvalidStateError, current_task, get_running_loop

cimport cython
from cpython.contextvars cimport PyContext_Enter, PyContext_Exit


@cython.final
@cython.freelist(64)
cdef class Wakeup:
    def __init__(self):
        raise TypeError("made by recv()")

    # The future protocol, for the task

    def get_loop(self):
        return self.loop

    def add_done_callback(self, callback, *, context=None):
        if self.callback is not None:
            raise RuntimeError("a wake-up is awaited by one task")
        self.callback = callback
        self.context = context
        if self.state != ASLEEP:
            self.fire_soon()

    def remove_done_callback(self, callback):
        if self.callback != callback:
            return 0
        self.callback = None
        return 1

    def cancel(self, msg=None):
        if self.state != ASLEEP:
            return False
        self.state = CANCELLED
        self.message = msg
        self.fire_soon()
        return True

    def done(self):
        return self.state != ASLEEP

    def cancelled(self):
        return self.state == CANCELLED

    def result(self):
        if self.state == CANCELLED:
            raise CancelledError() if self.message is None else CancelledError(self.message)
        if self.state == ASLEEP:
            raise InvalidStateError("not woken yet")

    def exception(self):
        self.result()

    def _make_cancelled_error(self):
        return CancelledError() if self.message is None else CancelledError(self.message)

    # For the channel

    cdef int fire(self) except -1:
        callback, self.callback = self.callback, None
        if callback is None:
            return 0                                # not awaited yet: add_done_callback will see that it is awake
        try:
            PyContext_Enter(self.context)           # what context.run() does, for half the price
            try:
                callback(self)
            finally:
                PyContext_Exit(self.context)
        except BaseException as error:              # SystemExit and KeyboardInterrupt leave the loop, not a protocol's callback
            self.loop.call_soon(throw, error)
        return 0

    cdef int fire_soon(self) except -1:
        callback, self.callback = self.callback, None
        if callback is not None:
            self.loop.call_soon(callback, self, context=self.context)
        return 0


def throw(error):
    raise error


cdef bint put_off(error) except -1:
    """Whether this cancellation of the running task is asked for once more in the next turn of the loop, so that it may be ignored now.

    For what can't be undone: to raise CancelledError would say that it did not happen, and to ignore it would leave a task that nobody
    can end. If what asked for it is over by then, as a timeout whose block was left in time, so is the cancellation.
    """
    task = current_task()
    if task is None or not task.cancelling():       # somebody threw it in
        return False
    get_running_loop().call_soon(cancel_again, task, error.args)
    return True


def cancel_again(task, args):
    if task.cancelling() and not task.done():
        task.cancel(*args)
        task.uncancel()                             # it is the same request, which is counted already
