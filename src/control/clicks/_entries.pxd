"""The values of a dimension with their clicks, in one order. A leaf: cimports only libc."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp


cdef struct Entry:
    const uint8_t* at           # UTF-8; borrowed from a document or from a Ranking, which outlive the list
    uint64_t clicks
    uint32_t size               # bytes


cdef inline int compare_texts(const Entry* left, const Entry* right) noexcept nogil:
    """The order of values: shorter ones first, then by their bytes. So decimal numbers are in the order of numbers."""
    if left.size != right.size:
        return -1 if left.size < right.size else 1
    return memcmp(left.at, right.at, left.size)


# Both lists, which are in order, as one in order, in `out`; how many. The clicks of a value that is in both are added up,
# or are those of the right one where these are absolute.
cdef size_t join_entries(const Entry* left, size_t left_count, const Entry* right, size_t right_count, Entry* out,
                         bint is_absolute) noexcept nogil
# Keep the `kept` most clicked, in their order, and of equally clicked ones the first; how many are left. `heap` has room
# for `kept` counts.
cdef size_t keep_top(Entry* entries, size_t count, size_t kept, uint64_t* heap) noexcept nogil
cdef uint64_t sum_entries(const Entry* entries, size_t count) noexcept nogil
