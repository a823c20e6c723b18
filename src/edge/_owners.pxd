"""Ends what L1 holds of shards that do not own it any more. Cimports the front and the leaves."""

from libc.stdint cimport uint16_t, uint64_t

from edge._cache cimport Cache, Entry, Log
from edge._front cimport SHARDS_MAX, Front
from edge._ring cimport Ring


cdef class OwnerWalk:
    cdef Front _front
    cdef Ring _ring
    cdef uint16_t[SHARDS_MAX] _numbers      # the Front's number of the ring's i-th shard
    cdef int _round                         # which log of which cache
    cdef uint64_t _at, _end                 # positions in it, counted from the log's beginning
    cdef readonly bint is_over

    cdef Cache _cache_of(self, int round)
    cdef Log* _log_of(self, int round) noexcept
    cdef int _begin(self, int round) noexcept
    cdef bint _is_misplaced(self, Entry* entry) noexcept
