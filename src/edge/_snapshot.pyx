"""Entries of L1 as bytes for a file, and back: the hottest first, in slices, so that nothing holds the event loop.

    Walk.take    six rounds over the logs ──▶ slices of Saved, key, payload
    Refill.take  slices ──▶ entries with a deadline and a generation of 0, which nobody trusts

A cache changes between two slices. A position in a log counts bytes from the log's beginning, so it stays right while the
tail moves; what the tail has passed meanwhile is left out. An entry that was written again may be left out, never torn.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t
from libc.string cimport memcpy

from edge._cache cimport (
    HIT, HITS_MAX, HAS_END, IS_DEAD, IS_PADDING, Entry, Log, entry_key, entry_payload, entry_size,
)
from edge._ring cimport xxh64_of

cdef enum:
    SLICE_BYTES = 1 << 17           # more than any entry
    SLICE_ENTRIES = 4096            # looked at for one slice: under a millisecond with cold memory
    REFILL_ENTRIES = 1024           # inserted in one slice: half a millisecond
    ROUNDS = 6

# Hottest first: (of main, least hits, most hits).
cdef int[ROUNDS][3] _ROUNDS = [
    [1, 3 * HIT, 3 * HIT], [1, 2 * HIT, 2 * HIT], [1, HIT, HIT], [0, HIT, HITS_MAX], [1, 0, 0], [0, 0, 0],
]


cdef inline Log* _log_of(Cache cache, int round) noexcept:
    return &cache._main if _ROUNDS[round][0] else &cache._small


@cython.final
cdef class Walk:

    def __init__(self, Cache cache not None, int64_t to_wall_ms):
        self._cache = cache
        self._slice = bytearray(SLICE_BYTES)
        self._to_wall_ms = to_wall_ms
        _begin_round(self, 0)

    def take(self, size_t bytes_max):
        """The next slice, of at most `bytes_max` and SLICE_BYTES; may be empty before `is_over`."""
        cdef char* out = PyByteArray_AS_STRING(self._slice)
        cdef size_t size = 0, needed
        cdef size_t room = min(bytes_max, <size_t>SLICE_BYTES)
        cdef int left = SLICE_ENTRIES
        cdef Entry* entry
        while left > 0 and not self.is_over:
            entry = _next(self)
            if entry == NULL:
                continue
            left -= 1
            # Nobody could tell later whether a link with an end is over.
            if entry.flags & (IS_DEAD | IS_PADDING | HAS_END) or not _is_of_round(entry, self._round):
                self._at += entry_size(entry)
                continue
            needed = sizeof(Saved) + entry.key_size + entry.payload_size
            if size + needed > room:
                self.is_over = size == 0
                break
            _write(out + size, entry, self._to_wall_ms)
            size += needed
            self._at += entry_size(entry)
        return PyBytes_FromStringAndSize(out, size)


cdef int _begin_round(Walk walk, int round) noexcept:
    cdef Log* log
    if round == ROUNDS:
        walk.is_over = True
        return 0
    log = _log_of(walk._cache, round)
    walk._round = round
    walk._at = log.passed
    walk._end = log.passed + log.used       # what is written later is not visited: a round ends
    return 0


cdef Entry* _next(Walk walk) noexcept:
    """The entry at the walk's position, borrowed; NULL where a round has ended and another begun."""
    cdef Log* log = _log_of(walk._cache, walk._round)
    if walk._at < log.passed:
        walk._at = log.passed
    if walk._at >= walk._end:
        _begin_round(walk, walk._round + 1)
        return NULL
    return walk._cache.entry_from(log, walk._at)


cdef bint _is_of_round(Entry* entry, int round) noexcept:
    return _ROUNDS[round][1] <= (entry.flags & HITS_MAX) <= _ROUNDS[round][2]


cdef int _write(char* out, Entry* entry, int64_t to_wall_ms) noexcept:
    cdef Saved saved
    saved.key_size = entry.key_size
    saved.kind = entry.kind
    saved.hits = entry.flags & HITS_MAX
    saved.reserved = 0
    saved.payload_size = entry.payload_size
    saved.version = entry.version
    saved.max_age_s = entry.max_age_s
    saved.link_id = entry.link_id
    saved.filled_ms = <int64_t>entry.filled_s * 1000 + to_wall_ms
    memcpy(out, &saved, sizeof(Saved))
    memcpy(out + sizeof(Saved), entry_key(entry), <size_t>entry.key_size + entry.payload_size)
    return 0


@cython.final
cdef class Refill:

    def __init__(self, Cache cache not None, bytes records not None, int64_t to_monotonic_ms, int64_t oldest_ms):
        self._cache = cache
        self._records = records
        self._to_monotonic_ms = to_monotonic_ms
        self._oldest_ms = oldest_ms
        self.is_over = len(records) == 0

    def take(self):
        """Put the next entries into the cache, at most REFILL_ENTRIES; their keys in order."""
        cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(self._records)
        cdef size_t end = PyBytes_GET_SIZE(self._records)
        cdef list keys = []
        cdef int left = REFILL_ENTRIES
        cdef Saved saved
        while left > 0 and not self.is_over:
            left -= 1
            if end - self._at < sizeof(Saved):
                raise ValueError(f"{end - self._at} bytes are left where an entry begins")
            memcpy(&saved, data + self._at, sizeof(Saved))
            self._at += sizeof(Saved)
            if end - self._at < <size_t>saved.key_size + saved.payload_size or saved.key_size == 0:
                raise ValueError(f"{end - self._at} bytes are left for key and payload of an entry")
            if saved.filled_ms >= self._oldest_ms and not self._insert(&saved, data + self._at):
                break
            if saved.filled_ms >= self._oldest_ms:
                keys.append(PyBytes_FromStringAndSize(<const char*>data + self._at, saved.key_size))
            self._at += <size_t>saved.key_size + saved.payload_size
            self.is_over = self._at == end
        return keys

    cdef bint _insert(self, Saved* saved, const unsigned char* key) noexcept:
        """False, and over, when the cache is as full as it can be without dropping what came before, which is hotter."""
        cdef Cache cache = self._cache
        cdef uint64_t key_hash = xxh64_of(key, saved.key_size, 0)
        cdef Entry* entry
        if cache._slot_of(key_hash, key, saved.key_size) != NULL:
            return True                     # what is there already is younger
        # An insert moves at most its own size and one entry more from `small` to `main`.
        if cache._main.has_wrapped or cache._main.size - cache._main.head < 2 * cache._entry_bytes_max:
            self.is_over = True
            return False
        entry = cache.insert(key_hash, key, saved.key_size, saved.payload_size)
        if entry == NULL:
            return True                     # too large for this cache, which may be smaller than the one before
        entry.flags = saved.hits & HITS_MAX
        entry.kind = saved.kind
        entry.shard = 0
        entry.deadline_ms = 0
        entry.generation = 0
        entry.link_id = saved.link_id
        entry.version = saved.version
        entry.max_age_s = saved.max_age_s
        # Rounded down, so that nothing becomes younger; below zero when it was filled before the machine's start.
        entry.filled_s = <int32_t>_floor_s(saved.filled_ms + self._to_monotonic_ms)
        memcpy(entry_payload(entry), key + saved.key_size, saved.payload_size)
        return True


cdef inline int64_t _floor_s(int64_t instant_ms) noexcept nogil:
    return instant_ms // 1000 if instant_ms >= 0 else -((999 - instant_ms) // 1000)
