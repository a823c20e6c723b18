"""The parser of request heads: bytes in, decision out, no I/O. Strict by RFC 9112 and RFC 9110.

    GET /3kTMd9x?utm=1 HTTP/1.1 CRLF        _parse_request_line: method, target, version; then _apply_target: path
    Host: sho.rt CRLF                       _parse_field: name, value
    Connection: close CRLF                  _apply_field: what the edge must know of it
    CRLF                                    _check_head: what must hold of the whole

Whatever could be read in two ways is refused, because a second reader in the path may read it the other way. So is an
empty line before a request, which RFC 9112 section 2.2 would have ignored: it is what clients of old sent behind a
body, and behind a body the edge closes. docs/http.md lists every refusal with its status.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp, memset

from edge._framing cimport (
    FAULTY, FRAMED, NO_CODING, Framing, check_framing, note_coding, note_connection, note_length,
)
from edge._host cimport is_authority, split_uri, trim_host
from edge._scan cimport is_space, is_word, scan_name, scan_target, scan_text

cdef enum:
    INCOMPLETE = 0

cdef uint8_t[256] IS_TOKEN         # tchar, RFC 9110 section 5.6.2


cdef void _fill_tokens() noexcept:
    cdef int byte
    for byte in range(256):
        IS_TOKEN[byte] = byte < 0x80 and chr(byte).isalnum()
    for byte in b"!#$%&'*+-.^_`|~":
        IS_TOKEN[byte] = True


_fill_tokens()

cdef struct Fields:
    int hosts                   # Host fields seen
    Framing framing


cdef inline int _keep_text(const char* at, const char* end, Text* text) noexcept nogil:
    text.at = at
    text.size = end - at
    return 0


cdef inline const char* _skip_token(const char* at, const char* end) noexcept nogil:
    while at < end and IS_TOKEN[<uint8_t>at[0]]:
        at += 1
    return at


# ------------------------------------------------------------------------------------------------- the request line

cdef int _know_method(const char* at, size_t size, Head* head) noexcept nogil:
    """The methods of RFC 9110 section 9 and RFC 5789."""
    if size == 3 and memcmp(at, b"GET", 3) == 0:
        head.method = GET
    elif size == 4 and memcmp(at, b"HEAD", 4) == 0:
        head.method = HEAD
    elif (
        (size == 3 and memcmp(at, b"PUT", 3) == 0)
        or (size == 4 and memcmp(at, b"POST", 4) == 0)
        or (size == 5 and memcmp(at, b"PATCH", 5) == 0)
        or (size == 5 and memcmp(at, b"TRACE", 5) == 0)
        or (size == 6 and memcmp(at, b"DELETE", 6) == 0)
        or (size == 7 and memcmp(at, b"OPTIONS", 7) == 0)
        or (size == 7 and memcmp(at, b"CONNECT", 7) == 0)
    ):
        head.method = OTHER
    else:
        return -NOT_IMPLEMENTED
    return 0


cdef int _set_host(const char* at, const char* end, Head* head) noexcept nogil:
    cdef int size = trim_host(at, end - at)
    if size < 0:
        return -BAD_REQUEST
    if head.host == NULL:           # an absolute target's authority goes before the field (RFC 9112 section 3.2.2)
        head.host = at
        head.host_size = size
    return 0


cdef int _set_path(const char* at, const char* end, Head* head) noexcept nogil:
    cdef const char* mark = <const char*>memchr(at, c"?", end - at)
    if mark != NULL:
        _keep_text(mark + 1, end, &head.query)
        end = mark
    head.path = at
    head.path_size = end - at
    if at == end:                   # an absolute target's may be empty, which means the root (RFC 9110 section 4.2.3)
        head.path = b"/"
        head.path_size = 1
    return 0


cdef int _apply_absolute(const char* at, const char* end, Head* head) noexcept nogil:
    cdef const char* path
    cdef int size = split_uri(at, end - at, &head.host, &path)
    if size < 0:
        return -BAD_REQUEST
    head.host_size = size
    return _set_path(path, end, head)


cdef int _apply_target(const char* method, const char* at, const char* end, Head* head) noexcept nogil:
    """The four forms of a target (RFC 9112 section 3.2), each with the methods that may have it."""
    head.path_size = 0
    if method[0] == c"C":           # CONNECT
        head.path = at
        return 0 if is_authority(at, end - at) else -BAD_REQUEST
    if at[0] == c"/":
        return _set_path(at, end, head)
    if at[0] == c"*" and end - at == 1 and method[0] == c"O":     # OPTIONS
        head.path = at
        return 0
    return _apply_absolute(at, end, head)


cdef int _parse_version(const char* at, const char* end, int* major, int* minor) noexcept nogil:
    """The version and the line's end behind it; the bytes of both, or as parse_head."""
    cdef const char* form = b"HTTP/0.0\r\n"
    cdef int i
    if end - at >= 10 and memcmp(at, b"HTTP/1.1\r\n", 10) == 0:
        major[0] = minor[0] = 1
        return 10
    for i in range(10):
        if at + i == end:
            return INCOMPLETE
        if not (c"0" <= at[i] <= c"9" if form[i] == c"0" else at[i] == form[i]):
            return -BAD_REQUEST
    major[0] = at[5] - c"0"
    minor[0] = at[7] - c"0"
    return 10


cdef int _parse_request_line(const char* data, const char* end, Head* head, int* minor) noexcept nogil:
    """Bytes up to and with the line's CRLF, or as parse_head. What it means is looked at once it is whole."""
    cdef bint is_get = end - data >= 4 and memcmp(data, b"GET ", 4) == 0
    cdef const char* stop = data + 3 if is_get else _skip_token(data, end)
    cdef const char* target
    cdef const char* at
    cdef int major, taken
    if stop - data > METHOD_BYTES_MAX:
        return -NOT_IMPLEMENTED
    if stop == end:
        return INCOMPLETE
    if stop == data or stop[0] != c" ":
        return -BAD_REQUEST
    target = stop + 1
    at = scan_target(target, end)
    if at - target > TARGET_BYTES_MAX:
        return -URI_TOO_LONG
    if at == end:
        return INCOMPLETE
    if at == target or at[0] != c" ":
        return -BAD_REQUEST
    taken = _parse_version(at + 1, end, &major, minor)
    if taken <= 0:
        return taken
    if major != 1:                  # before the method: a client that begins with HTTP/2 sends PRI
        return -VERSION_NOT_SUPPORTED
    if _know_method(data, stop - data, head) != 0:
        return -NOT_IMPLEMENTED
    if _apply_target(data, target, at, head) != 0:
        return -BAD_REQUEST
    return <int>(at + 1 + taken - data)


# -------------------------------------------------------------------------------------------------------- the fields

cdef int _apply_field(
    const char* name, size_t size, const char* at, const char* end, Fields* fields, Head* head
) noexcept nogil:
    """Note what the edge must know of one field; `at` to `end` is its value without the spaces around it.

    By the name's length first: nearly all fields of a browser have one that no field here has.
    """
    if size == 3:
        if is_word(name, b"dnt", 3):
            head.has_dnt = end - at == 1 and at[0] == c"1"
    elif size == 4:
        if is_word(name, b"host", 4):
            fields.hosts += 1
            return -BAD_REQUEST if fields.hosts > 1 else _set_host(at, end, head)
    elif size == 7:
        if is_word(name, b"referer", 7):
            return _keep_text(at, end, &head.referer)
        if is_word(name, b"sec-gpc", 7):
            head.has_gpc = end - at == 1 and at[0] == c"1"
    elif size == 9:
        if is_word(name, b"forwarded", 9):
            return _keep_text(at, end, &head.forwarded)
    elif size == 10:
        if is_word(name, b"connection", 10):
            return note_connection(at, end, &fields.framing)
        if is_word(name, b"user-agent", 10):
            return _keep_text(at, end, &head.user_agent)
    elif size == 12:
        if is_word(name, b"x-request-id", 12):
            return _keep_text(at, end, &head.request_id)
    elif size == 14:
        if is_word(name, b"content-length", 14):
            return -BAD_REQUEST if note_length(at, end, &fields.framing) != 0 else 0
    elif size == 15:
        if is_word(name, b"x-forwarded-for", 15):
            return _keep_text(at, end, &head.forwarded_for)
    elif size == 17:
        if is_word(name, b"transfer-encoding", 17):
            return note_coding(at, end, &fields.framing)
    return 0


cdef int _parse_field(const char* data, const char* end, Fields* fields, Head* head) noexcept nogil:
    """Bytes of one field line with its CRLF, or as parse_head. What it says is looked at once it is whole.

    The line's end is searched first, from its start and not from its colon: the next line then waits for one scan, and
    the CPU reads this one's name meanwhile. The scans may look back 16 bytes: no request line that was taken is shorter.
    """
    cdef const char* stop = scan_text(data, end)
    cdef const char* colon
    cdef const char* at
    cdef int failure
    if stop == end or (stop + 1 == end and stop[0] == c"\r"):
        return INCOMPLETE
    if stop[0] != c"\r" or stop[1] != c"\n":    # a control byte, or a bare LF or CR
        return -BAD_REQUEST
    colon = _skip_token(scan_name(data, end), end)
    if colon == data or colon[0] != c":":       # no name, a space before the colon, or a folded line
        return -BAD_REQUEST
    at = colon + 1
    end = stop
    while at < end and is_space(at[0]):
        at += 1
    while at < end and is_space(end[-1]):
        end -= 1
    failure = _apply_field(data, colon - data, at, end, fields, head)
    return failure if failure != 0 else <int>(stop + 2 - data)


cdef int _check_head(const char* data, int minor, Fields* fields, Head* head) noexcept nogil:
    cdef int framed
    if fields.hosts == 0 and minor > 0:
        return -BAD_REQUEST
    framed = check_framing(&fields.framing, minor)
    if framed != FRAMED:
        return -BAD_REQUEST if framed == FAULTY else -NOT_IMPLEMENTED
    head.has_body = fields.framing.coding != NO_CODING or fields.framing.length > 0
    head.is_old = minor == 0
    head.is_keep_alive = not fields.framing.has_close and (minor > 0 or fields.framing.has_keep_alive)
    if data[0] == c"C":             # behind CONNECT may come what was meant for the tunnel
        head.is_keep_alive = False
    return 0


cdef inline int _reset(Head* head) noexcept nogil:
    """Set what a head need not say. One by one: the compiler's way to clear a block costs a third of a small head."""
    head.host = NULL
    head.host_size = 0
    head.forwarded.size = head.forwarded_for.size = 0
    head.user_agent.size = head.referer.size = head.request_id.size = head.query.size = 0
    head.has_gpc = head.has_dnt = False
    return 0


cdef int parse_head(const char* data, size_t size, Head* head) noexcept nogil:
    cdef const char* end = data + min(size, <size_t>HEAD_BYTES_MAX)
    cdef const char* at = data
    cdef Fields fields
    cdef int minor = 0, taken, headers = 0
    memset(&fields, 0, sizeof(Fields))
    _reset(head)
    taken = _parse_request_line(at, end, head, &minor)
    while taken > 0:
        at += taken
        if end - at >= 2 and at[0] == c"\r" and at[1] == c"\n":
            taken = _check_head(data, minor, &fields, head)
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


cdef size_t find_head_end(const char* data, size_t size, size_t start) noexcept nogil:
    cdef const char* end = data + size
    # A blank line is at most LF CR LF: the earlier call may have seen two bytes of it.
    cdef const char* at = data + start - min(start, <size_t>2)
    while at < end:
        at = <const char*>memchr(at, c"\n", end - at)
        if at == NULL:
            return 0
        at += 1
        if end - at >= 1 and at[0] == c"\n":
            return at + 1 - data
        if end - at >= 2 and at[0] == c"\r" and at[1] == c"\n":
            return at + 2 - data
    return 0


cdef int resume_head(const char* data, size_t size, size_t scanned, Head* head) noexcept nogil:
    if scanned > 0 and size < HEAD_BYTES_MAX and find_head_end(data, size, scanned) == 0:
        return INCOMPLETE
    return parse_head(data, size, head)


# ---------------------------------------------------------------------------------------------------- public API

REASONS = {
    OK: "OK",
    FOUND: "Found",
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


cdef str _method_name(int method):
    return "GET" if method == GET else "HEAD" if method == HEAD else "OTHER"


cdef bytes _text(Text* text):
    return text.at[: text.size] if text.size else None


def parse(data, size_t scanned=0):
    """See the stub: for the admin port, tests and benchmarks; the door calls resume_head."""
    cdef Head head
    cdef Py_buffer view
    cdef int taken
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        taken = resume_head(<const char*>view.buf, view.len, scanned, &head)
        if taken <= 0:
            return taken
        host = None if head.host == NULL else head.host[: head.host_size]
        path = head.path[: head.path_size]
        return taken, _method_name(head.method), path, host, bool(head.is_keep_alive), bool(head.has_body)
    finally:
        PyBuffer_Release(&view)


def parse_notes(bytes data not None):
    """See the stub: for tests; the door reads the fields of Head."""
    cdef Head head
    if parse_head(data, len(data), &head) <= 0:
        raise ValueError("this is no request head")
    return {
        "forwarded": _text(&head.forwarded),
        "forwarded_for": _text(&head.forwarded_for),
        "user_agent": _text(&head.user_agent),
        "referer": _text(&head.referer),
        "request_id": _text(&head.request_id),
        "query": _text(&head.query),
        "has_gpc": bool(head.has_gpc),
        "has_dnt": bool(head.has_dnt),
    }


def count_heads(bytes data not None):
    """See the stub: for tests and benchmarks."""
    cdef const char* at = data
    cdef const char* end = at + len(data)
    cdef Head head
    cdef int taken = 1, count = 0
    while taken > 0 and at < end:
        taken = parse_head(at, end - at, &head)
        if taken > 0:
            at += taken
            count += 1
    return count


def head_end(bytes data not None, size_t start=0):
    """See the stub: for tests; resume_head calls find_head_end."""
    return find_head_end(data, len(data), start)
