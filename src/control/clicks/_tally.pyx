"""What one group of clicks adds to its document.

A group touches only the ranks that it has, so a thousand groups of one click cost what one group of a thousand does: no
column is ever gone through from end to end, unless most of it was touched.
"""

cimport cython
from libc.stdlib cimport calloc, free, malloc, qsort, realloc

from control.clicks._document cimport clear_counts
from control.clicks._sketch cimport clear_sketch

cdef enum:
    INSERTED_MAX = 24           # ranks that are sorted by insertion; more by qsort
    DENSE = 8                   # a column of which one in so many ranks was touched is read in its order instead


cdef int _compare(const void* left, const void* right) noexcept nogil:
    cdef uint32_t a = (<const uint32_t*>left)[0], b = (<const uint32_t*>right)[0]
    return <int>(a > b) - <int>(a < b)


cdef void _insert(uint32_t* ranks, uint32_t count) noexcept nogil:
    cdef uint32_t i, place, rank
    for i in range(1, count):
        rank = ranks[i]
        place = i
        while place > 0 and ranks[place - 1] > rank:
            ranks[place] = ranks[place - 1]
            place -= 1
        ranks[place] = rank


cdef void _collect(Column* column) noexcept nogil:
    """The touched ranks anew, in order."""
    cdef uint32_t rank
    column.found = 0
    for rank in range(column.count):
        if column.clicks[rank] > 0:
            column.ranks[column.found] = rank
            column.found += 1


cdef void _sort(Column* column) noexcept nogil:
    if column.found <= INSERTED_MAX:
        _insert(column.ranks, column.found)
    elif column.found >= column.count // DENSE:
        _collect(column)
    else:
        qsort(column.ranks, column.found, sizeof(uint32_t), &_compare)


@cython.final
@cython.no_gc
cdef class Tally:

    def __dealloc__(self):
        cdef int dimension
        for dimension in range(DIMENSIONS):
            free(self.columns[dimension].clicks)
            free(self.columns[dimension].ranks)
        free(self.added)

    cdef int open(self, int dimension, uint32_t count) except -1:
        cdef Column* column = &self.columns[dimension]
        cdef Entry* added
        column.count = count
        column.clicks = <uint32_t*>calloc(count or 1, sizeof(uint32_t))
        column.ranks = <uint32_t*>malloc((count or 1) * sizeof(uint32_t))
        if count > self.added_max or self.added == NULL:
            added = <Entry*>realloc(self.added, (count or 1) * sizeof(Entry))
            self.added = self.added if added == NULL else added
            self.added_max = count if added != NULL else self.added_max
        if column.clicks == NULL or column.ranks == NULL or self.added_max < count:
            raise MemoryError(f"no memory to count {count} values")
        return 0

    cdef int begin(self) except -1:
        clear_counts(&self.counts)
        clear_sketch(&self.sketch)
        return 0

    cdef size_t take(self, int dimension, const Entry* by_rank) noexcept:
        cdef Column* column = &self.columns[dimension]
        cdef size_t count = column.found, i
        cdef uint32_t rank
        _sort(column)
        for i in range(count):
            rank = column.ranks[i]
            self.added[i] = by_rank[rank]
            self.added[i].clicks = column.clicks[rank]
            column.clicks[rank] = 0
        column.found = 0
        return count
