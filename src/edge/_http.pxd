"""The parser of request heads. A leaf: cimports only libc and cpython."""

from libc.stddef cimport size_t

cdef enum:
    HEAD_BYTES_MAX = 8192       # request line and headers together; nginx takes 8 KB a line
    TARGET_BYTES_MAX = 4096     # of the request line; a short link's is under 100
    HEADERS_MAX = 100           # as Apache's LimitRequestFields
    HOST_BYTES_MAX = 255        # a name of DNS is at most 253 octets; with its port, what the domain table can hold
    CODE_BYTES_MAX = 64         # of a link's code

cpdef enum PathKind:
    CODE_PATH = 0
    ROOT = 1
    ROBOTS = 2
    FAVICON = 3
    WELL_KNOWN = 4
    NO_CODE = 5

cpdef enum Status:
    OK = 200
    MOVED = 301
    FOUND = 302
    TEMPORARY = 307
    PERMANENT = 308
    BAD_REQUEST = 400
    NOT_FOUND = 404
    METHOD_NOT_ALLOWED = 405
    REQUEST_TIMEOUT = 408
    GONE = 410
    URI_TOO_LONG = 414
    TOO_MANY_REQUESTS = 429
    HEAD_TOO_LARGE = 431
    NOT_IMPLEMENTED = 501
    UNAVAILABLE = 503
    VERSION_NOT_SUPPORTED = 505

cdef enum Method:
    GET = 1
    HEAD = 2
    OTHER = 3                   # a known method that the edge does not serve


# A parsed head. All pointers are borrowed from the bytes that were parsed, and die with them.
cdef struct Head:
    int method                  # Method
    bint is_keep_alive          # the connection may serve another request after this one
    bint is_old                 # HTTP/1.0
    bint has_body               # a body is announced: answer, then close
    const char* path            # from its first "/", up to "?" or the end
    size_t path_size            # bytes
    const char* host            # of the Host field, or of an absolute target; NULL only in HTTP/1.0
    size_t host_size            # bytes, at most HOST_BYTES_MAX


# Bytes of the head (positive); 0 if it is not whole yet; minus a Status if it must be refused.
cdef int parse_head(const char* data, size_t size, Head* head) noexcept nogil
# Whether the path is "/" and a code of 1..64 characters of 0-9, A-Z, a-z, "_", "-".
cdef bint is_code_path(const char* path, size_t size) noexcept nogil
cdef int decode_code(const char* path, size_t size, char* out) noexcept nogil
cdef int classify_path(const char* path, size_t size) noexcept nogil
