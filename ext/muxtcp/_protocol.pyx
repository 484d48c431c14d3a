"""MuxProtocol: the shell of one connection, thin enough that an exception has no place to hide in it.

Facts about the loops that it is built on, each measured: an exception out of a callback closes the transport, so there is one `try`
around each; `get_buffer` must never return nothing; `eof_received` must return True, or the loop closes the half that is still
sending; uvloop's default low-water mark is 16 bytes, so both marks are set; since uvloop 0.23 every `write()` is a system call, so the
session collects its output and writes once a turn.
"""

import asyncio
import socket

from muxtcp.isolation import Sparing

from ._session cimport SessionCore

cdef object logger = Sparing("muxtcp")

# Linux numbers where the module `socket` of a supported Python lacks the name.
cdef object TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25 if hasattr(socket, "TCP_QUICKACK") else None)
cdef object TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)


cdef class Shell:
    def __init__(self, SessionCore session not None):
        self.session = session

    def connection_made(self, transport):
        self.transport = transport
        self.over_tls = transport.get_extra_info("ssl_object") is not None
        config = self.session.config
        transport.set_write_buffer_limits(config.high_water, config.low_water)
        self.set_options(transport.get_extra_info("socket"), config)
        try:
            self.session.connection_made(transport)
        except Exception as error:
            self.failed(error)

    def take_over(self, transport):
        """Go on where another protocol was: `transport.set_protocol()` was called, the options are set."""
        self.transport = transport
        self.over_tls = transport.get_extra_info("ssl_object") is not None

    def set_options(self, sock, config):
        if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if config.notsent_lowat and TCP_NOTSENT_LOWAT is not None:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, config.notsent_lowat)
        if config.user_timeout and TCP_USER_TIMEOUT is not None:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, int(config.user_timeout * 1000))

    def get_buffer(self, sizehint):
        return self.session.lend_buffer()

    def buffer_updated(self, Py_ssize_t size):
        try:
            self.session.bytes_arrived(size)
        except Exception as error:
            self.failed(error)

    def eof_received(self):
        try:
            self.session.eof_arrived()
        except Exception as error:
            self.failed(error)
        return not self.over_tls                                # TLS has no half-close, and loops warn

    def pause_writing(self):
        self.session.writing_paused()

    def resume_writing(self):
        try:
            self.session.writing_resumed()
        except Exception as error:
            self.failed(error)

    def connection_lost(self, exc):
        self.transport = None
        try:
            self.session.connection_lost(exc)
        except Exception as error:
            self.failed(error)

    def failed(self, error):
        """A defect of ours, or of a hook: said once, and the connection is given up."""
        logger.error("muxtcp failed on a connection", exc_info=error)
        if self.transport is not None:
            self.transport.abort()


class MuxProtocol(Shell, asyncio.BufferedProtocol):
    """The asyncio protocol of one connection; made by `Session.protocol()` and given to a loop."""
