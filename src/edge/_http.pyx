"""The parser of request heads: bytes in, decision out, no I/O. Strict by RFC 9112 and RFC 9110.

    GET /3kTMd9x?utm=1 HTTP/1.1 CRLF        _parse_request_line: method, target -> path, version
    Host: sho.rt CRLF                       _parse_field: name, value
    Connection: close CRLF                  _apply_field: what the edge must know of it
    CRLF                                    _check_head: what must hold of the whole

A head that is not whole is parsed again from its start when more bytes have come; HEAD_BYTES_MAX bounds that work.
Whatever could be read in two ways is refused, because a second reader in the path may read it the other way.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

cdef enum:
    INCOMPLETE = 0
    IS_TOKEN = 1                # tchar, RFC 9110 section 5.6.2
    IS_TARGET = 2               # 0x21-0x7e
    IS_TEXT = 4                 # in a field value: 0x20-0x7e, 0x80-0xff, tab
    IS_HOST = 8                 # in a Host value: reg-name, IPv6 literal and port, RFC 3986 section 3.2.2
    IS_CODE = 16                # in a link's code

cdef uint8_t[256] CLASS


cdef void _fill_classes() noexcept:
    cdef int byte
    for byte in range(256):
        CLASS[byte] = 0
        if byte >= 0x21 and byte != 0x7f and byte < 0x80:
            CLASS[byte] |= IS_TARGET
        if (byte >= 0x20 and byte != 0x7f) or byte == 9:
            CLASS[byte] |= IS_TEXT
        if chr(byte).isalnum() and byte < 0x80:
            CLASS[byte] |= IS_TOKEN | IS_HOST | IS_CODE
    for byte in b"!#$%&'*+-.^_`|~":
        CLASS[byte] |= IS_TOKEN
    for byte in b"-._~%!$&'()*+,;=[]:":
        CLASS[byte] |= IS_HOST
    for byte in b"-_":
        CLASS[byte] |= IS_CODE


_fill_classes()


cdef struct Fields:
    int hosts                   # Host fields seen
    bint has_close
    bint has_keep_alive
    bint has_length             # a Content-Length field
    uint64_t length
    bint has_coding             # a Transfer-Encoding field


cdef inline const char* _skip(const char* at, const char* end, uint8_t kind) noexcept nogil:
    while at < end and CLASS[<uint8_t>at[0]] & kind:
        at += 1
    return at


cdef inline bint _has_control(uint64_t word) noexcept nogil:
    """Whether one of eight bytes is below 0x20 or 0x7f (may err towards yes; the caller looks again byte by byte)."""
    cdef uint64_t ones = <uint64_t>0x0101010101010101, highs = <uint64_t>0x8080808080808080
    cdef uint64_t low = (word - ones * 0x20) & ~word & highs
    cdef uint64_t delete = word ^ (ones * 0x7f)
    return (low | ((delete - ones) & ~delete & highs)) != 0


cdef inline const char* _skip_text(const char* at, const char* end) noexcept nogil:
    """The first byte that cannot stand in a field value, or `end`. Eight at a time: values are most of a head."""
    cdef uint64_t word
    while True:
        while end - at >= 8:
            memcpy(&word, at, 8)
            if _has_control(word):
                break
            at += 8
        if at == end or not CLASS[<uint8_t>at[0]] & IS_TEXT:
            return at
        at += 1


cdef bint _is_name(const char* at, size_t size, const char* name, size_t name_size) noexcept nogil:
    """Whether `at` is `name` (lower-case letters and hyphens) in any case."""
    cdef size_t i
    if size != name_size:
        return False
    for i in range(size):
        if at[i] | 0x20 != name[i] | 0x20:      # letters fold; a hyphen and a carriage return do, but that is no token
            return False
    return True


cdef int _parse_method(const char* at, size_t size, Head* head) noexcept nogil:
    if size == 3 and memcmp(at, b"GET", 3) == 0:
        head.method = GET
    elif size == 4 and memcmp(at, b"HEAD", 4) == 0:
        head.method = HEAD
    elif (
        (size == 4 and memcmp(at, b"POST", 4) == 0)
        or (size == 3 and memcmp(at, b"PUT", 3) == 0)
        or (size == 5 and memcmp(at, b"PATCH", 5) == 0)
        or (size == 6 and memcmp(at, b"DELETE", 6) == 0)
        or (size == 7 and memcmp(at, b"OPTIONS", 7) == 0)
        or (size == 5 and memcmp(at, b"TRACE", 5) == 0)
    ):
        head.method = OTHER
    else:
        return -NOT_IMPLEMENTED
    return 0


cdef int _set_host(const char* at, const char* end, Head* head) noexcept nogil:
    if end - at > HOST_BYTES_MAX or _skip(at, end, IS_HOST) != end:
        return -BAD_REQUEST
    head.host = at
    head.host_size = end - at
    return 0


cdef int _parse_target(const char* at, const char* end, Head* head) noexcept nogil:
    """Origin form, or absolute form with its authority as the host (RFC 9112 section 3.2)."""
    cdef const char* query
    cdef const char* slash
    if at[0] != c"/":
        if end - at < 8 or not (_is_name(at, 5, b"http:", 5) and at[5] == c"/" and at[6] == c"/"):
            return -BAD_REQUEST
        at += 7
        slash = <const char*>memchr(at, c"/", end - at)
        if slash == NULL or slash == at or _set_host(at, slash, head) != 0:
            return -BAD_REQUEST
        at = slash
    query = <const char*>memchr(at, c"?", end - at)
    head.path = at
    head.path_size = (end if query == NULL else query) - at
    return 0


cdef int _parse_request_line(const char* data, const char* end, Head* head, int* minor) noexcept nogil:
    """Bytes up to and with the line's CRLF, or as parse_head."""
    cdef const char* at = _skip(data, end, IS_TOKEN)
    cdef const char* target
    cdef int failure
    if at == end:
        return INCOMPLETE
    if at == data or at[0] != c" ":
        return -BAD_REQUEST
    failure = _parse_method(data, at - data, head)
    if failure != 0:
        return failure
    target = at + 1
    at = _skip(target, end, IS_TARGET)
    if at - target > TARGET_BYTES_MAX:
        return -URI_TOO_LONG
    if at == end:
        return INCOMPLETE
    if at == target or at[0] != c" ":
        return -BAD_REQUEST
    failure = _parse_target(target, at, head)
    if failure != 0:
        return failure
    at += 1
    if end - at < 10:
        return INCOMPLETE if memcmp(at, b"HTTP/1.", min(7, end - at)) == 0 else -BAD_REQUEST
    if memcmp(at, b"HTTP/", 5) != 0 or not c"0" <= at[5] <= c"9" or at[6] != c"." or not c"0" <= at[7] <= c"9":
        return -BAD_REQUEST
    if at[8] != c"\r" or at[9] != c"\n":
        return -BAD_REQUEST
    if at[5] != c"1":
        return -VERSION_NOT_SUPPORTED
    minor[0] = at[7] - c"0"
    return <int>(at + 10 - data)


cdef int _apply_length(const char* at, const char* end, Fields* fields) noexcept nogil:
    """Content-Length: digits only and once; a list of equal values is refused like one of different ones."""
    if fields.has_length or at == end or end - at > 18:
        return -BAD_REQUEST
    fields.has_length = True
    while at < end:
        if not c"0" <= at[0] <= c"9":
            return -BAD_REQUEST
        fields.length = fields.length * 10 + (at[0] - c"0")
        at += 1
    return 0


cdef void _apply_connection(const char* at, const char* end, Fields* fields) noexcept nogil:
    """Connection: the options close and keep-alive of a comma-separated list (RFC 9110 section 7.6.1)."""
    cdef const char* option
    while at < end:
        while at < end and (at[0] == c" " or at[0] == c"\t" or at[0] == c","):
            at += 1
        option = at
        at = _skip(at, end, IS_TOKEN)
        if _is_name(option, at - option, b"close", 5):
            fields.has_close = True
        elif _is_name(option, at - option, b"keep-alive", 10):
            fields.has_keep_alive = True
        while at < end and at[0] != c",":
            at += 1


cdef int _apply_field(
    const char* name, size_t name_size, const char* at, const char* end, Fields* fields, Head* head
) noexcept nogil:
    """Note what the edge must know of one field; `at` to `end` is its value without the spaces around it."""
    if _is_name(name, name_size, b"host", 4):
        fields.hosts += 1
        if head.host == NULL:       # an absolute target's authority goes before the field (RFC 9112 section 3.2.2)
            return _set_host(at, end, head)
        return 0 if _skip(at, end, IS_HOST) == end else -BAD_REQUEST
    if _is_name(name, name_size, b"connection", 10):
        _apply_connection(at, end, fields)
    elif _is_name(name, name_size, b"content-length", 14):
        return _apply_length(at, end, fields)
    elif _is_name(name, name_size, b"transfer-encoding", 17):
        # Whoever does not know a coding cannot tell where the body ends (RFC 9112 section 6.1).
        if fields.has_coding or not _is_name(at, end - at, b"chunked", 7):
            return -NOT_IMPLEMENTED
        fields.has_coding = True
    return 0


cdef int _parse_field(const char* data, const char* end, Fields* fields, Head* head) noexcept nogil:
    """Bytes of one field line with its CRLF, or as parse_head."""
    cdef const char* colon = _skip(data, end, IS_TOKEN)
    cdef const char* at
    cdef const char* stop
    cdef int failure
    if colon == end:
        return INCOMPLETE
    if colon == data or colon[0] != c":":       # no name, a space before the colon, or a folded line
        return -BAD_REQUEST
    at = colon + 1
    stop = _skip_text(at, end)
    if stop == end or (stop + 1 == end and stop[0] == c"\r"):
        return INCOMPLETE
    if stop[0] != c"\r" or stop[1] != c"\n":    # a control byte, or a bare LF or CR
        return -BAD_REQUEST
    end = stop
    while at < end and (at[0] == c" " or at[0] == c"\t"):
        at += 1
    while at < end and (end[-1] == c" " or end[-1] == c"\t"):
        end -= 1
    failure = _apply_field(data, colon - data, at, end, fields, head)
    return failure if failure != 0 else <int>(stop + 2 - data)


cdef int _check_head(int minor, Fields* fields, Head* head) noexcept nogil:
    if fields.hosts > 1 or (fields.hosts == 0 and minor > 0):
        return -BAD_REQUEST
    if fields.has_coding and (fields.has_length or minor == 0):     # RFC 9112 section 6.1: a smuggling attempt
        return -BAD_REQUEST
    head.has_body = fields.has_coding or fields.length > 0
    head.is_old = minor == 0
    head.is_keep_alive = not fields.has_close and (minor > 0 or fields.has_keep_alive)
    return 0


cdef int parse_head(const char* data, size_t size, Head* head) noexcept nogil:
    cdef const char* end = data + min(size, <size_t>HEAD_BYTES_MAX)
    cdef const char* at = data
    cdef Fields fields
    cdef int minor = 0, taken, headers = 0
    fields.hosts = 0
    fields.has_close = fields.has_keep_alive = fields.has_length = fields.has_coding = False
    fields.length = 0
    head.host = NULL
    head.host_size = 0
    taken = _parse_request_line(at, end, head, &minor)
    while taken > 0:
        at += taken
        if end - at >= 2 and at[0] == c"\r" and at[1] == c"\n":
            taken = _check_head(minor, &fields, head)
            return taken if taken != 0 else <int>(at + 2 - data)
        if end - at < 2 and (at == end or at[0] == c"\r"):
            taken = INCOMPLETE
            break
        headers += 1
        if headers > HEADERS_MAX:
            return -HEAD_TOO_LARGE
        taken = _parse_field(at, end, &fields, head)
    if taken == INCOMPLETE and size >= HEAD_BYTES_MAX:
        return -HEAD_TOO_LARGE
    return taken


cdef bint is_code_path(const char* path, size_t size) noexcept nogil:
    return 2 <= size <= CODE_BYTES_MAX + 1 and _skip(path + 1, path + size, IS_CODE) == path + size


cdef int decode_code(const char* path, size_t size, char* out) noexcept nogil:
    if not is_code_path(path, size): return -1
    memcpy(out, path + 1, size - 1)
    return <int>size - 1
cdef int classify_path(const char* path, size_t size) noexcept nogil:
    return NO_CODE

REASONS = {
    OK: "OK",
    BAD_REQUEST: "Bad Request",
    NOT_FOUND: "Not Found",
    METHOD_NOT_ALLOWED: "Method Not Allowed",
    REQUEST_TIMEOUT: "Request Timeout",
    GONE: "Gone",
    URI_TOO_LONG: "URI Too Long",
    TOO_MANY_REQUESTS: "Too Many Requests",
    HEAD_TOO_LARGE: "Request Header Fields Too Large",
    NOT_IMPLEMENTED: "Not Implemented",
    UNAVAILABLE: "Service Unavailable",
    VERSION_NOT_SUPPORTED: "HTTP Version Not Supported",
}


def status_line(int status):
    return f"HTTP/1.1 {status} {REASONS[status]}\r\n"


def parse(bytes data not None):
    """See the stub: for tests and benchmarks; the door calls parse_head."""
    cdef Head head
    cdef int taken = parse_head(data, len(data), &head)
    if taken <= 0:
        return taken
    host = None if head.host == NULL else head.host[: head.host_size]
    method = "GET" if head.method == GET else "HEAD" if head.method == HEAD else "OTHER"
    return taken, method, head.path[: head.path_size], host, bool(head.is_keep_alive), bool(head.has_body)
