"""A worker's counters in memory that the supervisor shares.

Each worker has a block of `BLOCK_BYTES` in one shared mapping and is its only writer; the supervisor reads all blocks.
Aligned 64-bit loads and stores do not tear on the platforms that are built for, so no lock is needed.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyObject_GetBuffer, PyBuffer_Release

BLOCK_BYTES = 4096      # one page a worker: workers never share a cache line

STATUSES = (301, 302, 307, 308, 400, 404, 405, 410, 414, 431, 501, 503, 505)
TIERS = ("l1", "shard", "origin", "stale", "none")

NAMES = (
    *(f"answers_{status}" for status in STATUSES),
    *(f"tier_{tier}" for tier in TIERS),
    "connections_opened",
    "connections_closed",
    "l1_link_evictions",
    "l1_absence_evictions",
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
    "origin_lookups",
    "origin_failures",
    "origin_rejections",
    "record_failures",
    "flights_joined",
    "flights_rejected",
    "connections_open",
    "connections_cut",
    "memory_bytes",
    "loop_lag_us",
    "loop_lags",
    "loop_lag_us_max",
    "tls_full",
    "tls_resumed",
    "tls_refused",
    "tls_abandoned",
    "epoch",
    "shards_known",
    "shards_trusted",
    "is_origin_reachable",
    "is_ready",
    "beat_ms",
)
if NAMES.index("l1_link_bytes") != COUNTERS_COMPILED or len(NAMES) * 8 > BLOCK_BYTES:
    raise ImportError("the names of the counters and their places disagree")

_PLACES = {name: place for place, name in enumerate(NAMES)}


@cython.final
cdef class Counters:

    def __cinit__(self, object mapping, int block):
        cdef Py_buffer buffer
        view = memoryview(mapping)[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
        if view.nbytes != BLOCK_BYTES or view.readonly:
            raise ValueError(f"block {block} is not {BLOCK_BYTES} writable bytes of the mapping")
        PyObject_GetBuffer(view, &buffer, PyBUF_WRITABLE)
        self.at = <uint64_t*>buffer.buf
        self._view = view           # exports the mapping for as long as this object lives
        PyBuffer_Release(&buffer)

    def __init__(self, mapping, block):
        pass

    def add(self, str name not None, uint64_t count=1):
        self.at[<int>_PLACES[name]] += count

    def set(self, str name not None, uint64_t value):
        self.at[<int>_PLACES[name]] = value

    def get(self, str name not None):
        return self.at[<int>_PLACES[name]]

    def clear(self):
        cdef int place
        for place in range(<int>len(NAMES)):
            self.at[place] = 0

    def read(self):
        return {name: self.at[<int>place] for name, place in _PLACES.items()}
