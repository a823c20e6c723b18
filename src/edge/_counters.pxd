"""A worker's counters in memory that the supervisor shares. A leaf: cimports only libc and cpython."""

from libc.stdint cimport uint64_t

# The place of each counter in a worker's block. NAMES in _counters.pyx is in the same order, and checked at import.
cdef enum Counter:
    ANSWERS_200
    ANSWERS_301
    ANSWERS_302
    ANSWERS_307
    ANSWERS_308
    ANSWERS_400
    ANSWERS_404
    ANSWERS_405
    ANSWERS_408
    ANSWERS_410
    ANSWERS_414
    ANSWERS_429
    ANSWERS_431
    ANSWERS_501
    ANSWERS_503
    ANSWERS_505
    TIER_L1
    TIER_SHARD
    TIER_REPLICA
    TIER_ORIGIN
    TIER_STALE
    TIER_NONE
    CONNECTIONS_OPENED
    CONNECTIONS_CLOSED
    L1_LINK_EVICTIONS
    L1_ABSENCE_EVICTIONS
    ACCEPT_FAILURES
    CONNECTION_FAILURES
    PROXY_HEADERS_REFUSED
    LIMIT_FIRST_BYTE_TIME
    LIMIT_HEAD_TIME
    LIMIT_IDLE_TIME
    LIMIT_UNSENT_TIME
    LIMIT_LINGER_TIME
    LIMIT_LINGER_BYTES
    LIMIT_UNSENT_BYTES
    LIMIT_REQUESTS
    LIMIT_PIPELINE
    LIMIT_CONNECTIONS
    LIMIT_CLIENT_CONNECTIONS
    LIMIT_CLIENT_UNKNOWN_CODES
    TLS_FULL
    TLS_RESUMED
    TLS_REFUSED
    TLS_ABANDONED
    CLICKS_RECORDED
    UNKNOWN_CLICKS_RECORDED
    CLICKS_DROPPED              # and its two next: by wire.report.DROP_REASONS, without those that recovery finds torn
    CLICKS_DROPPED_DISK_FULL
    CLICKS_DROPPED_NO_SEGMENT
    UNKNOWN_CLICKS_DROPPED
    COUNTERS_COMPILED           # counters from here on are written by Python


cdef enum:
    COUNTERS_BYTES = 4096       # of a worker's own counters: one page, workers never share a cache line
    SHARDS_MAX = 256            # wire.topology's
    SHARD_BYTES = 256           # of a worker's counters of one shard: four cache lines
    SHARD_ID_BYTES_MAX = 63     # wire.topology's; the byte in front of the id has its size


cdef class Block:
    """Numbers with names, in a row in the shared mapping."""
    cdef uint64_t* at           # borrowed from _view; one writer, so plain adds; readers may see a value one turn old
    cdef object _view           # keeps the shared mapping alive
    cdef dict _places           # name -> index in `at`

    cdef int _map(self, object mapping, size_t start, size_t size, size_t numbers_at) except -1


cdef class Counters(Block):
    cdef object _mapping        # in which the shards' counters are
    cdef size_t _shards_at      # bytes, in the mapping

    cdef inline void count(self, int place) noexcept:
        # In bounds: places are Counter's, and a block holds all of them.
        self.at[place] += 1


cdef class ShardCounters(Block):
    cdef unsigned char* _id     # borrowed from _view: its size and its bytes; size 0 while no shard has this place
