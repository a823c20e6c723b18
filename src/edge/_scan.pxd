"""Reading the bytes of a head. Declarations and inline functions alone: there is no module to import.

All of them read nothing at or behind `end`; _scan.h says which look back.
"""

cdef extern from "_scan.h" nogil:
    # The first byte that cannot stand in a field value; in nearly all field names; in a request target; or `end`.
    const char* scan_text(const char* at, const char* end)
    const char* scan_name(const char* at, const char* end)
    const char* scan_target(const char* at, const char* end)


cdef inline bint is_word(const char* at, const char* word, size_t size) noexcept nogil:
    """Whether `at` is `word` (lower-case letters and hyphens) in any case; without a branch a byte."""
    cdef char difference = 0
    cdef size_t i
    for i in range(size):
        difference |= (at[i] | 0x20) ^ word[i]      # a carriage return would fold to a hyphen, but is in no value
    return difference == 0


cdef inline bint is_space(char byte) noexcept nogil:
    return byte == c" " or byte == c"\t"
