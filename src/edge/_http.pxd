"""The parser of request heads. A leaf: cimports only libc and cpython."""

from libc.stddef cimport size_t

cdef enum:
    HEAD_BYTES_MAX = 8192       # request line and headers together; nginx takes 8 KB a line
    METHOD_BYTES_MAX = 32       # the longest that IANA lists has 17; a longer one is known before its end to be unknown
    TARGET_BYTES_MAX = 4096     # of the request line; a short link's is under 100
    HEADERS_MAX = 100           # as Apache's LimitRequestFields

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


# A field's value without the spaces around it.
cdef struct Text:
    const char* at              # borrowed, see Head; not set when the size is 0
    size_t size                 # bytes; 0 when the field is absent or empty


# A parsed head. All pointers are borrowed from the bytes that were parsed, and die with them (but for the path of an
# absolute target without one, which is a constant). Of a field that came several times, its last line.
cdef struct Head:
    int method                  # Method
    bint is_keep_alive          # the connection may serve another request after this one
    bint is_old                 # HTTP/1.0
    bint has_body               # a body is announced: answer, then close
    const char* path            # from its first "/", up to "?" or the end
    size_t path_size            # bytes; 0 for the targets without a path, which only OTHER methods have
    Text query                  # behind the path's "?"
    const char* host            # of an absolute target, else of the Host field; NULL only in HTTP/1.0
    size_t host_size            # bytes, at most HOST_BYTES_MAX; without a default port (see _host)
    Text forwarded              # Forwarded
    Text forwarded_for          # X-Forwarded-For
    Text user_agent             # User-Agent
    Text referer                # Referer
    Text request_id             # X-Request-Id
    bint has_gpc                # Sec-GPC: 1, the person does not want to be tracked
    bint has_dnt                # DNT: 1, likewise


# Bytes of the head (positive); 0 if it is not whole yet; minus a Status if it must be refused. The first fault in the
# order of the bytes decides, so a part of them is 0 or what the whole is. `head` is valid if the result is positive.
cdef int parse_head(const char* data, size_t size, Head* head) noexcept nogil
# The same, for bytes of which the first `scanned` were not a whole head when they were last looked at (0: never). It
# looks at the new ones alone and parses only if they end a head or reach HEAD_BYTES_MAX, so that bytes which come one
# by one cost no more than twice what they cost at once. A fault is therefore found no later than the head's end.
cdef int resume_head(const char* data, size_t size, size_t scanned, Head* head) noexcept nogil
# Bytes up to and with the first blank line that ends at or behind `start`, where an earlier call ended; 0 if there is
# none. Lines may end in a bare LF: that is to be refused, not to be waited on.
cdef size_t find_head_end(const char* data, size_t size, size_t start) noexcept nogil
