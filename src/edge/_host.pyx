"""The host that a request names: whether it is one, and the part of it by which its domain is found.

    sho.rt   sho.rt.   sho.rt:   sho.rt:80   sho.rt.:443    -> sho.rt
    sho.rt:8080   192.0.2.1   [2001:db8::1]:8080            -> as they are

Both default ports go, whatever the scheme: behind a proxy that ends TLS the edge cannot know it, and control takes the
two for one as well. The case stays, because the bytes are borrowed.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp

from edge._scan cimport is_word

cdef enum:
    IS_NAME = 1                 # unreserved and sub-delims, RFC 3986 section 2
    IS_HEX = 2
    IS_DIGIT = 4
    PORT_DIGITS_MAX = 5
    PORT_MAX = 65535
    NO_PORT = -1
    BAD_PORT = -2

cdef uint8_t[256] CLASS


cdef void _fill_classes() noexcept:
    cdef int byte
    for byte in range(256):
        CLASS[byte] = 0
        if byte < 0x80 and chr(byte).isalnum():
            CLASS[byte] = IS_NAME
    for byte in b"-._~!$&'()*+,;=":
        CLASS[byte] |= IS_NAME
    for byte in b"0123456789ABCDEFabcdef":
        CLASS[byte] |= IS_HEX
    for byte in b"0123456789":
        CLASS[byte] |= IS_DIGIT


_fill_classes()


cdef inline const char* _skip(const char* at, const char* end, uint8_t kind) noexcept nogil:
    while at < end and CLASS[<uint8_t>at[0]] & kind:
        at += 1
    return at


cdef const char* _skip_name(const char* at, const char* end) noexcept nogil:
    """Behind a reg-name, or at the percent sign that begins no encoded byte."""
    at = _skip(at, end, IS_NAME)
    while end - at >= 3 and at[0] == c"%" and _skip(at + 1, at + 3, IS_HEX) == at + 3:
        at = _skip(at + 3, end, IS_NAME)
    return at


cdef bint _is_ipv4(const char* at, const char* end) noexcept nogil:
    """Four decimal octets without leading zeros."""
    cdef const char* stop
    cdef int octets = 0, value
    while octets < 4:
        stop = _skip(at, min(at + 3, end), IS_DIGIT)
        if stop == at or (at[0] == c"0" and stop - at > 1):
            return False
        value = 0
        while at < stop:
            value = value * 10 + (at[0] - c"0")
            at += 1
        octets += 1
        if value > 255 or (at == end) != (octets == 4) or (at < end and at[0] != c"."):
            return False
        at += 1
    return True


cdef bint _is_ipv6(const char* at, const char* end) noexcept nogil:
    """Eight groups, or fewer around one "::"; the last two may be an IPv4 address."""
    cdef const char* stop
    cdef int groups = 0
    cdef bint has_gap = end - at >= 2 and at[0] == c":" and at[1] == c":"
    if has_gap:
        at += 2
    while at < end:
        stop = _skip(at, min(at + 4, end), IS_HEX)
        if stop < end and stop[0] == c".":
            return _is_ipv4(at, end) and (groups <= 5 if has_gap else groups == 6)
        groups += 1
        if stop == at or groups > 8:
            return False
        if stop == end:
            break
        if stop[0] != c":" or stop + 1 == end:
            return False
        at = stop + 1
        if at[0] == c":":
            if has_gap:
                return False
            has_gap = True
            at += 1
    return groups <= 7 if has_gap else groups == 8


cdef int _read_port(const char* at, const char* end) noexcept nogil:
    cdef int port = 0
    if at == end:
        return NO_PORT
    if end - at > PORT_DIGITS_MAX or _skip(at, end, IS_DIGIT) != end:
        return BAD_PORT
    while at < end:
        port = port * 10 + (at[0] - c"0")
        at += 1
    return port if port <= PORT_MAX else BAD_PORT


cdef int trim_host(const char* at, size_t size) noexcept nogil:
    cdef const char* end = at + size
    cdef const char* stop
    cdef int port = NO_PORT
    if size == 0 or size > HOST_BYTES_MAX:
        return -1
    if at[0] == c"[":
        stop = <const char*>memchr(at, c"]", size)
        if stop == NULL or not _is_ipv6(at + 1, stop):
            return -1
        stop += 1
    else:
        stop = _skip_name(at, end)
    if stop < end:
        port = _read_port(stop + 1, end) if stop[0] == c":" else BAD_PORT
    if stop == at or port == BAD_PORT:
        return -1
    if port not in (NO_PORT, 80, 443):
        return <int>size
    if stop[-1] == c".":
        stop -= 1
    return <int>(stop - at) if stop > at else -1


cdef int split_uri(const char* at, size_t size, const char** host, const char** path) noexcept nogil:
    """RFC 9110 section 4.2. A user in the authority makes it no host: "@" is in none."""
    cdef const char* end = at + size
    if size > 7 and is_word(at, b"http", 4) and memcmp(at + 4, b"://", 3) == 0:
        host[0] = at + 7
    elif size > 8 and is_word(at, b"https", 5) and memcmp(at + 5, b"://", 3) == 0:
        host[0] = at + 8
    else:
        return -1
    path[0] = host[0]
    while path[0] < end and path[0][0] != c"/" and path[0][0] != c"?":
        path[0] += 1
    return trim_host(host[0], path[0] - host[0])


cdef bint is_authority(const char* at, size_t size) noexcept nogil:
    cdef const char* end = at + size
    cdef const char* port = end
    while port > at and CLASS[<uint8_t>port[-1]] & IS_DIGIT:
        port -= 1
    return port < end and port > at and port[-1] == c":" and trim_host(at, size) > 0


# ---------------------------------------------------------------------------------------------------- public API

def trim(bytes host not None):
    """See the stub: for tests; the parser of heads calls trim_host."""
    cdef int size = trim_host(host, len(host))
    return None if size < 0 else host[:size]
