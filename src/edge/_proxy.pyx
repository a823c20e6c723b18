"""The PROXY protocol, versions 1 and 2: who asks a proxy that passes bytes on. Bytes in, decision out, no I/O.

The specification: W. Tarreau, "The PROXY protocol", https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt.

    PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 CRLF       _parse_line: version 1, in text
    signature | version, command | family | size        _parse_block: version 2, in binary
      addresses | type, size, value | ...               _check_tlvs: of these only the checksum matters here

A header that is not whole is parsed again from its start when more bytes have come; its maximum sizes bound that work.
A receiver is set up for the protocol or not, and never guesses: whatever is not a header ends the connection.
"""

from libc.stdint cimport UINT32_MAX
from libc.string cimport memchr, memcmp, memcpy

from edge._client cimport ADDRESS_TEXT_MAX, address_text, parse_ipv4, parse_ipv6, set_ipv4

cdef enum:
    INCOMPLETE = 0
    INVALID = -1
    SIGNATURE_SIZE = 12
    BLOCK_HEAD_SIZE = 16        # signature, version and command, family, size of the rest
    LOCAL = 0x20                # version 2 and its command: the proxy asks for itself, to see whether we are well
    PROXY = 0x21
    UNSPEC = 0x00               # family and protocol: streams only, so nothing else with datagrams or a half of UNSPEC
    TCP4 = 0x11
    TCP6 = 0x21
    UNIX = 0x31
    TLV_CRC32C = 0x03

cdef const char* SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"

cdef uint32_t[256] CRC32C


cdef void _fill_crc32c() noexcept:
    """CRC-32C (Castagnoli), reflected polynomial 0x82F63B78: RFC 4960 appendix B."""
    cdef uint32_t byte, rest
    cdef int bit
    for byte in range(256):
        rest = byte
        for bit in range(8):
            rest = rest >> 1 ^ (<uint32_t>0x82F63B78 if rest & 1 else 0)
        CRC32C[byte] = rest


_fill_crc32c()


cdef inline int _read16(const char* at) noexcept nogil:
    return <uint8_t>at[0] << 8 | <uint8_t>at[1]


# ---- version 1


cdef const char* _find_line_end(const char* data, const char* end) noexcept nogil:
    """The first CRLF, or NULL."""
    cdef const char* at = <const char*>memchr(data, c"\r", end - data)
    while at != NULL and at + 1 < end and at[1] != c"\n":
        at = <const char*>memchr(at + 1, c"\r", end - at - 1)
    return at if at != NULL and at + 1 < end else NULL


cdef const char* _parse_port(const char* at, const char* end) noexcept nogil:
    """The byte behind a port without leading zeros; NULL if there is none."""
    cdef const char* begin = at
    cdef int port = 0
    while at < end and c"0" <= at[0] <= c"9" and at - begin < 5:
        port = port * 10 + (at[0] - c"0")
        at += 1
    if at == begin or port > 65535 or (begin[0] == c"0" and at - begin > 1):
        return NULL
    return at


cdef const char* _parse_text_address(const char* at, const char* end, bint is_four, Address* address) noexcept nogil:
    """The byte behind an address and its space; NULL if there is none of the family."""
    cdef const char* space = <const char*>memchr(at, c" ", min(end - at, <ptrdiff_t>ADDRESS_TEXT_MAX))
    if space == NULL:
        return NULL
    if (parse_ipv4(at, space - at, address) if is_four else parse_ipv6(at, space - at, address)) != 0:
        return NULL
    return space + 1


cdef bint _parse_endpoints(const char* at, const char* end, bint is_four, Address* client) noexcept nogil:
    """Source, destination, source port, destination port, with one space between each two."""
    cdef Address source, destination
    at = _parse_text_address(at, end, is_four, &source)
    if at == NULL:
        return False
    at = _parse_text_address(at, end, is_four, &destination)
    if at == NULL:
        return False
    at = _parse_port(at, end)
    if at == NULL or at == end or at[0] != c" ":
        return False
    if _parse_port(at + 1, end) != end:
        return False
    client[0] = source
    return True


cdef int _parse_line(const char* data, size_t size, Address* client, bint* is_known) noexcept nogil:
    cdef const char* end = _find_line_end(data, data + min(size, <size_t>PROXY_LINE_BYTES_MAX))
    if end == NULL:
        return INCOMPLETE if size < PROXY_LINE_BYTES_MAX else INVALID
    # What follows UNKNOWN is ignored up to the line's end.
    if end - data >= 13 and memcmp(data, b"PROXY UNKNOWN", 13) == 0 and (data + 13 == end or data[13] == c" "):
        return <int>(end + 2 - data)
    if end - data < 11 or (memcmp(data, b"PROXY TCP4 ", 11) != 0 and memcmp(data, b"PROXY TCP6 ", 11) != 0):
        return INVALID
    if not _parse_endpoints(data + 11, end, data[9] == c"4", client):
        return INVALID
    is_known[0] = True
    return <int>(end + 2 - data)


# ---- version 2


cdef uint32_t _crc32c(uint32_t rest, const char* at, const char* end) noexcept nogil:
    while at < end:
        rest = rest >> 8 ^ CRC32C[(rest ^ <uint8_t>at[0]) & 0xff]
        at += 1
    return rest


cdef bint _is_sum_right(const char* data, const char* end, const char* field) noexcept nogil:
    """Whether `field` holds, in network order, the sum of the header with zeros in its place."""
    cdef uint32_t rest = _crc32c(UINT32_MAX, data, field)
    rest = _crc32c(rest, b"\x00\x00\x00\x00", <const char*>b"\x00\x00\x00\x00" + 4)
    rest = ~_crc32c(rest, field + 4, end)
    return rest == (<uint32_t>_read16(field) << 16 | <uint32_t>_read16(field + 2))


cdef bint _check_tlvs(const char* data, const char* at, const char* end) noexcept nogil:
    """Whether the TLVs from `at` fill the header to its end, and the checksum, if there is one, is right."""
    cdef const char* sum_field = NULL
    cdef int size
    while at < end:
        if end - at < 3:
            return False
        size = _read16(at + 1)
        if end - at - 3 < size:
            return False
        if <uint8_t>at[0] == TLV_CRC32C:
            if size != 4 or sum_field != NULL:
                return False
            sum_field = at + 3
        at += 3 + size
    return sum_field == NULL or _is_sum_right(data, end, sum_field)


cdef int _address_size(int family) noexcept nogil:
    """Bytes of the source and destination with their ports; -1 for what is refused."""
    if family == TCP4: return 12
    if family == TCP6: return 36
    if family == UNIX: return 216
    return -1


cdef int _parse_block(const char* data, size_t size, Address* client, bint* is_known) noexcept nogil:
    cdef int command, family, address_size, total
    if memcmp(data, SIGNATURE, min(size, <size_t>SIGNATURE_SIZE)) != 0:
        return INVALID
    if size < BLOCK_HEAD_SIZE:
        return INCOMPLETE
    command = <uint8_t>data[12]
    family = <uint8_t>data[13]
    total = BLOCK_HEAD_SIZE + _read16(data + 14)
    if (command != LOCAL and command != PROXY) or total > PROXY_BYTES_MAX:
        return INVALID
    if command == LOCAL or family == UNSPEC:        # the rest is skipped, whatever it is
        return total if size >= <size_t>total else INCOMPLETE
    address_size = _address_size(family)
    if address_size < 0 or total < BLOCK_HEAD_SIZE + address_size:
        return INVALID
    if size < <size_t>total:
        return INCOMPLETE
    if not _check_tlvs(data, data + BLOCK_HEAD_SIZE + address_size, data + total):
        return INVALID
    _set_source(family, data + BLOCK_HEAD_SIZE, client)
    is_known[0] = True
    return total


cdef void _set_source(int family, const char* source, Address* client) noexcept nogil:
    if family == TCP4:
        set_ipv4(client, source)
    elif family == TCP6:
        memcpy(client.octets, source, 16)
    else:
        client.octets = [0] * 16


cdef int parse_proxy(const char* data, size_t size, Address* client, bint* is_known) noexcept nogil:
    is_known[0] = False
    if size == 0:
        return INCOMPLETE
    if data[0] == SIGNATURE[0]:
        return _parse_block(data, size, client, is_known)
    if memcmp(data, b"PROXY ", min(size, <size_t>6)) != 0:
        return INVALID
    return _parse_line(data, size, client, is_known)


# ---------------------------------------------------------------------------------------------------- public API


def read_proxy(const unsigned char[::1] data not None):
    """See the stub: for tests; the door calls parse_proxy."""
    cdef Address client
    cdef bint is_known
    cdef int taken
    if data.shape[0] == 0:
        return 0
    taken = parse_proxy(<const char*>&data[0], data.shape[0], &client, &is_known)
    if taken <= 0:
        return taken
    return taken, address_text(&client) if is_known else None
