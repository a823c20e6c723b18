"""SipHash-2-4 (J.-P. Aumasson, D. J. Bernstein, 2012), the keyed hash by which visitors are told apart.

Keyed, because what it hashes is chosen by clients: who cannot know the day's salt can neither look for addresses and
browsers that fill a sketch, nor, once the salt is deleted, try which address a hash came from. XXH64 promises neither.

The edge has the same function inside its door, but control may import nothing compiled of edge but edge._fast (I8), whose
declarations bring sockets, L1 and connections along; a build of the rollups shall not hang on these. Tests hold this leaf
against the published vectors and against the edge's.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memcpy


cdef inline uint64_t _rotate(uint64_t value, int bits) noexcept nogil:
    return (value << bits) | (value >> (64 - bits))


cdef inline void _round(uint64_t* v) noexcept nogil:
    v[0] += v[1]; v[1] = _rotate(v[1], 13) ^ v[0]; v[0] = _rotate(v[0], 32)
    v[2] += v[3]; v[3] = _rotate(v[3], 16) ^ v[2]
    v[0] += v[3]; v[3] = _rotate(v[3], 21) ^ v[0]
    v[2] += v[1]; v[1] = _rotate(v[1], 17) ^ v[2]; v[2] = _rotate(v[2], 32)


cdef inline void _take(uint64_t* v, uint64_t lane) noexcept nogil:
    v[3] ^= lane
    _round(v); _round(v)
    v[0] ^= lane


cdef uint64_t siphash_of(const uint8_t* data, size_t size, uint64_t key0, uint64_t key1) noexcept nogil:
    cdef uint64_t[4] v
    cdef uint64_t lane = 0, last = <uint64_t>size << 56
    cdef int i
    v[0] = key0 ^ <uint64_t>0x736f6d6570736575
    v[1] = key1 ^ <uint64_t>0x646f72616e646f6d
    v[2] = key0 ^ <uint64_t>0x6c7967656e657261
    v[3] = key1 ^ <uint64_t>0x7465646279746573
    while size >= 8:
        memcpy(&lane, data, 8)
        _take(v, lane)
        data += 8
        size -= 8
    for i in range(<int>size):
        last |= <uint64_t>data[i] << (8 * i)
    _take(v, last)
    v[2] ^= 0xff
    _round(v); _round(v); _round(v); _round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


# ---------------------------------------------------------------------------------------------------- public API


def siphash(bytes data not None, uint64_t key0, uint64_t key1):
    """See the stub: for tests; the fold calls siphash_of."""
    return siphash_of(<const uint8_t*>PyBytes_AS_STRING(data), len(data), key0, key1)
