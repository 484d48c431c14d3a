# The machine with its Python face, and the budget that the sessions of a process share.
from ._flow cimport budget_t
from ._machine cimport Machine, event_t
from ._table cimport channel_t

cdef class MemoryBudget:
    cdef budget_t budget

cdef class Engine(Machine):
    cdef dict meta                          # ours, of the session
    cdef channel_t *named(self, id) except NULL

cdef object fitting(code)                   # raises ValueError when no frame holds it
cdef str text(const char *data, size_t size)
