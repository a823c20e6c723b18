"""OpenSSL, as far as the door needs it: what a handshake shows and takes. A leaf: cimports only libc and cpython."""

from libc.stddef cimport size_t

cdef extern from "<openssl/ssl.h>" nogil:
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_CTX:
        pass
    SSL* SSL_new(SSL_CTX* context)
    void SSL_free(SSL* ssl)
    int SSL_set_fd(SSL* ssl, int fd)
    void SSL_set_accept_state(SSL* ssl)
    int SSL_do_handshake(SSL* ssl)
    int SSL_session_reused(SSL* ssl)
    int SSL_read(SSL* ssl, void* data, int size)
    int SSL_write(SSL* ssl, const void* data, int size)
    int SSL_shutdown(SSL* ssl)
    int SSL_get_error(const SSL* ssl, int result)
    enum:
        SSL_ERROR_SSL
        SSL_ERROR_WANT_READ
        SSL_ERROR_WANT_WRITE
        SSL_ERROR_ZERO_RETURN

cdef extern from "<openssl/err.h>" nogil:
    void ERR_clear_error()

cdef enum:
    READS_MAX = 32              # of a socket within one call of OpenSSL; a record takes two, a client's flight up to eight


cdef class Contexts:
    """A worker's certificates, ready for handshakes."""
    cdef SSL_CTX* _entry                # owned: every handshake begins with it
    cdef SSL_CTX** _shown               # owned: one for each certificate
    cdef size_t _count
    cdef object _find                   # called with the host that a client named, or None

    # The caller's to free; `reads_left`, borrowed, must live as long. OpenSSL may read the socket so often, then
    # it wants to read: the caller sets the number before each call.
    cdef SSL* begin(self, int fd, int* reads_left) except NULL
    cdef int _select(self, SSL* ssl) except -2  # 0, or -1 if there is no certificate for the host
