"""What a request's path asks for: a code, one of the few paths that every host is asked for, or nothing that is here.

An encoded unreserved character is the character itself (RFC 3986 section 2.3), so /%61bc is the link /abc. Nothing else
is decoded, and nothing is taken away: a slash, encoded or at the end, or a dot segment makes a path that no link has.
"""

from libc.stdint cimport int8_t, uint8_t
from libc.string cimport memcmp

cdef enum:
    IS_CODE = 1                 # in a link's code
    IS_UNRESERVED = 2           # RFC 3986 section 2.3: a code's characters, "." and "~"
    ENCODED_BYTES_MAX = 1 + 3 * CODE_BYTES_MAX  # a slash, then every character of a code as "%61"

cdef uint8_t[256] CLASS
cdef int8_t[256] HEX            # value of a hexadecimal digit, or -1


cdef void _fill_classes() noexcept:
    cdef int byte
    for byte in range(256):
        CLASS[byte] = IS_CODE | IS_UNRESERVED if byte < 0x80 and chr(byte).isalnum() else 0
        HEX[byte] = -1
    for byte in b"-_":
        CLASS[byte] = IS_CODE | IS_UNRESERVED
    for byte in b".~":
        CLASS[byte] = IS_UNRESERVED
    for byte in b"0123456789ABCDEFabcdef":
        HEX[byte] = int(chr(byte), 16)


_fill_classes()


cdef inline int _decode_byte(const char* at, const char* end) noexcept nogil:
    """The byte that "%" and two hexadecimal digits stand for, or -1."""
    cdef int high, low
    if end - at < 3 or at[0] != c"%":
        return -1
    high = HEX[<uint8_t>at[1]]
    low = HEX[<uint8_t>at[2]]
    return -1 if high < 0 or low < 0 else high << 4 | low


cdef int _decode_segment(const char* at, const char* end, uint8_t kind, char* out, const char** stop) noexcept nogil:
    """Decode what is of the kind, at most CODE_BYTES_MAX bytes, into `out`; how many; `stop` is what comes behind."""
    cdef int size = 0, byte
    while at < end and size < CODE_BYTES_MAX:
        if CLASS[<uint8_t>at[0]] & kind:
            out[size] = at[0]
            at += 1
        else:
            byte = _decode_byte(at, end)
            if byte < 0 or not CLASS[byte] & kind:
                break
            out[size] = <char>byte
            at += 3
        size += 1
    stop[0] = at
    return size


cdef int decode_code(const char* path, size_t size, char* out) noexcept nogil:
    cdef const char* stop
    cdef int code_size
    if not 2 <= size <= ENCODED_BYTES_MAX or path[0] != c"/":
        return -1
    code_size = _decode_segment(path + 1, path + size, IS_CODE, out, &stop)
    return code_size if code_size > 0 and stop == path + size else -1


cdef int classify_path(const char* path, size_t size) noexcept nogil:
    cdef char[CODE_BYTES_MAX] segment
    cdef const char* end = path + size
    cdef const char* stop
    cdef int segment_size
    cdef bint is_well_known
    if size == 0 or path[0] != c"/":
        return NO_CODE
    if size == 1:
        return ROOT
    if decode_code(path, size, segment) > 0:
        return CODE_PATH
    segment_size = _decode_segment(path + 1, end, IS_UNRESERVED, segment, &stop)
    if stop < end:
        is_well_known = stop[0] == c"/" and segment_size == 11 and memcmp(segment, b".well-known", 11) == 0
        return WELL_KNOWN if is_well_known else NO_CODE
    if segment_size == 10 and memcmp(segment, b"robots.txt", 10) == 0:
        return ROBOTS
    if segment_size == 11 and memcmp(segment, b"favicon.ico", 11) == 0:
        return FAVICON
    return NO_CODE


# ---------------------------------------------------------------------------------------------------- public API

def code_of(bytes path not None):
    """See the stub: for tests; the door calls decode_code."""
    cdef char[CODE_BYTES_MAX] code
    cdef int size = decode_code(path, len(path), code)
    return None if size < 0 else code[:size]


def kind_of(bytes path not None):
    """See the stub: for tests; the door calls classify_path."""
    return PathKind(classify_path(path, len(path)))
