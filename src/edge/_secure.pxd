"""Connections over TLS: OpenSSL between the socket and the requests."""

from edge._socket cimport SocketConnection
from edge._tls cimport SSL, Contexts


cdef class SecureConnection(SocketConnection):
    cdef Contexts _contexts
    cdef SSL* _ssl                      # owned; NULL before `_begin`
    cdef int _reads_left                # of the socket, within the call of OpenSSL that is running
    cdef bint _is_shaken                # the handshake is completed
    cdef bint _is_broken                # it was refused, or the peer broke the protocol: nothing more is written
    cdef bint _wants_write              # OpenSSL cannot go on before it has written something of its own

    cdef int _prepare(self) noexcept            # before each call of OpenSSL
    cdef int _shake(self) except -1
    cdef bint _is_unread(self) noexcept
    cdef ssize_t _outcome(self, int result) noexcept
