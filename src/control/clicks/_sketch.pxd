"""HyperLogLog: how many different hashes there were, in at most three kilobytes. A leaf: cimports libc and _varint."""

from libc.stdint cimport uint8_t, uint16_t, uint64_t

cdef enum:
    PRECISION = 12                      # bits of a hash that choose its register
    REGISTERS = 1 << PRECISION
    RANK_MAX = 64 - PRECISION + 1
    SPARSE_MAX = 1023                   # registers that are listed; from here on all of them together are smaller
    DENSE_BYTES = (REGISTERS >> 2) * 3
    SKETCH_BYTES_MAX = 2 + DENSE_BYTES
    FEW = 16                            # registers whose indexes are kept beside them, so that a small sketch costs little

cdef extern from * nogil:
    int _leading_zeros "__builtin_clzll"(unsigned long long value)


cdef struct Sketch:
    int used                            # registers that are not 0
    uint16_t[FEW] first                 # indexes of the first FEW of these, in no order
    uint8_t[REGISTERS] ranks            # most leading zeros plus one of the hashes of each register; 0: none


cdef inline void raise_register(Sketch* sketch, unsigned int index, uint8_t rank) noexcept nogil:
    """The register holds at least `rank`, which is not 0. `index` is below REGISTERS: all callers take 12 bits."""
    if rank <= sketch.ranks[index]:
        return
    if sketch.ranks[index] == 0:
        if sketch.used < FEW:
            sketch.first[sketch.used] = <uint16_t>index
        sketch.used += 1
    sketch.ranks[index] = rank


cdef inline void add_hash(Sketch* sketch, uint64_t value) noexcept nogil:
    # The bit that is set below the hash's own ends the count at RANK_MAX.
    cdef uint64_t rest = value << PRECISION | <uint64_t>1 << (PRECISION - 1)
    raise_register(sketch, <unsigned int>(value >> (64 - PRECISION)), <uint8_t>(_leading_zeros(rest) + 1))


# An empty sketch out of a used one; a new one must be all zeros.
cdef void clear_sketch(Sketch* sketch) noexcept nogil
# Merge the sketch encoded at `at`; behind it, or NULL: it is malformed, and then `sketch` is of no use any more.
cdef const uint8_t* read_sketch(const uint8_t* at, const uint8_t* end, Sketch* sketch) noexcept nogil
# Encode; behind it. SKETCH_BYTES_MAX must be free.
cdef uint8_t* write_sketch(const Sketch* sketch, uint8_t* at) noexcept nogil
cdef double estimate_sketch(const Sketch* sketch) noexcept nogil
