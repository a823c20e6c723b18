"""A worker's counters in memory that the supervisor shares.

    one worker's block:   its counters (a page) │ shard 0: id, numbers │ shard 1 │ … │ shard 255

Each worker has a block of `BLOCK_BYTES` in one shared mapping and is its only writer; the supervisor reads all blocks.
Aligned 64-bit loads and stores do not tear on the platforms that are built for, so no lock is needed.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyObject_GetBuffer, PyBuffer_Release
from libc.string cimport memcpy, memset

from wire.topology import MODES

cdef extern from *:
    """
    #define release_fence() __atomic_thread_fence(__ATOMIC_RELEASE)
    """
    void release_fence() noexcept nogil

BLOCK_BYTES = COUNTERS_BYTES + SHARDS_MAX * SHARD_BYTES

# Upper bounds of the histograms' buckets; what is slower is in "inf". From a Redis on the same host to a lost second.
BOUNDS_MS = (0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000)
cdef enum:
    BOUNDS = 12                             # of BOUNDS_MS; a histogram's next numbers are "inf" and the sum
cdef uint64_t[BOUNDS] _BOUNDS_US = [<uint64_t>(bound * 1000) for bound in BOUNDS_MS]
_FIRST = f"_{BOUNDS_MS[0]:g}"


def _histogram(name):
    return (*(f"{name}_{bound:g}" for bound in BOUNDS_MS), f"{name}_inf", f"{name}_sum_us")


STATUSES = (200, 301, 302, 307, 308, 400, 404, 405, 408, 410, 414, 429, 431, 501, 503, 505)
TIERS = ("l1", "shard", "replica", "origin", "stale", "none")

LIMITS = (
    "first_byte_time",
    "head_time",
    "idle_time",
    "unsent_time",
    "linger_time",
    "linger_bytes",
    "unsent_bytes",
    "connection_requests",
    "pipeline",
    "connections",
    "client_connections",
    "client_unknown_codes",
)

# Of wire.report.DROP_REASONS, those that a living worker knows of.
CLICK_DROPS = ("backlog_full", "disk_full", "no_segment")

NAMES = (
    *(f"answers_{status}" for status in STATUSES),
    *(f"tier_{tier}" for tier in TIERS),
    "connections_opened",
    "connections_closed",
    "l1_link_evictions",
    "l1_absence_evictions",
    "accept_failures",
    "connection_failures",
    "proxy_headers_refused",
    *(f"limit_{limit}" for limit in LIMITS),
    "tls_full",
    "tls_resumed",
    "tls_refused",
    "tls_abandoned",
    "clicks_recorded",
    "unknown_clicks_recorded",
    *(f"clicks_dropped_{reason}" for reason in CLICK_DROPS),
    "unknown_clicks_dropped",
    # From here on written by Python.
    "l1_link_bytes",
    "l1_link_entries",
    "l1_absence_bytes",
    "l1_absence_entries",
    "invalidations",
    "shard_distrusts",
    "shard_connects",
    "shard_timeouts",
    "shard_doubtful_replies",
    "trust_refusals",
    "replica_lookups",
    "replica_refusals",
    "origin_lookups",
    "origin_failures",
    "origin_rejections",
    "origin_timeouts",
    *_histogram("origin_lookup"),
    "record_failures",
    "flights_joined",
    "flights_rejected",
    "refreshes_started",
    "refreshes_rejected",
    "flights_parked",
    "fallbacks",
    "samples",
    "sample_differences",
    "l1_audits",
    "l1_drifts",
    "l1_walks",
    "l1_walk_ended",
    "l1_walk_left_bytes",
    "misses_under_way",
    "refreshes_under_way",
    "waiters",
    "unsent_bytes",
    "budget_evictions",
    "snapshot_writes",
    "snapshot_failures",
    "snapshot_file_bytes",
    "snapshot_restored",
    "click_segments",
    "click_failures",
    "click_directory_bytes",
    "connections_open",
    "connections_cut",
    "memory_bytes",
    "loop_lag_us",
    "loop_lags",
    "loop_lag_us_max",
    "started_ms",
    "epoch",
    "epoch_acknowledged",
    *(f"is_mode_{mode}" for mode in MODES),
    "shards_known",
    "shards_trusted",
    "replicas_usable",
    "is_origin_reachable",
    "is_ready",
    "beat_ms",
)
if NAMES.index("l1_link_bytes") != COUNTERS_COMPILED or len(NAMES) * 8 > COUNTERS_BYTES:
    raise ImportError("the names of the counters and their places disagree")

SHARD_NAMES = (
    "is_breaker_closed",
    "is_breaker_open",
    "is_breaker_half_open",
    "breaker_closed_entries",
    "breaker_open_entries",
    "breaker_half_open_entries",
    "proved_ms",
    *_histogram("lookup"),
)
cdef enum:
    NUMBERS_AT = SHARD_ID_BYTES_MAX + 1     # a multiple of 8
if len(BOUNDS_MS) != BOUNDS or NUMBERS_AT + len(SHARD_NAMES) * 8 > SHARD_BYTES:
    raise ImportError("the counters of a shard do not fit into their place, or the bounds have become more or fewer")

_PLACES = {name: place for place, name in enumerate(NAMES)}
_SHARD_PLACES = {name: place for place, name in enumerate(SHARD_NAMES)}


cdef class Block:

    cdef int _map(self, object mapping, size_t start, size_t size, size_t numbers_at) except -1:
        cdef Py_buffer buffer
        view = memoryview(mapping)[start : start + size]
        if <size_t>view.nbytes != size or view.readonly:
            raise ValueError(f"the mapping has no {size} writable bytes at {start}")
        PyObject_GetBuffer(view, &buffer, PyBUF_WRITABLE)
        self.at = <uint64_t*>(<char*>buffer.buf + numbers_at)
        self._view = view           # exports the mapping for as long as this object lives
        PyBuffer_Release(&buffer)
        return 0

    def add(self, str name not None, uint64_t count=1):
        self.at[<int>self._places[name]] += count

    def set(self, str name not None, uint64_t value):
        self.at[<int>self._places[name]] = value

    def get(self, str name not None):
        return self.at[<int>self._places[name]]

    def observe(self, str name not None, uint64_t duration_us):
        cdef int bucket = 0
        cdef int first = self._places[name + _FIRST]
        while bucket < BOUNDS and duration_us > _BOUNDS_US[bucket]:
            bucket += 1
        self.at[first + bucket] += 1
        self.at[first + BOUNDS + 1] += duration_us

    def read(self):
        return {name: self.at[<int>place] for name, place in self._places.items()}


@cython.final
cdef class Counters(Block):

    def __cinit__(self, object mapping, size_t block):
        self._places = _PLACES
        self._mapping = mapping
        self._map(mapping, block * <size_t>BLOCK_BYTES, COUNTERS_BYTES, 0)
        self._shards_at = block * <size_t>BLOCK_BYTES + COUNTERS_BYTES

    def __init__(self, mapping, block):
        pass

    def shard(self, size_t number):
        if number >= SHARDS_MAX:
            raise ValueError(f"shard number {number} is not in 0..{SHARDS_MAX - 1}")
        return ShardCounters(self._mapping, self._shards_at + number * SHARD_BYTES)

    def shards(self):
        rows = [self.shard(number) for number in range(SHARDS_MAX)]
        return {row.id: row.read() for row in rows if row.id}

    def clear(self):
        memset(self.at, 0, COUNTERS_BYTES)
        for number in range(SHARDS_MAX):
            self.shard(number).clear()


@cython.final
cdef class ShardCounters(Block):

    def __cinit__(self, object mapping, size_t start):
        self._places = _SHARD_PLACES
        self._map(mapping, start, SHARD_BYTES, NUMBERS_AT)
        self._id = <unsigned char*>self.at - NUMBERS_AT

    def __init__(self, mapping, start):
        pass

    @property
    def id(self):
        return self._id[1 : 1 + min(self._id[0], SHARD_ID_BYTES_MAX)].decode("ascii", "replace")

    def take(self, str shard_id not None):
        cdef bytes name = shard_id.encode("ascii")
        if not 1 <= len(name) <= SHARD_ID_BYTES_MAX:
            raise ValueError(f"shard id {shard_id!r} is not 1..{SHARD_ID_BYTES_MAX} bytes long")
        self.clear()
        memcpy(self._id + 1, <const char*>name, len(name))
        release_fence()                             # a reader that sees the size sees the whole id
        self._id[0] = <unsigned char>len(name)

    def clear(self):
        self._id[0] = 0
        release_fence()                             # likewise: no size with an id that is being overwritten
        memset(self._id, 0, SHARD_BYTES)
