"""Rows of links as COPY sends them, and their records. wire.record is the format's definition, and this encoder's oracle
in tests, together with projection's own way from a row to a record.

PostgreSQL's binary COPY: https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS; its integers are
big-endian, ours little-endian.
"""

cimport cython
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from wire import record as wire_record

cdef enum:
    FIELDS = 13
    SIGNATURE_BYTES = 11
    HEAD_BYTES = 19             # signature, flags, size of the extension
    EXTENSION_BYTES_MAX = 4096  # PostgreSQL sends none
    NULL_FIELD = -1
    CODE_BYTES_MAX = 64         # links.code's own constraint

cdef enum:                      # columns
    ID = 0
    DOMAIN_ID
    CODE
    KEY_HASH
    VERSION
    STATUS
    TARGET
    IS_ENABLED
    NOT_BEFORE
    NOT_AFTER
    CACHE_MAX_AGE_S
    IS_DELETED
    TARGET_INDEX

cdef struct Field:
    const uint8_t* at
    int32_t size                # or NULL_FIELD

# By column; 0 for a text.
cdef int32_t[FIELDS] WIDTHS = [8, 4, 0, 8, 8, 2, 0, 1, 8, 8, 4, 1, 4]
cdef const char* SIGNATURE = b"PGCOPY\n\xff\r\n\0"
cdef int64_t EPOCH_US = 946_684_800_000_000         # PostgreSQL counts from 2000-01-01
cdef int64_t INSTANT_US_MAX = 253_402_300_800_000_000     # the year 10000, where Python's instants end
cdef int64_t INVALID = -2       # in place of an instant that no record can hold

# The numbers come from the format's definition, so that there is one source of them.
cdef uint8_t FORMAT_VERSION = wire_record.FORMAT_VERSION
cdef uint8_t FLAG_TOMBSTONE = int(wire_record.Flag.TOMBSTONE)
cdef uint8_t FLAG_DISABLED = int(wire_record.Flag.DISABLED)
cdef uint8_t FLAG_NOT_BEFORE = int(wire_record.Flag.HAS_NOT_BEFORE)
cdef uint8_t FLAG_NOT_AFTER = int(wire_record.Flag.HAS_NOT_AFTER)
cdef uint8_t FLAG_TAIL = int(wire_record.Flag.HAS_TAIL)
cdef uint16_t TAG_CACHE_MAX_AGE = wire_record.TAG_CACHE_MAX_AGE
cdef int64_t LINK_VERSION_MAX = wire_record.LINK_VERSION_MAX
cdef size_t TARGET_BYTES_MAX = wire_record.TARGET_BYTES_MAX
cdef int32_t CACHE_MAX_AGE_S_MAX = wire_record.CACHE_MAX_AGE_S_MAX
assert TARGET_BYTES_MAX + 42 == RECORD_BYTES_MAX

cdef extern from * nogil:
    uint16_t _swap16 "__builtin_bswap16"(uint16_t value)
    uint32_t _swap32 "__builtin_bswap32"(uint32_t value)
    uint64_t _swap64 "__builtin_bswap64"(uint64_t value)


cdef inline int16_t _read16(const uint8_t* at) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, at, 2)
    return <int16_t>_swap16(value)


cdef inline int32_t _read32(const uint8_t* at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return <int32_t>_swap32(value)


cdef inline int64_t _read64(const uint8_t* at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return <int64_t>_swap64(value)


cdef Py_ssize_t read_head(const uint8_t* at, const uint8_t* end) noexcept nogil:
    cdef int32_t extension
    if end - at < HEAD_BYTES:
        return 0
    if memcmp(at, SIGNATURE, SIGNATURE_BYTES) != 0 or _read32(at + SIGNATURE_BYTES) != 0:
        return -1
    extension = _read32(at + SIGNATURE_BYTES + 4)
    if not 0 <= extension <= EXTENSION_BYTES_MAX:
        return -1
    return HEAD_BYTES + extension if end - at >= HEAD_BYTES + extension else 0


cdef int read_row(const uint8_t* at, const uint8_t* end, Link* link, size_t* size) noexcept nogil:
    cdef Field[FIELDS] fields
    cdef int kind = _split(at, end, fields, size)
    return kind if kind != ROW or _read_fields(fields, link) else BAD


cdef int _split(const uint8_t* at, const uint8_t* end, Field* fields, size_t* size) noexcept nogil:
    """Where the row's fields are. A row that is not there whole is CUT, unless it is longer than any can be."""
    cdef const uint8_t* start = at
    cdef int16_t count
    cdef int column
    if end - at < 2:
        return CUT
    count = _read16(at)
    at += 2
    size[0] = 2
    if count != FIELDS:
        return END if count == -1 else BAD
    for column in range(FIELDS):
        if end - at < 4:
            return CUT
        fields[column].at = at + 4
        fields[column].size = _read32(at)
        at += 4
        if fields[column].size != NULL_FIELD:
            if not 0 <= fields[column].size <= ROW_BYTES_MOST - (at - start):
                return BAD
            if end - at < fields[column].size:
                return CUT
            at += fields[column].size
    size[0] = at - start
    return ROW


cdef bint _read_fields(const Field* fields, Link* link) noexcept nogil:
    cdef int column
    for column in range(FIELDS):
        if fields[column].size == NULL_FIELD:
            if column not in (NOT_BEFORE, NOT_AFTER, CACHE_MAX_AGE_S):
                return False
        elif WIDTHS[column] != 0 and fields[column].size != WIDTHS[column]:
            return False
    link.id = _read64(fields[ID].at)
    link.domain_id = _read32(fields[DOMAIN_ID].at)
    link.code = fields[CODE].at
    link.code_size = fields[CODE].size
    link.key_hash = _read64(fields[KEY_HASH].at)
    link.version = _read64(fields[VERSION].at)
    link.status = _read16(fields[STATUS].at)
    link.target = fields[TARGET].at
    link.target_size = fields[TARGET].size
    link.is_enabled = fields[IS_ENABLED].at[0] != 0
    link.not_before_ms = _read_instant(&fields[NOT_BEFORE])
    link.not_after_ms = _read_instant(&fields[NOT_AFTER])
    link.cache_max_age_s = _read_max_age(&fields[CACHE_MAX_AGE_S])
    link.is_deleted = fields[IS_DELETED].at[0] != 0
    link.target_index = _read32(fields[TARGET_INDEX].at)
    return True


cdef int32_t _read_max_age(const Field* field) noexcept nogil:
    cdef int32_t seconds
    if field.size == NULL_FIELD:
        return NO_MAX_AGE
    seconds = _read32(field.at)
    return seconds if 0 <= seconds <= CACHE_MAX_AGE_S_MAX else CACHE_MAX_AGE_S_MAX + 1


@cython.cdivision(True)
cdef int64_t _read_instant(const Field* field) noexcept nogil:
    """Whole milliseconds, rounded down, as wire.record has them: the same version must be the same bytes."""
    cdef int64_t us
    if field.size == NULL_FIELD:
        return NEVER
    us = _read64(field.at)
    if not -EPOCH_US <= us < INSTANT_US_MAX - EPOCH_US:
        return INVALID
    return (us + EPOCH_US) // 1000


cdef bint _is_target(const uint8_t* at, size_t size) noexcept nogil:
    cdef size_t i
    cdef uint8_t bad = 0
    for i in range(size):                   # no early exit: the compiler makes vector code of it
        bad |= <uint8_t>(at[i] - 0x21) > 0x7e - 0x21
    return 0 < size <= TARGET_BYTES_MAX and bad == 0


cdef bint _is_code(const uint8_t* at, size_t size) noexcept nogil:
    cdef size_t i
    cdef uint8_t bits = 0
    for i in range(size):
        bits |= at[i]
    return size <= CODE_BYTES_MAX and bits < 0x80


cdef Fault fault_of(const Link* link) noexcept nogil:
    if not _is_code(link.code, link.code_size):
        return BAD_CODE
    if not 0 < link.version <= LINK_VERSION_MAX:
        return BAD_VERSION
    if link.id < 0:
        return BAD_ID
    if link.is_deleted:
        return NO_FAULT
    if link.status not in (301, 302, 307, 308):
        return BAD_STATUS
    if not _is_target(link.target, link.target_size):
        return BAD_TARGET
    if link.not_before_ms == INVALID or link.not_after_ms == INVALID:
        return BAD_INSTANT
    return BAD_MAX_AGE if link.cache_max_age_s > CACHE_MAX_AGE_S_MAX else NO_FAULT


@cython.cdivision(True)
cdef uint8_t* _put_decimal(uint8_t* at, int64_t number) noexcept nogil:
    cdef uint8_t[20] digits
    cdef int count = 0
    if number < 0:
        at[0] = c"-"
        at += 1
        number = -number
    while number >= 10:
        digits[count] = c"0" + <uint8_t>(number % 10)
        number //= 10
        count += 1
    at[0] = c"0" + <uint8_t>number
    at += 1
    while count > 0:
        count -= 1
        at[0] = digits[count]
        at += 1
    return at


cdef size_t put_key(uint8_t* at, const Link* link) noexcept nogil:
    cdef uint8_t* start = at
    at[0] = c"l"
    at[1] = c":"
    at = _put_decimal(at + 2, link.domain_id)
    at[0] = c":"
    memcpy(at + 1, link.code, link.code_size)
    return at + 1 + link.code_size - start


cdef inline uint8_t _flags(const Link* link) noexcept nogil:
    cdef uint8_t flags = 0
    if not link.is_enabled:
        flags |= FLAG_DISABLED
    if link.not_before_ms != NEVER:
        flags |= FLAG_NOT_BEFORE
    if link.not_after_ms != NEVER:
        flags |= FLAG_NOT_AFTER
    if link.cache_max_age_s != NO_MAX_AGE:
        flags |= FLAG_TAIL
    return flags


cdef inline uint8_t* _put_head(uint8_t* at, uint8_t flags, uint16_t status, const Link* link) noexcept nogil:
    at[0] = FORMAT_VERSION
    at[1] = flags
    memcpy(at + 2, &status, 2)
    memcpy(at + 4, &link.version, 4)        # the lower half: little-endian
    memcpy(at + 8, &link.id, 8)
    return at + 16


cdef inline uint8_t* _put_max_age(uint8_t* at, const Link* link) noexcept nogil:
    cdef uint16_t size = 4
    memcpy(at, &TAG_CACHE_MAX_AGE, 2)
    memcpy(at + 2, &size, 2)
    memcpy(at + 4, &link.cache_max_age_s, 4)
    return at + 8


cdef size_t put_record(uint8_t* at, const Link* link) noexcept nogil:
    cdef uint8_t* start = at
    cdef uint16_t target_size = <uint16_t>link.target_size
    if link.is_deleted:
        return _put_head(at, FLAG_TOMBSTONE, 0, link) - start
    at = _put_head(at, _flags(link), <uint16_t>link.status, link)
    if link.not_before_ms != NEVER:
        memcpy(at, &link.not_before_ms, 8)
        at += 8
    if link.not_after_ms != NEVER:
        memcpy(at, &link.not_after_ms, 8)
        at += 8
    memcpy(at, &target_size, 2)
    memcpy(at + 2, link.target, link.target_size)
    at += 2 + link.target_size
    if link.cache_max_age_s != NO_MAX_AGE:
        at = _put_max_age(at, link)
    return at - start
