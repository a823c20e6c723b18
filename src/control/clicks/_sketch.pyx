"""HyperLogLog (P. Flajolet et al., 2007) with Ertl's improved raw estimator (O. Ertl, "New cardinality estimation
algorithms for HyperLogLog sketches", 2017, algorithm 6), which needs no table of corrections and no change of method.

4096 registers: the standard error is 1.04 / sqrt(4096), 1.6 %. Merging takes the greater of each pair of registers, so it
is idempotent, commutative and associative.

    varint   number of the registers that are not 0 and are listed, 0..SPARSE_MAX; or 4096: all registers follow
    listed:  3 bytes each, little-endian, ascending: index << 6 | rank
    all:     6 bits each, four registers in three bytes, little-endian, the first in the lowest bits

Which of the two it is follows from the registers alone: the same hashes give the same bytes, in whatever order.
"""

from libc.math cimport INFINITY, sqrt
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from control.clicks._varint cimport read_varint, write_varint

cdef double ALPHA = 0.721347520444481703680     # 1 / (2 ln 2)
cdef double HASHES = 18446744073709551616.0     # 2^64


cdef void clear_sketch(Sketch* sketch) noexcept nogil:
    cdef int i
    if sketch.used <= FEW:
        for i in range(sketch.used):
            sketch.ranks[sketch.first[i]] = 0
    else:
        memset(sketch.ranks, 0, REGISTERS)
    sketch.used = 0


cdef inline unsigned int _read24(const uint8_t* at) noexcept nogil:
    return at[0] | <unsigned int>at[1] << 8 | <unsigned int>at[2] << 16


cdef inline uint8_t* _write24(uint8_t* at, unsigned int value) noexcept nogil:
    at[0] = <uint8_t>value
    at[1] = <uint8_t>(value >> 8)
    at[2] = <uint8_t>(value >> 16)
    return at + 3


cdef const uint8_t* _read_listed(const uint8_t* at, int count, Sketch* sketch) noexcept nogil:
    cdef int last = -1, i, index
    cdef unsigned int listed
    for i in range(count):
        listed = _read24(at)
        index = listed >> 6
        if index <= last or index >= REGISTERS or not 1 <= listed & 63 <= RANK_MAX:
            return NULL
        raise_register(sketch, index, listed & 63)
        last = index
        at += 3
    return at


cdef const uint8_t* _read_all(const uint8_t* at, Sketch* sketch) noexcept nogil:
    cdef int i, part, used = 0
    cdef unsigned int four
    cdef uint8_t rank
    for i in range(0, REGISTERS, 4):
        four = _read24(at)
        for part in range(4):
            rank = four >> (6 * part) & 63
            if rank > RANK_MAX:
                return NULL
            if rank > 0:
                used += 1
                raise_register(sketch, i + part, rank)
        at += 3
    return at if used > SPARSE_MAX else NULL


cdef const uint8_t* read_sketch(const uint8_t* at, const uint8_t* end, Sketch* sketch) noexcept nogil:
    cdef uint64_t count
    at = read_varint(at, end, &count)
    if at == NULL:
        return NULL
    if count == REGISTERS:
        return _read_all(at, sketch) if end - at >= DENSE_BYTES else NULL
    if count > SPARSE_MAX or end - at < <ssize_t>(3 * count):
        return NULL
    return _read_listed(at, <int>count, sketch)


cdef uint8_t* _write_few(const Sketch* sketch, uint8_t* at) noexcept nogil:
    """By insertion into a sorted list of at most FEW."""
    cdef uint16_t[FEW] sorted_
    cdef int i, place
    for i in range(sketch.used):
        place = i
        while place > 0 and sorted_[place - 1] > sketch.first[i]:
            sorted_[place] = sorted_[place - 1]
            place -= 1
        sorted_[place] = sketch.first[i]
    for i in range(sketch.used):
        at = _write24(at, <unsigned int>sorted_[i] << 6 | sketch.ranks[sorted_[i]])
    return at


cdef uint8_t* _write_listed(const Sketch* sketch, uint8_t* at) noexcept nogil:
    cdef int i, index
    cdef uint64_t eight
    for i in range(0, REGISTERS, 8):
        memcpy(&eight, &sketch.ranks[i], 8)
        if eight == 0:
            continue
        for index in range(i, i + 8):
            if sketch.ranks[index] > 0:
                at = _write24(at, <unsigned int>index << 6 | sketch.ranks[index])
    return at


cdef uint8_t* _write_all(const Sketch* sketch, uint8_t* at) noexcept nogil:
    cdef const uint8_t* ranks = &sketch.ranks[0]
    cdef int i
    for i in range(0, REGISTERS, 4):
        at = _write24(at, ranks[i] | <unsigned int>ranks[i + 1] << 6 | <unsigned int>ranks[i + 2] << 12
                      | <unsigned int>ranks[i + 3] << 18)
    return at


cdef uint8_t* write_sketch(const Sketch* sketch, uint8_t* at) noexcept nogil:
    if sketch.used > SPARSE_MAX:
        return _write_all(sketch, write_varint(at, REGISTERS))
    at = write_varint(at, sketch.used)
    return _write_few(sketch, at) if sketch.used <= FEW else _write_listed(sketch, at)


cdef double _sigma(double x) noexcept nogil:
    cdef double y = 1, z = x, last = -1
    if x == 1:
        return INFINITY
    while z != last:
        x *= x
        last = z
        z += x * y
        y += y
    return z


cdef double _tau(double x) noexcept nogil:
    cdef double y = 1, z = 1 - x, last = -1
    if x == 0 or x == 1:
        return 0
    while z != last:
        x = sqrt(x)
        last = z
        y *= 0.5
        z -= (1 - x) * (1 - x) * y
    return z / 3


cdef double estimate_sketch(const Sketch* sketch) noexcept nogil:
    cdef int[RANK_MAX + 1] registers        # by their rank
    cdef double z
    cdef int i
    memset(registers, 0, sizeof(registers))
    for i in range(REGISTERS):
        registers[sketch.ranks[i]] += 1     # in bounds: no rank is above RANK_MAX
    z = REGISTERS * _tau(1 - <double>registers[RANK_MAX] / REGISTERS)
    for i in range(RANK_MAX - 1, 0, -1):
        z = 0.5 * (z + registers[i])
    z += REGISTERS * _sigma(<double>registers[0] / REGISTERS)
    # With registers at RANK_MAX, as only a made-up sketch has them: no more than there are hashes.
    return min(ALPHA * REGISTERS * REGISTERS / z, HASHES) if z > 0 else HASHES


cdef int _read(bytes data, Sketch* sketch) except -1:
    cdef const uint8_t* at = data
    if read_sketch(at, at + len(data), sketch) != at + len(data):
        raise ValueError(f"{len(data)} bytes are not a sketch")
    return 0


# ---------------------------------------------------------------------------------------------------- public API


def fold_sketches(sketches not None, hashes not None):
    """See the stub: for tests; documents call the functions above."""
    cdef uint8_t[SKETCH_BYTES_MAX] out
    cdef Sketch* sketch = <Sketch*>calloc(1, sizeof(Sketch))
    if sketch == NULL:
        raise MemoryError("no memory for a sketch")
    try:
        for data in sketches:
            _read(data, sketch)
        for value in hashes:
            add_hash(sketch, value)
        return out[: write_sketch(sketch, out) - out]
    finally:
        free(sketch)


def estimate(bytes data not None):
    """See the stub: for tests; summaries call estimate_sketch."""
    cdef Sketch* sketch = <Sketch*>calloc(1, sizeof(Sketch))
    if sketch == NULL:
        raise MemoryError("no memory for a sketch")
    try:
        _read(data, sketch)
        return estimate_sketch(sketch)
    finally:
        free(sketch)
