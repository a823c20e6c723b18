"""The hash of keys (XXH64) and the consistent-hash ring with weighted virtual nodes.

XXH64: Yann Collet, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md; tests hold it against the published
vectors and the `xxhash` package. The ring: D. Karger et al., "Consistent hashing and random trees", STOC 1997.

Invariants of a ring: points ascend; equal points are ordered by shard id, so that the order of declaration does not
matter; a ring never changes once built. Lookup is a table of equal-width buckets, about one a point, then a walk of
about one step: constant time, and fewer cache misses than a binary search.
"""

cimport cython
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy

from wire.topology import points_of

cdef enum:
    SHARDS_MAX = 65535          # an owner is 16 bits; wire.topology allows far fewer
    POINTS_MAX = 16_000_000     # 10 bytes each, plus 4 for its bucket

cdef uint64_t P1 = <uint64_t>0x9E3779B185EBCA87
cdef uint64_t P2 = <uint64_t>0xC2B2AE3D27D4EB4F
cdef uint64_t P3 = <uint64_t>0x165667B19E3779F9
cdef uint64_t P4 = <uint64_t>0x85EBCA77C2B2AE63
cdef uint64_t P5 = <uint64_t>0x27D4EB2F165667C5


cdef struct Point:
    uint64_t position
    uint32_t rank               # the shard's place in the order of shard ids, for ties
    uint32_t shard


cdef inline uint64_t _rotate(uint64_t value, int bits) noexcept nogil:
    return (value << bits) | (value >> (64 - bits))


cdef inline uint64_t _read64(const unsigned char* at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return value


cdef inline uint64_t _read32(const unsigned char* at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return value


cdef inline uint64_t _round(uint64_t state, uint64_t lane) noexcept nogil:
    return _rotate(state + lane * P2, 31) * P1


cdef inline uint64_t _merge(uint64_t state, uint64_t lane) noexcept nogil:
    return (state ^ _round(0, lane)) * P1 + P4


cdef uint64_t _stripes(const unsigned char* data, const unsigned char* end, uint64_t seed) noexcept nogil:
    """The state after all whole stripes of 32 bytes."""
    cdef uint64_t a = seed + P1 + P2, b = seed + P2, c = seed, d = seed - P1
    while end - data >= 32:
        a = _round(a, _read64(data))
        b = _round(b, _read64(data + 8))
        c = _round(c, _read64(data + 16))
        d = _round(d, _read64(data + 24))
        data += 32
    cdef uint64_t state = _rotate(a, 1) + _rotate(b, 7) + _rotate(c, 12) + _rotate(d, 18)
    return _merge(_merge(_merge(_merge(state, a), b), c), d)


cdef uint64_t xxh64_of(const unsigned char* data, size_t size, uint64_t seed) noexcept nogil:
    cdef const unsigned char* end = data + size
    cdef uint64_t state = seed + P5
    if size >= 32:
        state = _stripes(data, end, seed)
        data += size & ~<size_t>31
    state += size
    while end - data >= 8:
        state = _rotate(state ^ _round(0, _read64(data)), 27) * P1 + P4
        data += 8
    if end - data >= 4:
        state = _rotate(state ^ (_read32(data) * P1), 23) * P2 + P3
        data += 4
    while data < end:
        state = _rotate(state ^ (data[0] * P5), 11) * P1
        data += 1
    state = (state ^ (state >> 33)) * P2
    state = (state ^ (state >> 29)) * P3
    return state ^ (state >> 32)


cdef int _compare_points(const void* left, const void* right) noexcept nogil:
    cdef const Point* a = <const Point*>left
    cdef const Point* b = <const Point*>right
    if a.position != b.position:
        return -1 if a.position < b.position else 1
    return <int>(a.rank > b.rank) - <int>(a.rank < b.rank)


# ---------------------------------------------------------------------------------------------------- public API


def xxh64(const unsigned char[::1] data not None, uint64_t seed=0):
    if data.shape[0] == 0:
        return xxh64_of(b"", 0, seed)
    return xxh64_of(&data[0], data.shape[0], seed)


@cython.final
@cython.no_gc
cdef class Ring:

    def __cinit__(self, shards, uint32_t virtual_nodes):
        cdef list names = [name for name, weight in shards if weight > 0]
        if not 0 < len(names) <= SHARDS_MAX or len(set(names)) != len(names):
            raise ValueError(f"a ring takes 1..{SHARDS_MAX} shards with names of their own, not {names!r}")
        if virtual_nodes == 0 or any(weight < 0 for _, weight in shards):
            raise ValueError("there is at least one virtual node, and no weight is negative")
        total = sum(points_of(weight, virtual_nodes) for _, weight in shards)
        if total > POINTS_MAX:
            raise ValueError(f"{total} points on the ring; at most {POINTS_MAX} are built")
        self.shard_ids = tuple(name for name, _ in shards)
        self._points_count = total
        self._shift = 64
        while self._shift > 1 and (<uint64_t>1 << (64 - self._shift)) < total:
            self._shift -= 1
        if self._shift == 64:   # one point: a shift by 64 is undefined in C
            self._shift = 63
        self._points = <uint64_t*>malloc((total + 1) * sizeof(uint64_t))
        self._owners = <uint16_t*>malloc((total + 1) * sizeof(uint16_t))
        self._starts = <uint32_t*>malloc((<size_t>1 << (64 - self._shift)) * sizeof(uint32_t))
        if self._points == NULL or self._owners == NULL or self._starts == NULL:
            raise MemoryError(f"no memory for a ring of {total} points")
        self._place(shards, virtual_nodes)
        self._index()

    def __dealloc__(self):
        free(self._points)
        free(self._owners)
        free(self._starts)

    def __init__(self, shards, virtual_nodes):
        pass

    cdef int _place(self, shards, uint32_t virtual_nodes) except -1:
        """Fill points and owners. A shard's points are XXH64 of `<id>#<n>`."""
        cdef Point* points = <Point*>malloc(self._points_count * sizeof(Point))
        cdef uint32_t at = 0, n
        cdef bytes name
        if points == NULL:
            raise MemoryError(f"no memory to sort {self._points_count} points")
        try:
            ranks = {shard_id: rank for rank, shard_id in enumerate(sorted(self.shard_ids))}
            for shard, (shard_id, weight) in enumerate(shards):
                for n in range(<uint32_t>points_of(weight, virtual_nodes)):
                    name = b"%s#%d" % (shard_id.encode(), n)
                    points[at] = Point(xxh64_of(name, len(name), 0), ranks[shard_id], shard)
                    at += 1
            qsort(points, self._points_count, sizeof(Point), &_compare_points)
            for at in range(self._points_count):
                self._points[at] = points[at].position
                self._owners[at] = points[at].shard
        finally:
            free(points)
        # A hash above the last point belongs to the first one: the sentinel carries its owner around the wrap.
        self._points[self._points_count] = <uint64_t>0xFFFFFFFFFFFFFFFF
        self._owners[self._points_count] = self._owners[0]
        return 0

    cdef int _index(self) except -1:
        cdef uint64_t bucket
        cdef uint32_t at = 0
        for bucket in range(<uint64_t>1 << (64 - self._shift)):
            while at < self._points_count and self._points[at] < bucket << self._shift:
                at += 1
            self._starts[bucket] = at
        return 0

    def shard(self, uint64_t key_hash):
        return self.shard_of(key_hash)

    def __len__(self):
        return self._points_count
