"""Where a request ends, and whether its connection stays.

The edge reads no body: it answers a request that announces one and closes. So all that matters here is that no two
readers in the path of a request can disagree on whether it has a body; what leaves room for that is refused.
"""

from libc.string cimport memchr

from edge._scan cimport is_space, is_word

cdef enum:
    LENGTH_DIGITS_MAX = 18      # so that a length fits in 63 bits


cdef bint _is_option(const char* at, const char* end, const char* name, size_t size) noexcept nogil:
    """Whether the element of a list from `at` to `end` is `name`, without the spaces around it."""
    while at < end and is_space(at[0]):
        at += 1
    while at < end and is_space(end[-1]):
        end -= 1
    return <size_t>(end - at) == size and is_word(at, name, size)


cdef int note_length(const char* at, const char* end, Framing* framing) noexcept nogil:
    """Digits only and once; a list of equal values is refused like one of different ones."""
    if framing.has_length or at == end or end - at > LENGTH_DIGITS_MAX:
        return -1
    framing.has_length = True
    while at < end:
        if not c"0" <= at[0] <= c"9":
            return -1
        framing.length = framing.length * 10 + (at[0] - c"0")
        at += 1
    return 0


cdef int note_coding(const char* at, const char* end, Framing* framing) noexcept nogil:
    cdef const char* last = end
    while last > at and last[-1] != c",":
        last -= 1
    if not _is_option(last, end, b"chunked", 7):
        framing.coding = ENDLESS
    elif last == at and framing.coding == NO_CODING:
        framing.coding = CHUNKED
    else:
        framing.coding = MORE_THAN_CHUNKED
    return 0


cdef int note_connection(const char* at, const char* end, Framing* framing) noexcept nogil:
    """The options close and keep-alive of a comma-separated list (RFC 9110 section 7.6.1)."""
    cdef const char* stop
    while at < end:
        stop = <const char*>memchr(at, c",", end - at)
        if stop == NULL:
            stop = end
        if _is_option(at, stop, b"close", 5):
            framing.has_close = True
        elif _is_option(at, stop, b"keep-alive", 10):
            framing.has_keep_alive = True
        at = stop + 1
    return 0


cdef int check_framing(const Framing* framing, int minor) noexcept nogil:
    """RFC 9112 sections 6.1 and 6.3."""
    if framing.coding == NO_CODING:
        return FRAMED
    if framing.has_length or minor == 0 or framing.coding == ENDLESS:
        return FAULTY
    return FRAMED if framing.coding == CHUNKED else NOT_KNOWN
