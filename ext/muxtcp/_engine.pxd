# The machine with its Python face, and the budget that the sessions of a process share.
from ._flow cimport budget_t
from ._machine cimport event_t
from ._resumption cimport Resumable
from ._table cimport channel_t

cdef class MemoryBudget:
    cdef budget_t budget
    cdef dict alarms                        # those who want to be told, and at which share
    cdef int set_alarm(self) except -1

cdef class Engine(Resumable):
    cdef dict meta                          # ours, of the session
    cdef bytes auth
    cdef channel_t *named(self, id) except NULL

cdef object fitting(code)                   # raises ValueError when no frame holds it
cdef str text(const char *data, size_t size)
