"""XXH64, the hash by which keys of links are placed on the ring. Inline functions alone: there is no module to import.

Yann Collet, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md; tests hold it against the published vectors
and the `xxhash` package.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from * nogil:
    """
    #define XXH64_P1 0x9E3779B185EBCA87ULL
    #define XXH64_P2 0xC2B2AE3D27D4EB4FULL
    #define XXH64_P3 0x165667B19E3779F9ULL
    #define XXH64_P4 0x85EBCA77C2B2AE63ULL
    #define XXH64_P5 0x27D4EB2F165667C5ULL
    """
    const uint64_t P1 "XXH64_P1"
    const uint64_t P2 "XXH64_P2"
    const uint64_t P3 "XXH64_P3"
    const uint64_t P4 "XXH64_P4"
    const uint64_t P5 "XXH64_P5"


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


cdef inline uint64_t _stripes(const unsigned char* data, const unsigned char* end, uint64_t seed) noexcept nogil:
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


cdef inline uint64_t xxh64_of(const unsigned char* data, size_t size, uint64_t seed) noexcept nogil:
    """The hash of `size` bytes at `data`, which is borrowed for the call only."""
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
