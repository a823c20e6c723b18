"""OpenSSL's contexts: which certificate a handshake shows, what it takes, how its session is taken up again.

    ClientHello ─▶ the entry context ─▶ _on_host asks for the number of a certificate ─▶ that context ─▶ …

What is spoken stands in `tls.py`, with its reasons. Tickets (RFC 8446 section 4.6.1, RFC 5077) are sealed with a key that
all workers of an edge are given, so a session that one has begun is resumed by any; sessions are kept nowhere.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

ctypedef int (*AlpnCallback)(
    SSL* ssl, const unsigned char** out, unsigned char* out_size, const unsigned char* offered, unsigned int size,
    void* argument
) noexcept
ctypedef int (*HostCallback)(SSL* ssl, int* alert, void* argument) noexcept
ctypedef int (*PasswordCallback)(char* out, int size, int is_writing, void* argument) noexcept
ctypedef long (*BioCallback)(
    BIO* bio, int operation, const char* data, size_t size, int number, long other, int result, size_t* processed
) noexcept

cdef extern from "<openssl/ssl.h>" nogil:
    ctypedef struct SSL_METHOD:
        pass
    const SSL_METHOD* TLS_server_method()
    SSL_CTX* SSL_CTX_new(const SSL_METHOD* method)
    void SSL_CTX_free(SSL_CTX* context)
    SSL_CTX* SSL_set_SSL_CTX(SSL* ssl, SSL_CTX* context)
    int SSL_CTX_set_min_proto_version(SSL_CTX* context, int version)
    int SSL_CTX_set_cipher_list(SSL_CTX* context, const char* names)
    long SSL_CTX_set_mode(SSL_CTX* context, long mode)
    long SSL_CTX_set_session_cache_mode(SSL_CTX* context, long mode)
    unsigned long SSL_CTX_set_options(SSL_CTX* context, unsigned long options)
    long SSL_CTX_set_tlsext_ticket_keys(SSL_CTX* context, void* keys, int size)
    int SSL_CTX_set_num_tickets(SSL_CTX* context, size_t count)
    void SSL_CTX_set_alpn_select_cb(SSL_CTX* context, AlpnCallback callback, void* argument)
    long SSL_CTX_set_tlsext_servername_callback(SSL_CTX* context, HostCallback callback)
    long SSL_CTX_set_tlsext_servername_arg(SSL_CTX* context, void* argument)
    const char* SSL_get_servername(const SSL* ssl, int kind)
    int SSL_CTX_use_certificate(SSL_CTX* context, X509* certificate)
    long SSL_CTX_add0_chain_cert(SSL_CTX* context, X509* certificate)
    int SSL_CTX_use_PrivateKey(SSL_CTX* context, EVP_PKEY* key)
    int SSL_CTX_check_private_key(const SSL_CTX* context)
    ctypedef struct X509:
        pass
    ctypedef struct EVP_PKEY:
        pass
    enum:
        SSL_AD_UNRECOGNIZED_NAME
        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
        SSL_MODE_ENABLE_PARTIAL_WRITE
        SSL_MODE_RELEASE_BUFFERS
        SSL_OP_IGNORE_UNEXPECTED_EOF
        SSL_OP_NO_COMPRESSION
        SSL_OP_NO_RENEGOTIATION
        SSL_SESS_CACHE_OFF
        SSL_TLSEXT_ERR_ALERT_FATAL
        SSL_TLSEXT_ERR_NOACK
        SSL_TLSEXT_ERR_OK
        TLS1_2_VERSION
        TLSEXT_NAMETYPE_host_name

cdef extern from "<openssl/pem.h>" nogil:
    ctypedef struct BIO:
        pass
    BIO* SSL_get_rbio(const SSL* ssl)
    void BIO_set_callback_ex(BIO* bio, BioCallback callback)
    void BIO_set_callback_arg(BIO* bio, char* argument)
    char* BIO_get_callback_arg(const BIO* bio)
    void BIO_clear_retry_flags(BIO* bio)
    void BIO_set_retry_read(BIO* bio)
    int BIO_CB_READ
    BIO* BIO_new_mem_buf(const void* data, int size)
    int BIO_free(BIO* bio)
    X509* PEM_read_bio_X509(BIO* bio, X509** into, PasswordCallback callback, void* argument)
    EVP_PKEY* PEM_read_bio_PrivateKey(BIO* bio, EVP_PKEY** into, PasswordCallback callback, void* argument)
    void X509_free(X509* certificate)
    void EVP_PKEY_free(EVP_PKEY* key)
    unsigned long ERR_peek_last_error()
    const char* ERR_reason_error_string(unsigned long error)

TICKET_KEY_BYTES = 80           # a name, a key of HMAC and a key of AES-256
# One is enough for whoever keeps its connection; each costs a handshake a tenth of its time. Go's server sends one, too.
cdef enum:
    TICKETS = 1

cdef const char* HTTP_1_1 = b"http/1.1"


cdef str _reason():
    cdef const char* text = ERR_reason_error_string(ERR_peek_last_error())
    ERR_clear_error()
    return "no reason given" if text == NULL else text.decode("ascii", "replace")


cdef int _refuse_password(char* out, int size, int is_writing, void* argument) noexcept:
    return -1


cdef int _on_protocols(
    SSL* ssl, const unsigned char** out, unsigned char* out_size, const unsigned char* offered, unsigned int size,
    void* argument
) noexcept:
    """Choose http/1.1 if it is offered (RFC 7301); a client that offers only others may try all the same."""
    cdef unsigned int at = 0
    while at < size:
        # In bounds: OpenSSL has checked that each length is followed by as many bytes.
        if offered[at] == 8 and memcmp(offered + at + 1, HTTP_1_1, 8) == 0:
            out[0] = offered + at + 1
            out_size[0] = 8
            return SSL_TLSEXT_ERR_OK
        at += 1 + offered[at]
    return SSL_TLSEXT_ERR_NOACK


cdef int _on_host(SSL* ssl, int* alert, void* argument) noexcept:
    """Called by OpenSSL within SSL_do_handshake, so with the interpreter's lock held.

    After a defect in Python, which goes to stderr, the handshake finds no certificate and is refused.
    """
    if (<Contexts>argument)._select(ssl) == 0:
        return SSL_TLSEXT_ERR_OK
    alert[0] = SSL_AD_UNRECOGNIZED_NAME
    return SSL_TLSEXT_ERR_ALERT_FATAL


cdef long _on_bio(
    BIO* bio, int operation, const char* data, size_t size, int number, long other, int result, size_t* processed
) noexcept:
    """Let OpenSSL read its share of the socket; called before and after each operation.

    SSL_read goes on until it has data. A client that sends records without any (KeyUpdate; in TLS 1.2 a ClientHello that
    is refused as a renegotiation) would keep the worker in one call for as long as it sends.
    """
    cdef int* reads_left = <int*>BIO_get_callback_arg(bio)
    if operation != BIO_CB_READ:
        return result
    if reads_left[0] == 0:
        BIO_clear_retry_flags(bio)
        BIO_set_retry_read(bio)
        return -1
    reads_left[0] -= 1
    return result


cdef SSL_CTX* _new_context(bytes ciphers, bytes ticket_key) except NULL:
    cdef SSL_CTX* context = SSL_CTX_new(TLS_server_method())
    if context == NULL:
        raise MemoryError("no memory for a TLS context")
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION)
    # A client knows best which of the suites its hardware is fast at, so its order counts. Renegotiation is work that
    # anyone could ask for. A client that closes its socket without a word has ended as one that says close_notify: a
    # request ends by itself, so nothing can be cut off unseen.
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION)
    SSL_CTX_set_mode(
        context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS
    )
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF)
    SSL_CTX_set_num_tickets(context, TICKETS)
    SSL_CTX_set_alpn_select_cb(context, _on_protocols, NULL)
    if SSL_CTX_set_cipher_list(context, ciphers) == 1 and SSL_CTX_set_tlsext_ticket_keys(
        context, PyBytes_AS_STRING(ticket_key), <int>PyBytes_GET_SIZE(ticket_key)
    ) == 1:
        return context
    SSL_CTX_free(context)
    raise ValueError(f"OpenSSL does not take the ciphers or the ticket key: {_reason()}")


@cython.final
cdef class Contexts:

    def __cinit__(self, *args, **kwargs):
        self._entry = NULL
        self._shown = NULL

    def __dealloc__(self):
        cdef size_t number
        for number in range(self._count):
            SSL_CTX_free(self._shown[number])
        free(self._shown)
        SSL_CTX_free(self._entry)

    def __init__(self, pems, find, bytes ciphers not None, bytes ticket_key not None):
        if len(ticket_key) != TICKET_KEY_BYTES:
            raise ValueError(f"a ticket key has {TICKET_KEY_BYTES} bytes, not {len(ticket_key)}")
        self._find = find
        self._entry = _new_context(ciphers, ticket_key)
        SSL_CTX_set_tlsext_servername_callback(self._entry, _on_host)
        SSL_CTX_set_tlsext_servername_arg(self._entry, <void*>self)     # it lives as long as its context
        self._shown = <SSL_CTX**>calloc(len(pems) or 1, sizeof(SSL_CTX*))
        if self._shown == NULL:
            raise MemoryError("no memory for TLS contexts")
        for pem in pems:
            self._shown[self._count] = _new_context(ciphers, ticket_key)
            self._count += 1
            _load(self._shown[self._count - 1], pem)

    cdef SSL* begin(self, int fd, int* reads_left) except NULL:
        cdef SSL* ssl = SSL_new(self._entry)
        if ssl == NULL or SSL_set_fd(ssl, fd) != 1:
            SSL_free(ssl)
            ERR_clear_error()
            raise MemoryError("no memory for a TLS connection")
        BIO_set_callback_arg(SSL_get_rbio(ssl), <char*>reads_left)
        BIO_set_callback_ex(SSL_get_rbio(ssl), _on_bio)
        SSL_set_accept_state(ssl)
        return ssl

    cdef int _select(self, SSL* ssl) except -2:
        cdef const char* host = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
        number = self._find(None if host == NULL else host.decode("ascii", "replace"))
        if number is None or <size_t>number >= self._count:
            return -1
        return 0 if SSL_set_SSL_CTX(ssl, self._shown[<size_t>number]) != NULL else -1


cdef int _load(SSL_CTX* context, bytes pem) except -1:
    """Let the context show a certificate: the PEM has the leaf, the rest of its chain and the key."""
    cdef BIO* bio = BIO_new_mem_buf(PyBytes_AS_STRING(pem), <int>PyBytes_GET_SIZE(pem))
    cdef BIO* again = BIO_new_mem_buf(PyBytes_AS_STRING(pem), <int>PyBytes_GET_SIZE(pem))
    try:
        if bio == NULL or again == NULL:
            raise MemoryError("no memory for a certificate")
        if not _use_chain(context, bio) or not _use_key(context, again):
            raise ValueError(f"OpenSSL does not take a certificate that was checked: {_reason()}")
    finally:
        BIO_free(bio)
        BIO_free(again)
        ERR_clear_error()
    return 0


cdef bint _use_chain(SSL_CTX* context, BIO* bio) noexcept:
    cdef X509* certificate = PEM_read_bio_X509(bio, NULL, _refuse_password, NULL)
    cdef bint is_used = certificate != NULL and SSL_CTX_use_certificate(context, certificate) == 1
    X509_free(certificate)
    while is_used:
        certificate = PEM_read_bio_X509(bio, NULL, _refuse_password, NULL)
        if certificate == NULL:
            break                               # no further one
        if SSL_CTX_add0_chain_cert(context, certificate) != 1:      # else it is the context's now
            X509_free(certificate)
            is_used = False
    return is_used


cdef bint _use_key(SSL_CTX* context, BIO* bio) noexcept:
    cdef EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, NULL, _refuse_password, NULL)
    cdef bint is_used = key != NULL and SSL_CTX_use_PrivateKey(context, key) == 1
    EVP_PKEY_free(key)
    return is_used and SSL_CTX_check_private_key(context) == 1
