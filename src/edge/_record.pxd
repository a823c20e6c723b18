"""The link record, decoded for the hot path. A leaf: cimports only libc and cpython."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

cdef enum:
    NEVER = -1                  # in place of an instant that is not set
    NO_MAX_AGE = 0xFFFFFFFF     # in place of a cache lifetime that is not set

cdef enum RecordKind:
    LINK = 1
    TOMBSTONE = 2
    BAD_VERSION = -1            # of the format
    BAD_RECORD = -2             # not a record of its version


cdef struct Record:
    uint64_t link_id
    uint32_t version            # of the link at its key
    uint16_t status             # 301, 302, 307, 308; 0 in a tombstone
    bint is_disabled
    int64_t not_before_ms       # since 1970 UTC, or NEVER
    int64_t not_after_ms        # since 1970 UTC, or NEVER
    const unsigned char* target  # borrowed from the decoded bytes
    uint16_t target_size        # bytes
    uint32_t cache_max_age_s    # 0..31,536,000, or NO_MAX_AGE: the default policy


# A RecordKind; negative if the record must not be used.
cdef int decode_record(const unsigned char* data, size_t size, Record* record) noexcept nogil
