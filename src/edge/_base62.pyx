"""Base62 and the keyed permutation behind generated codes.

Alphabet order: 0-9, a-z, A-Z. A generated code is a Feistel network over 42 bits with cycle walking down to 62^7
(J. Black, P. Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002), written in base62 with leading zeros.
Its round function is SipHash-2-4 (J.-P. Aumasson, D. J. Bernstein, 2012) under the secret key, eight rounds.

Invariant: for one key, `code` is a bijection of 0..62^7-1 onto the codes of seven characters, so that two numbers never
give one code and no look-up is needed before a code is used.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.string cimport memcpy

cdef enum:
    ROUNDS = 8          # twice the four of Luby and Rackoff's proof; costs a quarter of a microsecond more
    HALF_BITS = 21      # two halves: 2^42 is the smallest even power of two above 62^7, walked 1.25 times on average

cdef const char* ALPHABET = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
cdef uint64_t CODES = 3_521_614_606_208         # 62^7
cdef uint64_t HALF_MASK = (1 << HALF_BITS) - 1


cdef inline int _digit(Py_UCS4 character) noexcept nogil:
    """The value of one base62 character, -1 for any other."""
    if c'0' <= character <= c'9':
        return <int>character - c'0'
    if c'a' <= character <= c'z':
        return <int>character - c'a' + 10
    if c'A' <= character <= c'Z':
        return <int>character - c'A' + 36
    return -1


cdef inline uint64_t _rotate(uint64_t value, int bits) noexcept nogil:
    return (value << bits) | (value >> (64 - bits))


cdef inline void _sip_round(uint64_t* v) noexcept nogil:
    v[0] += v[1]; v[1] = _rotate(v[1], 13) ^ v[0]; v[0] = _rotate(v[0], 32)
    v[2] += v[3]; v[3] = _rotate(v[3], 16) ^ v[2]
    v[0] += v[3]; v[3] = _rotate(v[3], 21) ^ v[0]
    v[2] += v[1]; v[1] = _rotate(v[1], 17) ^ v[2]; v[2] = _rotate(v[2], 32)


cdef uint64_t siphash_of(const unsigned char* data, size_t size, uint64_t key0, uint64_t key1) noexcept nogil:
    cdef uint64_t[4] v
    cdef uint64_t lane = 0, last = <uint64_t>size << 56
    cdef size_t at = 0
    cdef int i
    v[0] = key0 ^ <uint64_t>0x736f6d6570736575
    v[1] = key1 ^ <uint64_t>0x646f72616e646f6d
    v[2] = key0 ^ <uint64_t>0x6c7967656e657261
    v[3] = key1 ^ <uint64_t>0x7465646279746573
    while size - at >= 8:
        memcpy(&lane, data + at, 8)
        v[3] ^= lane
        _sip_round(v); _sip_round(v)
        v[0] ^= lane
        at += 8
    for i in range(<int>(size - at)):
        last |= <uint64_t>data[at + i] << (8 * i)
    v[3] ^= last
    _sip_round(v); _sip_round(v)
    v[0] ^= last
    v[2] ^= 0xff
    for i in range(4):
        _sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


# ---------------------------------------------------------------------------------------------------- public API


def encode(uint64_t number):
    cdef char[BASE62_DIGITS_MAX] digits
    cdef int at = BASE62_DIGITS_MAX
    while True:
        at -= 1                     # at most 11 digits: 62^11 > 2^64
        digits[at] = ALPHABET[number % 62]
        number //= 62
        if number == 0:
            return PyUnicode_DecodeASCII(&digits[at], BASE62_DIGITS_MAX - at, NULL)


def decode(str text not None):
    cdef uint64_t number = 0
    cdef int digit
    cdef Py_UCS4 character
    if not 0 < len(text) <= BASE62_DIGITS_MAX:
        raise ValueError(f"{text!r} is not 1..{BASE62_DIGITS_MAX} base62 characters")
    for character in text:
        digit = _digit(character)
        if digit < 0:
            raise ValueError(f"{text!r} has a character outside 0-9, a-z, A-Z")
        if number > (<uint64_t>0xFFFFFFFFFFFFFFFF - <uint64_t>digit) // 62:
            raise ValueError(f"{text!r} is above 2^64-1")
        number = number * 62 + digit
    return number


def siphash24(bytes key not None, bytes data not None):
    cdef uint64_t key0, key1
    if len(key) != 16:
        raise ValueError("a SipHash key has 16 bytes")
    memcpy(&key0, PyBytes_AS_STRING(key), 8)
    memcpy(&key1, PyBytes_AS_STRING(key) + 8, 8)
    return siphash_of(<const unsigned char*>PyBytes_AS_STRING(data), len(data), key0, key1)


@cython.final
@cython.no_gc
cdef class CodePermutation:

    def __cinit__(self, bytes key not None):
        if len(key) != 16:
            raise ValueError("the key of the codes has 16 bytes")
        memcpy(&self._key0, PyBytes_AS_STRING(key), 8)
        memcpy(&self._key1, PyBytes_AS_STRING(key) + 8, 8)

    def __init__(self, key):
        pass

    cdef uint64_t _mix(self, uint64_t half, int round_number) noexcept:
        cdef uint64_t block = half | (<uint64_t>round_number << 32)
        return siphash_of(<const unsigned char*>&block, 8, self._key0, self._key1) & HALF_MASK

    cdef uint64_t _permute(self, uint64_t number) noexcept:
        cdef uint64_t left = number >> HALF_BITS, right = number & HALF_MASK, swap
        cdef int round_number
        for round_number in range(ROUNDS):
            swap = left ^ self._mix(right, round_number)
            left = right
            right = swap
        return (left << HALF_BITS) | right

    cdef uint64_t _unpermute(self, uint64_t number) noexcept:
        cdef uint64_t left = number >> HALF_BITS, right = number & HALF_MASK, swap
        cdef int round_number
        for round_number in range(ROUNDS - 1, -1, -1):
            swap = right ^ self._mix(left, round_number)
            right = left
            left = swap
        return (left << HALF_BITS) | right

    def code(self, uint64_t number):
        cdef char[CODE_LENGTH] digits
        cdef int at
        if number >= CODES:
            raise ValueError(f"{number} is above the last code, {CODES - 1}")
        # Cycle walking: the permutation's cycle through `number` comes back below CODES, at the latest at `number`.
        number = self._permute(number)
        while number >= CODES:
            number = self._permute(number)
        for at in range(CODE_LENGTH - 1, -1, -1):
            digits[at] = ALPHABET[number % 62]
            number //= 62
        return PyUnicode_DecodeASCII(digits, CODE_LENGTH, NULL)

    def number(self, str code not None):
        cdef uint64_t number
        if len(code) != CODE_LENGTH:
            raise ValueError(f"{code!r} is not {CODE_LENGTH} characters long")
        number = self._unpermute(decode(code))
        while number >= CODES:
            number = self._unpermute(number)
        return number
