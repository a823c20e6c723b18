"""The values of a dimension with their clicks, in one order: joined, and cut to the most clicked."""


cdef size_t join_entries(const Entry* left, size_t left_count, const Entry* right, size_t right_count, Entry* out,
                         bint is_absolute) noexcept nogil:
    cdef const Entry* left_end = left + left_count
    cdef const Entry* right_end = right + right_count
    cdef Entry* begin = out
    cdef int order
    while left < left_end or right < right_end:
        order = -1 if right == right_end else 1 if left == left_end else compare_texts(left, right)
        if order < 0:
            out[0] = left[0]
            left += 1
        else:
            out[0] = right[0]
            right += 1
            if order == 0:
                out.clicks += 0 if is_absolute else left.clicks
                left += 1
        out += 1
    return out - begin


cdef inline void _sink(uint64_t* heap, size_t size, uint64_t clicks) noexcept nogil:
    """Replace the least of the heap, its first."""
    cdef size_t at = 0, child = 1
    while child < size:
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= clicks:
            break
        heap[at] = heap[child]
        at = child
        child = 2 * at + 1
    heap[at] = clicks


cdef size_t keep_top(Entry* entries, size_t count, size_t kept, uint64_t* heap) noexcept nogil:
    """A heap of the greatest counts finds the least that stays: no choice of counts makes it slow, as it does a quickselect."""
    cdef size_t i, left = 0, ties = 0
    if count <= kept:
        return count
    for i in range(kept):
        heap[i] = 0                     # a value has at least one click, so none of these stays
    for i in range(count):
        if entries[i].clicks > heap[0]:
            _sink(heap, kept, entries[i].clicks)
    for i in range(kept):
        ties += heap[i] == heap[0]
    for i in range(count):
        if entries[i].clicks < heap[0] or (entries[i].clicks == heap[0] and ties == 0):
            continue
        if entries[i].clicks == heap[0]:
            ties -= 1
        entries[left] = entries[i]
        left += 1
    return left


cdef uint64_t sum_entries(const Entry* entries, size_t count) noexcept nogil:
    cdef uint64_t sum = 0
    cdef size_t i
    for i in range(count):
        sum += entries[i].clicks
    return sum
