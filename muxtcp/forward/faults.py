"""What became of a carried connection, as a code of the channel that carried it."""

import errno
import socket
from enum import IntEnum
from typing import Self


class Fault(IntEnum):
    """Codes of the application's range: why a channel that carries a connection was reset."""

    RESET = 0x1000  # the connection was reset
    REFUSED = 0x1001  # nobody listens there
    UNREACHABLE = 0x1002  # no way to the host
    TIMED_OUT = 0x1003  # no answer
    UNKNOWN_HOST = 0x1004  # the name cannot be resolved
    FAILED = 0x1005  # anything else

    @classmethod
    def of(cls, error: OSError) -> Self:
        """The fault that an error of the operating system stands for."""
        if isinstance(error, socket.gaierror):
            return cls(cls.UNKNOWN_HOST)
        if isinstance(error, TimeoutError):
            return cls(cls.TIMED_OUT)
        return cls(FAULTS.get(error.errno or 0, cls.FAILED))


FAULTS = {
    errno.ECONNRESET: Fault.RESET,
    errno.EPIPE: Fault.RESET,
    errno.ECONNABORTED: Fault.RESET,
    errno.ECONNREFUSED: Fault.REFUSED,
    errno.ENOENT: Fault.REFUSED,  # a Unix socket
    errno.EHOSTUNREACH: Fault.UNREACHABLE,
    errno.ENETUNREACH: Fault.UNREACHABLE,
    errno.EHOSTDOWN: Fault.UNREACHABLE,
    errno.ETIMEDOUT: Fault.TIMED_OUT,
}
