"""Base62 and the keyed permutation behind generated codes. A leaf: cimports only libc and cpython."""

from libc.stdint cimport uint64_t

cdef enum:
    CODE_LENGTH = 7                     # characters of a generated code
    BASE62_DIGITS_MAX = 11              # 62^11 > 2^64


# SipHash-2-4 of `size` bytes at `data`, which is borrowed for the call only.
cdef uint64_t siphash_of(const unsigned char* data, size_t size, uint64_t key0, uint64_t key1) noexcept nogil


cdef class CodePermutation:
    cdef uint64_t _key0, _key1          # SipHash key, from the 16 secret bytes

    cdef uint64_t _mix(self, uint64_t half, int round_number) noexcept
    cdef uint64_t _permute(self, uint64_t number) noexcept
    cdef uint64_t _unpermute(self, uint64_t number) noexcept
