"""The hash of keys and the consistent-hash ring. A leaf: cimports only libc and cpython."""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t


# XXH64 of `size` bytes at `data`, which is borrowed for the call only.
cdef uint64_t xxh64_of(const unsigned char* data, size_t size, uint64_t seed) noexcept nogil


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

    cdef int _place(self, shards, uint32_t virtual_nodes) except -1
    cdef int _index(self) except -1
