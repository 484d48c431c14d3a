# Wakeup: what a task that waits for a message is suspended on.

cdef enum WakeupState:
    ASLEEP = 0
    AWAKE = 1
    CANCELLED = 2

cdef class Wakeup:
    cdef object loop
    cdef int state
    cdef public bint _asyncio_future_blocking
    cdef object callback            # the task's, once it sleeps
    cdef object context
    cdef object message             # of the cancellation

    cdef int fire(self) except -1           # run the task now: only where no task is running
    cdef int fire_soon(self) except -1

cdef bint put_off(error) except -1
