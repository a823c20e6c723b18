"""The link record, decoded for the hot path. wire.record is the format's definition and this decoder's oracle in tests."""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from wire import record as wire_record
from wire.errors import FormatError

# The numbers come from the format's definition, so that there is one source of them.
cdef uint8_t FORMAT_VERSION = wire_record.FORMAT_VERSION
cdef uint8_t FLAG_TOMBSTONE = int(wire_record.Flag.TOMBSTONE)
cdef uint8_t FLAG_DISABLED = int(wire_record.Flag.DISABLED)
cdef uint8_t FLAG_NOT_BEFORE = int(wire_record.Flag.HAS_NOT_BEFORE)
cdef uint8_t FLAG_NOT_AFTER = int(wire_record.Flag.HAS_NOT_AFTER)
cdef uint8_t FLAG_TAIL = int(wire_record.Flag.HAS_TAIL)
cdef uint8_t FLAGS_KNOWN = FLAG_TOMBSTONE | FLAG_DISABLED | FLAG_NOT_BEFORE | FLAG_NOT_AFTER | FLAG_TAIL
cdef uint16_t TAG_CRITICAL = wire_record.TAG_CRITICAL
cdef uint16_t TAG_CACHE_MAX_AGE = wire_record.TAG_CACHE_MAX_AGE
cdef size_t TARGET_BYTES_MAX = wire_record.TARGET_BYTES_MAX
cdef size_t TAIL_BYTES_MAX = wire_record.TAIL_BYTES_MAX
cdef uint32_t CACHE_MAX_AGE_S_MAX = wire_record.CACHE_MAX_AGE_S_MAX

cdef enum:
    HEAD_BYTES = 16             # format version, flags, status, version, link id
    ENTRY_HEAD_BYTES = 4        # tag, length


cdef inline uint16_t _read16(const unsigned char* at) noexcept nogil:
    return at[0] | <uint16_t>(at[1] << 8)


cdef const unsigned char* _read_instant(const unsigned char* at, const unsigned char* end, int64_t* instant) noexcept nogil:
    """Behind the instant, or NULL."""
    if end - at < 8:
        return NULL
    memcpy(instant, at, 8)
    return at + 8 if instant[0] >= 0 else NULL


cdef bint _is_target(const unsigned char* at, size_t size) noexcept nogil:
    cdef size_t i
    cdef uint8_t bad = 0
    for i in range(size):                   # no early exit: the compiler makes vector code of it
        bad |= <uint8_t>(at[i] - 0x21) > 0x7e - 0x21
    return 0 < size <= TARGET_BYTES_MAX and bad == 0


cdef bint _read_max_age(const unsigned char* at, size_t size, uint32_t* seconds) noexcept nogil:
    if size != 4:
        return False
    memcpy(seconds, at, 4)
    return seconds[0] <= CACHE_MAX_AGE_S_MAX


cdef bint _read_tail(const unsigned char* at, size_t size, Record* record) noexcept nogil:
    """Whether the tail is whole and this build may leave out what it does not know of it."""
    cdef int last = -1
    cdef uint16_t tag
    cdef size_t length
    if size == 0 or size > TAIL_BYTES_MAX:
        return False
    while size >= ENTRY_HEAD_BYTES:
        tag = _read16(at)
        length = _read16(at + 2)
        at += ENTRY_HEAD_BYTES
        size -= ENTRY_HEAD_BYTES
        if length > size or tag <= last or tag & TAG_CRITICAL:
            return False
        if tag == TAG_CACHE_MAX_AGE and not _read_max_age(at, length, &record.cache_max_age_s):
            return False
        last = tag
        at += length
        size -= length
    return size == 0


cdef int decode_record(const unsigned char* data, size_t size, Record* record) noexcept nogil:
    cdef const unsigned char* at = data + HEAD_BYTES
    cdef const unsigned char* end = data + size
    cdef uint8_t flags
    if size < 1 or data[0] != FORMAT_VERSION:
        return BAD_VERSION
    if size < HEAD_BYTES:
        return BAD_RECORD
    flags = data[1]
    record.status = _read16(data + 2)
    memcpy(&record.version, data + 4, 4)
    memcpy(&record.link_id, data + 8, 8)
    record.is_disabled = flags & FLAG_DISABLED
    record.not_before_ms = record.not_after_ms = NEVER
    record.cache_max_age_s = NO_MAX_AGE
    record.target = NULL
    record.target_size = 0
    if flags & FLAG_TOMBSTONE:
        return TOMBSTONE if flags == FLAG_TOMBSTONE and record.status == 0 and size == HEAD_BYTES else BAD_RECORD
    if flags & ~FLAGS_KNOWN or record.status not in (301, 302, 307, 308):
        return BAD_RECORD
    if flags & FLAG_NOT_BEFORE:
        at = _read_instant(at, end, &record.not_before_ms)
    if at != NULL and flags & FLAG_NOT_AFTER:
        at = _read_instant(at, end, &record.not_after_ms)
    if at == NULL or end - at < 2:
        return BAD_RECORD
    record.target_size = _read16(at)
    record.target = at + 2
    at = record.target + record.target_size
    if at > end or not _is_target(record.target, record.target_size):
        return BAD_RECORD
    if flags & FLAG_TAIL:
        return LINK if _read_tail(at, end - at, record) else BAD_RECORD
    return LINK if at == end else BAD_RECORD


# ---------------------------------------------------------------------------------------------------- public API


def decode(bytes data not None):
    """See the stub: for tests and benchmarks; the door calls decode_record."""
    cdef Record record
    cdef int kind = decode_record(data, len(data), &record)
    if kind == BAD_VERSION:
        raise FormatError("version", f"link record of unknown format version {data[:1]!r}")
    if kind == BAD_RECORD:
        raise FormatError("value", f"link record of {len(data)} bytes is malformed")
    if kind == TOMBSTONE:
        return None
    max_age_s = None if record.cache_max_age_s == NO_MAX_AGE else record.cache_max_age_s
    return record.status, record.target[: record.target_size], record.version, record.link_id, max_age_s
