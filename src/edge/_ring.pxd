"""The hash of keys and the consistent-hash ring. A leaf: cimports only libc, cpython and the hash."""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from wire._xxh64 cimport xxh64_of


cdef struct Member:
    const unsigned char* name   # borrowed from bytes that live as long as the ring is built
    uint32_t name_size          # bytes
    uint32_t points
    uint32_t rank               # of the name in the order of all names, for ties


cdef struct Point:
    uint64_t position
    uint16_t shard


cdef class Ring:
    cdef uint64_t* _points      # owned; ascending, with one sentinel of 2^64-1 behind the last point
    cdef uint16_t* _owners      # owned; index of the shard of each point, the sentinel's is that of the first point
    cdef uint32_t* _starts      # owned; index of the first point at or above each bucket of equal width
    cdef uint32_t _points_count
    cdef int _shift             # a hash's bucket is hash >> _shift
    cdef readonly tuple shard_ids

    cdef inline int shard_of(self, uint64_t key_hash) noexcept nogil:
        """The index of the shard that owns `key_hash`: the owner of the first point at or above it."""
        # In bounds: _starts has 2^(64-_shift) items, and the sentinel ends the walk.
        cdef uint32_t at = self._starts[key_hash >> self._shift]
        while self._points[at] < key_hash:
            at += 1
        return self._owners[at]

    cdef size_t _buckets(self) noexcept nogil
    cdef int _allocate(self, uint32_t points) except -1
    cdef bint _build(self, const Member* members, size_t count) noexcept nogil
    cdef int _region_shift(self) noexcept nogil
    cdef void _count(self, const Member* member, uint32_t* counts) noexcept nogil
    cdef void _scatter(self, const Member* member, uint16_t shard, uint32_t* ends) noexcept nogil
    cdef void _sort(self, size_t region, uint32_t begin, uint32_t end, const Member* members, Point* points) noexcept nogil
    cdef void _insert(self, uint64_t position, const Member* members, uint16_t shard) noexcept nogil
