"""Where a request ends, and whether its connection stays: Content-Length, Transfer-Encoding, Connection.

A leaf: cimports only libc and cpython.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

# What Transfer-Encoding says. Its lines are one list (RFC 9110 section 5.3), so the verdict waits for the last one.
cdef enum Coding:
    NO_CODING = 0
    CHUNKED = 1                 # and nothing else
    MORE_THAN_CHUNKED = 2       # chunked comes last: the body has an end, but the coding below is not known
    ENDLESS = 3                 # chunked does not come last: nobody can tell where the body ends

cdef enum Verdict:
    FRAMED = 0
    FAULTY = 1                  # may be read in two ways
    NOT_KNOWN = 2               # a coding that is not implemented

# All zero before the first field.
cdef struct Framing:
    int coding                  # Coding
    bint has_close              # Connection: close
    bint has_keep_alive         # Connection: keep-alive
    bint has_length             # a Content-Length field
    uint64_t length             # bytes; what it says


# Note one field's value, without the spaces around it. 0, or -1 if it cannot be.
cdef int note_length(const char* at, const char* end, Framing* framing) noexcept nogil
cdef int note_coding(const char* at, const char* end, Framing* framing) noexcept nogil
cdef int note_connection(const char* at, const char* end, Framing* framing) noexcept nogil
# A Verdict on all fields of a request of HTTP/1.<minor>.
cdef int check_framing(const Framing* framing, int minor) noexcept nogil
