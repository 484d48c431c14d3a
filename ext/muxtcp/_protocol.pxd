# MuxProtocol: the asyncio and uvloop shell of one connection.
from ._session cimport SessionCore

cdef class Shell:
    cdef SessionCore session
    cdef readonly object transport
    cdef bint over_tls
