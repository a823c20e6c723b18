"""What a request's path asks for. A leaf: cimports only libc and cpython."""

from libc.stddef cimport size_t

cdef enum:
    CODE_BYTES_MAX = 64         # of a link's code; control gives no longer one

cpdef enum PathKind:
    NO_CODE = 0                 # nothing that could be here: 404 without a lookup
    CODE_PATH = 1               # a code that may be a link's
    ROOT = 2                    # "/"
    ROBOTS = 3                  # "/robots.txt"
    FAVICON = 4                 # "/favicon.ico"
    WELL_KNOWN = 5              # "/.well-known/…", RFC 8615

# The code in `path` (as Head has it: from its "/", without a query), with its percent-encoded characters decoded, is
# written to `out`, which has room for CODE_BYTES_MAX: its bytes, 1..CODE_BYTES_MAX. Or -1: the path is no code, and
# classify_path says what else; `out` may have been written to.
cdef int decode_code(const char* path, size_t size, char* out) noexcept nogil
# A PathKind. CODE_PATH just where decode_code finds a code; so that is called first, and this only where it does not.
cdef int classify_path(const char* path, size_t size) noexcept nogil
