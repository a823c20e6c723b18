"""The clicks of a batch one by one: for the table of raw clicks and for the live tail.

Rows are in PostgreSQL's binary COPY format (https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS):
written from C, a row costs what copying its bytes does, and no text has to be quoted. All its integers are big-endian.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from control.clicks._clicks cimport Row, new_members
from control.clicks._document cimport CLICK_DIMENSIONS
from control.clicks._entries cimport Entry
from control.clicks._grouping cimport Grouping, Member
from control.clicks._items cimport FLAG_STALE, FLAG_TLS, Click

import socket

from control.clicks._document import DIMENSION_NAMES

cdef enum:
    COLUMNS = 18
    FIXED_COLUMNS_BYTES = 6 * 4 + 8 + 8 + 4 + 3 * 2     # at, link_id, domain_id, status, flags, class with their lengths
    INET_HEAD_BYTES = 4         # family, bits, is CIDR, bytes of the address
    PGSQL_AF_INET = 2           # PostgreSQL's own numbers, src/include/utils/inet.h
    PGSQL_AF_INET6 = 3

cdef bytes SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)     # no flags, no extension
cdef bytes TRAILER = b"\xff\xff"
cdef int64_t EPOCH_MS = 946_684_800_000     # PostgreSQL counts from 2000-01-01
KIND_NAMES = ("human", "bot", "preview", "head")

cdef extern from * nogil:
    uint16_t _swap16 "__builtin_bswap16"(uint16_t value)
    uint32_t _swap32 "__builtin_bswap32"(uint32_t value)
    uint64_t _swap64 "__builtin_bswap64"(uint64_t value)


cdef inline uint8_t* _put16(uint8_t* at, uint16_t value) noexcept nogil:
    value = _swap16(value)
    memcpy(at, &value, 2)
    return at + 2


cdef inline uint8_t* _put32(uint8_t* at, uint32_t value) noexcept nogil:
    value = _swap32(value)
    memcpy(at, &value, 4)
    return at + 4


cdef inline uint8_t* _put64(uint8_t* at, uint64_t value) noexcept nogil:
    value = _swap64(value)
    memcpy(at, &value, 8)
    return at + 8


cdef inline uint8_t* _put_bytes(uint8_t* at, const void* data, uint32_t size) noexcept nogil:
    at = _put32(at, size)
    memcpy(at, data, size)
    return at + size


cdef uint8_t* _put_fixed(uint8_t* at, const Click* click, const Row* row) noexcept nogil:
    at = _put64(_put32(at, 8), <uint64_t>((<int64_t>click.time_ms - EPOCH_MS) * 1000))
    at = _put64(_put32(at, 8), click.link_id)
    at = _put32(_put32(at, 4), click.domain_id)
    at = _put16(_put32(at, 2), click.status)
    at = _put16(_put32(at, 2), click.flags)
    return _put16(_put32(at, 2), row.kind)


cdef uint8_t* _put_address(uint8_t* at, const Click* click) noexcept nogil:
    if click.address_size == 0:
        return _put32(at, 0xFFFFFFFF)       # NULL
    at = _put32(at, INET_HEAD_BYTES + click.address_size)
    at[0] = PGSQL_AF_INET if click.address_size == 4 else PGSQL_AF_INET6
    at[1] = 8 * click.address_size
    at[2] = 0
    at[3] = click.address_size
    memcpy(at + INET_HEAD_BYTES, click.address, click.address_size)
    return at + INET_HEAD_BYTES + click.address_size


cdef bytes _text(bytes text):
    """A request's bytes as a text that PostgreSQL takes: UTF-8 without NUL."""
    if text.isascii() and b"\0" not in text:
        return text
    return text.decode("utf-8", "replace").replace("\0", "\ufffd").encode()


cdef size_t _row_bytes(Clicks clicks, uint32_t i, list texts):
    cdef const Click* click = &clicks.clicks[i]
    cdef const Entry* values = clicks.values.by_rank
    cdef size_t size = 2 + FIXED_COLUMNS_BYTES + CLICK_DIMENSIONS * 4 + 3 * 4
    cdef int dimension
    for dimension in range(CLICK_DIMENSIONS):
        size += values[clicks.rows[i].values[dimension]].size
    size += INET_HEAD_BYTES + click.address_size if click.address_size > 0 else 0
    return size + PyBytes_GET_SIZE(texts[click.agent]) + PyBytes_GET_SIZE(texts[click.referrer])


cdef uint8_t* _put_row(uint8_t* at, Clicks clicks, uint32_t i, list texts):
    cdef const Click* click = &clicks.clicks[i]
    cdef const Row* row = &clicks.rows[i]
    cdef const Entry* value
    cdef int dimension
    at = _put_fixed(_put16(at, COLUMNS), click, row)
    for dimension in range(CLICK_DIMENSIONS):
        value = &clicks.values.by_rank[row.values[dimension]]
        at = _put_bytes(at, value.at, value.size)
    at = _put_address(at, click)
    at = _put_bytes(at, PyBytes_AS_STRING(texts[click.agent]), <uint32_t>PyBytes_GET_SIZE(texts[click.agent]))
    return _put_bytes(at, PyBytes_AS_STRING(texts[click.referrer]), <uint32_t>PyBytes_GET_SIZE(texts[click.referrer]))


cdef bytes copy_rows(Clicks clicks):
    cdef list texts = [_text(text) for text in clicks.texts]
    cdef size_t size = len(SIGNATURE) + len(TRAILER)
    cdef uint32_t i
    cdef bytes out
    cdef uint8_t* at
    for i in range(clicks.count):
        if clicks.clicks[i].link_id != 0:
            size += _row_bytes(clicks, i, texts)
    out = PyBytes_FromStringAndSize(NULL, size)
    at = <uint8_t*>PyBytes_AS_STRING(out)
    memcpy(at, PyBytes_AS_STRING(SIGNATURE), len(SIGNATURE))
    at += len(SIGNATURE)
    for i in range(clicks.count):
        if clicks.clicks[i].link_id != 0:
            at = _put_row(at, clicks, i, texts)
    memcpy(at, PyBytes_AS_STRING(TRAILER), len(TRAILER))
    assert at + len(TRAILER) == <uint8_t*>PyBytes_AS_STRING(out) + size
    return out


cdef dict _sample(Clicks clicks, uint32_t i):
    cdef const Click* click = &clicks.clicks[i]
    cdef const Row* row = &clicks.rows[i]
    cdef const Entry* value
    cdef int dimension
    cdef dict sample = {
        "at_ms": click.time_ms,
        "link_id": click.link_id or None,
        "domain_id": click.domain_id,
        "code": clicks.code_texts[click.code].decode("utf-8", "replace") if click.link_id == 0 else None,
        "status": click.status,
        "class": KIND_NAMES[row.kind],
        "is_tls": click.flags & FLAG_TLS != 0,
        "is_stale": click.flags & FLAG_STALE != 0,
        "address": _address(click),
    }
    for dimension in range(CLICK_DIMENSIONS):
        value = &clicks.values.by_rank[row.values[dimension]]
        sample[DIMENSION_NAMES[dimension]] = value.at[: value.size].decode("utf-8", "replace")
    return sample


cdef object _address(const Click* click):
    if click.address_size == 0:
        return None
    family = socket.AF_INET if click.address_size == 4 else socket.AF_INET6
    return socket.inet_ntop(family, click.address[: click.address_size])


cdef list newest(Clicks clicks, size_t limit):
    cdef Member* members = new_members(clicks.count)
    cdef Grouping by_time
    cdef uint32_t i
    cdef list samples = []
    for i in range(clicks.count):
        members[i] = Member(clicks.clicks[i].time_ms, 0, i)
    by_time = Grouping.of(members, clicks.count)
    for i in range(clicks.count, <uint32_t>max(0, <int64_t>clicks.count - <int64_t>limit), -1):
        samples.append(_sample(clicks, by_time.members[i - 1].click))
    return samples
