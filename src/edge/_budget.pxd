"""Bounded limits for each client: tokens for unknown codes, open connections. A leaf: cimports only libc."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    WAYS = 8                    # buckets of a set: their keys are one cache line, their times another
    CLIENTS_MAX = 1 << 24       # 256 MB of buckets, or 512 MB of counts
    RATE_MAX = 1_000_000        # tokens a second; with it the clock's 63 bits reach for 292 years
    BURST_MAX = 1_000_000


# 128 bytes, aligned to 64. An empty bucket is a full one of the client 0.
cdef struct BucketSet:
    uint64_t[WAYS] keys
    int64_t[WAYS] full_at       # when the bucket is full again, in thousandths of a token: milliseconds times the rate


cdef class Budgets:
    cdef BucketSet* _sets       # owned; NULL if the rate is 0
    cdef uint64_t _sets_count
    cdef int64_t _rate          # tokens a second, that is thousandths of a token a millisecond; 0: no limit
    cdef int64_t _burst         # thousandths of a token
    cdef readonly uint64_t refusals     # takes that were refused
    cdef readonly uint64_t evictions    # buckets that were forgotten before they were full again

    # Take a token of the client; False if it has none, and then nothing changes. `now_ms` is monotonic and not negative.
    cdef bint take(self, uint64_t client_key, int64_t now_ms) noexcept nogil
    # Give a token back that was taken; a full bucket stays full, and a forgotten one is full.
    cdef void give(self, uint64_t client_key) noexcept nogil


cdef struct Count:
    uint64_t key
    uint32_t count              # 0: an empty place


cdef class Tally:
    cdef Count* _places         # owned
    cdef uint64_t _places_count
    cdef uint32_t _entries_max
    cdef uint32_t _entries      # places that are taken
    cdef readonly uint64_t refusals

    # Count one more; the count with it, or -1 if it would be over `limit` (or an entry too many): nothing is counted.
    cdef int enter(self, uint64_t client_key, int limit) noexcept nogil
    # Count one less; the count that is left, or -1 for a client that is not here.
    cdef int leave(self, uint64_t client_key) noexcept nogil

    cdef uint64_t _find(self, uint64_t client_key) noexcept nogil
    cdef void _remove(self, uint64_t place) noexcept nogil
