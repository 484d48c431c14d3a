# What a machine does between two connections of its session. Cold code: its face is Python's.
from ._machine cimport Machine

cdef class Resumable(Machine):
    pass

cdef illegal(str reason)                # the exception for a command at the wrong time
