"""Entries of L1 as bytes for a file. A leaf: cimports only libc, cpython, the cache and the hash of _ring."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from edge._cache cimport Cache

# One entry in a snapshot, little-endian like the machines that are built for; key and payload follow.
cdef packed struct Saved:
    uint8_t key_size            # bytes
    uint8_t kind                # as in the entry
    uint8_t hits                # as the entry's flags had them
    uint8_t reserved            # 0
    uint16_t payload_size       # bytes
    uint32_t version            # of the link
    uint32_t max_age_s          # as in the entry
    uint64_t link_id
    int64_t filled_ms           # wall clock


cdef class Walk:
    cdef Cache _cache
    cdef bytearray _slice               # filled by one `take`
    cdef int64_t _to_wall_ms            # added to the owner's monotonic clock gives the wall clock
    cdef int _round                     # index in ROUNDS
    cdef uint64_t _at, _end             # positions in the log of this round, counted from the log's beginning
    cdef readonly bint is_over          # nothing is left, or what is next did not fit an empty slice


cdef class Refill:
    cdef Cache _cache
    cdef bytes _records
    cdef size_t _at                     # offset of the next record
    cdef int64_t _to_monotonic_ms       # added to the wall clock gives the owner's monotonic clock
    cdef int64_t _oldest_ms             # wall clock; what was filled before is skipped
    cdef readonly bint is_over          # no record is left, or the cache has no more room

    cdef bint _insert(self, Saved* saved, const unsigned char* key) noexcept
