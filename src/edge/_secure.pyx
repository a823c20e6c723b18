"""Connections over TLS: OpenSSL between the socket and the requests.

    accepted ──▶ shaking ──▶ the phases of any connection, with SSL_read for recv(2) and SSL_write for send(2)
                    │
                    ├─ refused by either side: the alert is sent, and lingered for
                    └─ abandoned: the client left, or the handshake's time is over

The socket is the same as a plain connection's, in the same epoll set, under the same limits. A record has at most 16 KiB
and one read asks for as much: so OpenSSL holds nothing back of which the set would not tell.

OpenSSL's queue of errors is the thread's, and SSL_get_error reads it. Shards and PostgreSQL may be reached over TLS in the
same thread, through Python's ssl: so no error stays in it, or a client that is refused would break their connections.
"""

cimport cython
from libc.errno cimport EAGAIN, ECONNRESET, EPROTO, errno
from libc.stdint cimport uint32_t

from edge._counters cimport TLS_ABANDONED, TLS_FULL, TLS_REFUSED, TLS_RESUMED
from edge._roster cimport FRESH, SHAKING
from edge._socket cimport EPOLLIN, EPOLLOUT
from edge._tls cimport (
    READS_MAX, ERR_clear_error, SSL_do_handshake, SSL_ERROR_SSL, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN,
    SSL_free, SSL_get_error, SSL_read, SSL_session_reused, SSL_shutdown, SSL_write,
)

cdef extern from *:
    """
    #include <errno.h>
    static inline ssize_t fail_with(int code) { errno = code; return -1; }
    """
    ssize_t fail_with(int code) noexcept nogil

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void* data, size_t size, int flags)
    int MSG_DONTWAIT
    int MSG_PEEK


@cython.final
cdef class SecureConnection(SocketConnection):

    def __dealloc__(self):
        SSL_free(self._ssl)

    cdef int _begin(self) except -1:
        self._is_tls = True
        self._phase = SHAKING
        self._ssl = self._contexts.begin(self._fd, &self._reads_left)
        return self._shake()

    cdef int _prepare(self) noexcept:
        ERR_clear_error()
        self._reads_left = READS_MAX
        return 0

    cdef int _shake(self) except -1:
        cdef int result
        self._prepare()
        result = SSL_do_handshake(self._ssl)
        if result == 1:
            ERR_clear_error()                   # of what was tried in vain, such as a ticket
            self._is_shaken = True
            self._wants_write = False
            self._front.counters.count(TLS_RESUMED if SSL_session_reused(self._ssl) else TLS_FULL)
            self._phase = FRESH
            self._since_ms = self._front.read_clock()
            return self._on_readable()
        if self._outcome(result) == 0 or errno == ECONNRESET:
            return self._drop()                 # the client left
        if errno == EAGAIN:
            return self._watch()
        # OpenSSL has sent the alert that tells the client why, or the client did; a reset would take it away again.
        self._front.counters.count(TLS_REFUSED)
        self._is_more_due = True
        return self._shut()

    cdef ssize_t _outcome(self, int result) noexcept:
        """What SSL_read or SSL_write gave, as recv(2) or send(2) would say it."""
        cdef int error
        self._wants_write = False
        if result > 0:
            return result
        error = SSL_get_error(self._ssl, result)
        if error == SSL_ERROR_WANT_READ or error == SSL_ERROR_WANT_WRITE:
            self._wants_write = error == SSL_ERROR_WANT_WRITE
            return fail_with(EAGAIN)
        if error == SSL_ERROR_ZERO_RETURN:
            return 0
        self._is_broken = True
        ERR_clear_error()
        return fail_with(EPROTO if error == SSL_ERROR_SSL else ECONNRESET)

    cdef ssize_t _receive(self, char* data, size_t size) noexcept:
        self._prepare()
        return self._outcome(SSL_read(self._ssl, data, <int>size))

    cdef ssize_t _transmit(self, const char* data, size_t size) noexcept:
        """All that the socket takes: OpenSSL writes a record at a time."""
        cdef size_t sent = 0
        cdef ssize_t result = 0
        while sent < size:
            self._prepare()
            result = self._outcome(SSL_write(self._ssl, data + sent, <int>(size - sent)))
            if result < 0 and errno == EAGAIN and not self._wants_write:
                # It waits for the rest of a KeyUpdate, while the set would say again and again that it may write.
                self._is_broken = True
                return fail_with(EPROTO)
            if result <= 0:
                break
            sent += result
        return sent if sent > 0 else result

    cdef uint32_t _wanted(self) noexcept:
        if self._wants_write:
            return EPOLLOUT
        return SocketConnection._wanted(self) if self._is_shaken else EPOLLIN

    cdef int _take_leave(self) noexcept:
        """Say close_notify, and wait for none: RFC 8446 section 6.1 allows it."""
        if self._is_shaken and not self._is_broken:
            self._prepare()
            SSL_shutdown(self._ssl)
            ERR_clear_error()
        return 0

    cdef int _shut(self) except -1:
        """A read takes one record. What came behind it is unread, be it no more than the client's close_notify."""
        self._is_more_due = self._is_more_due or self._is_unread()
        return SocketConnection._shut(self)

    cdef bint _is_unread(self) noexcept:
        cdef char byte
        return self._fd >= 0 and not self._is_ended and recv(self._fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0

    cdef int _on_readable(self) except -1:
        if self._is_shaken or self._is_closing:
            return SocketConnection._on_readable(self)
        self._front.read_clock()
        return self._shake()

    cdef int _on_writable(self) except -1:
        if self._is_unsent:
            return SocketConnection._on_writable(self)
        self._wants_write = False
        return self._on_readable()

    cdef int _on_limit(self) except -1:
        return self._drop() if self._phase == SHAKING else SocketConnection._on_limit(self)

    cdef int _close(self) except -1:
        # Whoever was not admitted has no handshake to abandon.
        if self._fd >= 0 and self._ssl != NULL and not self._is_shaken and not self._is_closing:
            self._front.counters.count(TLS_ABANDONED)
        return SocketConnection._close(self)
