"""ChannelHost: what a channel needs of its session, which belongs to the thread of its event loop."""

from asyncio import _get_running_loop
import threading

from libc.stdint cimport uint32_t

from ._output cimport GIVING_WAY

cdef class ChannelHost:
    cdef int output_ready(self) except -1:
        raise NotImplementedError

    cdef int flush(self) except -1:
        raise NotImplementedError

    cdef int give_way(self) except -1:
        raise NotImplementedError

    cdef int begin_share(self) except -1:
        self.left = SHARE
        self.engine.held_back &= ~<uint32_t>GIVING_WAY
        return 0

    def _check_thread(self):
        check_thread(self)

    def _opens_too_soon(self):
        """Count an open in this turn's share; True when that is used up, and the turn has to be waited for."""
        self.left -= OPENING_UNITS
        if self.left <= 0:
            self.give_way()
        return self.engine.held_back & GIVING_WAY != 0

    cdef int called_elsewhere(self) except -1:
        if _get_running_loop() is self.loop:                    # which runs in another thread than it did
            self.thread = PyThread_get_thread_ident()
            return 0
        own = next((thread.name for thread in threading.enumerate() if thread.ident == self.thread), "one that has ended")
        raise RuntimeError(
            f"this session belongs to the event loop of thread {own!r} ({self.thread}), and was used in thread "
            f"{threading.current_thread().name!r} ({threading.get_ident()}): there, use channel.send_threadsafe() or "
            "asyncio.run_coroutine_threadsafe(..., session.loop)"
        )
