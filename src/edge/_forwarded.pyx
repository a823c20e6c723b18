"""The fields in which proxies hand on the client's address: Forwarded (RFC 7239) and X-Forwarded-For.

    find_client ─▶ only if the peer is trusted: the head's lines from the last to the first
      _walk     ─▶ a line's elements from the right to the left
        _read_element, _read_x_element ─▶ the address of one

A chain is written from left to right: each proxy adds the address that it was asked from. Only what a trusted hop wrote
is worth anything, and what stands left of the first untrusted address was written by that client itself. So chains are
read from the right, and never beyond what cannot be read.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memchr

from edge._client cimport address_text, parse_address, parse_ipv4, parse_ipv6, set_address

cdef extern from "<string.h>" nogil:
    void* memrchr(const void* data, int byte, size_t size)

cdef enum:
    NODE_BYTES_MAX = 64         # of a "for" value; "[", an address, "]:65535" has at most 53

cdef const char* TOKEN_MARKS = b"!#$%&'*+-.^_`|~"      # tchar beside letters and digits, RFC 9110 section 5.6.2
cdef const char* OBFUSCATION_MARKS = b"._-"            # RFC 7239 section 6.3


# A "for" value without its quotes.
cdef struct Node:
    size_t size                 # bytes; above NODE_BYTES_MAX: it was cut
    char[NODE_BYTES_MAX] text


cdef inline bint _is_digit(char byte) noexcept nogil:
    return c"0" <= byte <= c"9"


cdef inline bint _is_alphanumeric(char byte) noexcept nogil:
    return _is_digit(byte) or c"a" <= byte | 0x20 <= c"z"


cdef inline bint _is_space(char byte) noexcept nogil:
    return byte == c" " or byte == c"\t"


cdef inline bint _is_name(const char* at, const char* end, const char* name, ptrdiff_t size) noexcept nogil:
    """Whether `at` to `end` is `name` (lower-case letters, hyphens, a colon) in any case.

    Two control bytes fold to a hyphen and a colon, but no head that was taken has any.
    """
    cdef ptrdiff_t i
    if end - at != size:
        return False
    for i in range(size):
        if at[i] | 0x20 != name[i] | 0x20:
            return False
    return True


# ---- one element of a chain


cdef bint _is_port(const char* at, const char* end) noexcept nogil:
    """Digits up to 65535, or an obfuscated port (RFC 7239 section 6)."""
    cdef int port = 0
    if at < end and at[0] == c"_":
        at += 1
        if at == end:
            return False
        while at < end and (_is_alphanumeric(at[0]) or memchr(OBFUSCATION_MARKS, at[0], 3) != NULL):
            at += 1
        return at == end
    if not 1 <= end - at <= 5:
        return False
    while at < end and _is_digit(at[0]):
        port = port * 10 + (at[0] - c"0")
        at += 1
    return at == end and port <= 65535


cdef bint _read_node(const char* at, const char* end, Address* address) noexcept nogil:
    """a.b.c.d or [IPv6], each with a port or without. "unknown" and obfuscated names are no addresses."""
    cdef const char* stop
    if at < end and at[0] == c"[":
        stop = <const char*>memchr(at, c"]", end - at)
        if stop == NULL or (stop + 1 != end and (stop[1] != c":" or not _is_port(stop + 2, end))):
            return False
        return parse_ipv6(at + 1, stop - at - 1, address) == 0
    stop = <const char*>memchr(at, c":", end - at)
    if stop != NULL and not _is_port(stop + 1, end):
        return False
    return parse_ipv4(at, (end if stop == NULL else stop) - at, address) == 0


cdef bint _read_x_element(const char* at, const char* end, Address* address) noexcept nogil:
    """An element of X-Forwarded-For. IPv6 stands without brackets, or in them with a port."""
    return parse_address(at, end - at, address) == 0 or _read_node(at, end, address)


cdef inline const char* _skip_token(const char* at, const char* end) noexcept nogil:
    while at < end and (_is_alphanumeric(at[0]) or memchr(TOKEN_MARKS, at[0], 15) != NULL):
        at += 1
    return at


cdef inline const char* _skip_spaces(const char* at, const char* end) noexcept nogil:
    while at < end and _is_space(at[0]):
        at += 1
    return at


cdef inline void _keep(Node* node, char byte) noexcept nogil:
    if node.size < NODE_BYTES_MAX:
        node.text[node.size] = byte
    node.size += 1


cdef const char* _read_value(const char* at, const char* end, Node* node) noexcept nogil:
    """The first byte behind a token or quoted string, which goes to `node`; NULL if there is neither."""
    cdef const char* begin = at
    node.size = 0
    if at < end and at[0] == c'"':
        at += 1
        while at < end and at[0] != c'"':
            if at[0] == c"\\":
                at += 1
            if at == end or (<uint8_t>at[0] < 0x20 and at[0] != c"\t") or at[0] == 0x7f:
                return NULL
            _keep(node, at[0])
            at += 1
        if at == end:
            return NULL
        return at + 1
    at = _skip_token(at, end)
    while begin < at:
        _keep(node, begin[0])
        begin += 1
    if node.size == 0:
        return NULL
    return at


cdef bint _read_element(const char* at, const char* end, Address* address) noexcept nogil:
    """An element of Forwarded: pairs with semicolons, of which just one is "for" (RFC 7239 section 4).

    Spaces around a semicolon are beside the grammar, but senders write them, and they can be read in one way only.
    """
    cdef Node node, other
    cdef const char* name
    cdef bint has_for = False, is_for
    while True:
        at = name = _skip_spaces(at, end)
        if at < end and at[0] != c";":
            at = _skip_token(at, end)
            if at == end or at[0] != c"=":
                return False
            is_for = _is_name(name, at, b"for", 3)
            if is_for and has_for:
                return False
            has_for |= is_for
            at = _read_value(at + 1, end, &node if is_for else &other)
            if at == NULL:
                return False
            at = _skip_spaces(at, end)
        if at == end:
            return has_for and node.size <= NODE_BYTES_MAX and _read_node(node.text, node.text + node.size, address)
        if at[0] != c";":
            return False
        at += 1


# ---- the walk along a chain


cdef bint _is_escaped(const char* begin, const char* at) noexcept nogil:
    """Whether an odd number of backslashes stands before `at`."""
    cdef const char* stop = at
    while at > begin and at[-1] == c"\\":
        at -= 1
    return (stop - at) & 1


cdef const char* _last_element(const char* begin, const char* end) noexcept nogil:
    """Where the last element starts: behind the last comma that is in no quoted string.

    Read from the right, so that a quote which the client left open on the left cannot swallow what a proxy wrote.
    """
    cdef bint is_quoted = False
    while end > begin:
        if end[-1] == c"," and not is_quoted:
            return end
        if end[-1] == c'"' and not (is_quoted and _is_escaped(begin, end - 1)):
            is_quoted = not is_quoted
        end -= 1
    return begin


cdef const char* _last_x_element(const char* begin, const char* end) noexcept nogil:
    cdef const char* comma = <const char*>memrchr(begin, c",", end - begin)
    return begin if comma == NULL else comma + 1


cdef bint _read_trimmed(Forwarding field, const char* at, const char* end, Address* address) noexcept nogil:
    at = _skip_spaces(at, end)
    while at < end and _is_space(end[-1]):
        end -= 1
    return _read_element(at, end, address) if field == FORWARDED else _read_x_element(at, end, address)


cdef bint _walk(
    Forwarding field, const char* begin, const char* end, Networks trusted, Address* client, int* hops
) noexcept nogil:
    """One field value from the right, as forwarded_client; `hops` counts the elements over all lines of a head."""
    cdef const char* at
    while hops[0] < HOPS_MAX:
        hops[0] += 1
        at = _last_element(begin, end) if field == FORWARDED else _last_x_element(begin, end)
        if not _read_trimmed(field, at, end, client) or not trusted.contains(client):
            return False
        if at == begin:
            return True
        end = at - 1                            # the comma
    return False


cdef bint forwarded_client(const char* value, size_t size, Networks trusted, Address* client) noexcept nogil:
    cdef int hops = 0
    return _walk(FORWARDED, value, value + size, trusted, client, &hops)


cdef bint x_forwarded_for_client(const char* value, size_t size, Networks trusted, Address* client) noexcept nogil:
    cdef int hops = 0
    return _walk(X_FORWARDED_FOR, value, value + size, trusted, client, &hops)


cdef void find_client(
    Forwarding field, const char* head, size_t size, Networks trusted, Address* client
) noexcept nogil:
    cdef const char* name = b"forwarded:" if field == FORWARDED else b"x-forwarded-for:"
    cdef ptrdiff_t name_size = 10 if field == FORWARDED else 16
    cdef const char* end = head + size - 2      # a line's CRLF stands right before it; here, of the last field
    cdef const char* line
    cdef int hops = 0
    if field == OFF or not trusted.contains(client):
        return
    # Some proxies add a line of their own behind the client's (HAProxy's option forwardfor), so the last line is the
    # nearest. Several lines are one list (RFC 9110 section 5.3).
    while end - head >= 2:
        line = <const char*>memrchr(head, c"\n", end - 2 - head)
        if line == NULL:                        # the request line
            return
        line += 1
        if end - line > name_size and _is_name(line, line + name_size, name, name_size):
            if not _walk(field, line + name_size, end - 2, trusted, client, &hops):
                return
        end = line


# ---------------------------------------------------------------------------------------------------- public API


cdef const char* _begin(const unsigned char[::1] data) noexcept:
    """Where the bytes begin; an empty view has no first one."""
    if data.shape[0] == 0:
        return b""
    return <const char*>&data[0]


def read_forwarded(const unsigned char[::1] value not None, Networks trusted not None, str peer not None):
    cdef Address client
    set_address(peer, &client)
    goes_on = forwarded_client(_begin(value), value.shape[0], trusted, &client)
    return address_text(&client), bool(goes_on)


def read_x_forwarded_for(const unsigned char[::1] value not None, Networks trusted not None, str peer not None):
    cdef Address client
    set_address(peer, &client)
    goes_on = x_forwarded_for_client(_begin(value), value.shape[0], trusted, &client)
    return address_text(&client), bool(goes_on)


def client_of(Forwarding field, const unsigned char[::1] head not None, Networks trusted not None, str peer not None):
    cdef Address client
    set_address(peer, &client)
    if head.shape[0] < 4:
        raise ValueError("a head ends with an empty line")
    find_client(field, _begin(head), head.shape[0], trusted, &client)
    return address_text(&client)
