"""Counts as a few bytes: seven bits each, the lowest first, the top bit set in all but the last (LEB128). A leaf."""

from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    VARINT_BYTES_MAX = 7                # of a count
    COUNT_MAX = 0x1FFFFFFFFFFFF         # 2^49-1, what these hold: six billion clicks a second for a day


cdef inline const uint8_t* read_varint(const uint8_t* at, const uint8_t* end, uint64_t* count) noexcept nogil:
    """Behind the number, or NULL: it does not end before `end`, is too long, or could be written shorter."""
    cdef uint64_t number = 0
    cdef int shift = 0
    while at < end and shift < 7 * VARINT_BYTES_MAX:
        number |= <uint64_t>(at[0] & 0x7F) << shift
        if at[0] < 0x80:
            count[0] = number
            return at + 1 if at[0] != 0 or shift == 0 else NULL
        at += 1
        shift += 7
    return NULL


cdef inline uint8_t* write_varint(uint8_t* at, uint64_t count) noexcept nogil:
    """Behind the number, for which VARINT_BYTES_MAX must be free."""
    while count >= 0x80:
        at[0] = <uint8_t>(count | 0x80)
        count >>= 7
        at += 1
    at[0] = <uint8_t>count
    return at + 1
