"""SipHash-2-4. A leaf: cimports only libc and cpython."""

from libc.stdint cimport uint8_t, uint64_t

# The hash of `size` bytes at `data`, which is borrowed for the call only, under a key of two halves.
cdef uint64_t siphash_of(const uint8_t* data, size_t size, uint64_t key0, uint64_t key1) noexcept nogil
