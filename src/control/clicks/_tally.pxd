"""What one group of clicks adds to its document. Cimports other leaves."""

from libc.stdint cimport uint32_t, uint64_t

from control.clicks._document cimport DIMENSIONS, Counts
from control.clicks._entries cimport Entry
from control.clicks._sketch cimport Sketch

# The clicks of a group by rank, in one dimension. All zeros between groups, but for `ranks`.
cdef struct Column:
    uint32_t* clicks                    # owned; by rank
    uint32_t* ranks                     # owned; those that the group has, in the order in which they came
    uint32_t found                      # how many these are
    uint32_t count                      # of ranks that there can be


cdef class Tally:
    """The place where a group and its document are added up; used for one group after the other."""
    cdef Counts counts
    cdef Sketch sketch
    cdef Column[DIMENSIONS] columns     # those of the scope's dimensions are open
    cdef Entry* added                   # owned; room for all ranks of any column
    cdef size_t added_max

    # `count` is of ranks; each dimension is opened once, before anything is counted.
    cdef int open(self, int dimension, uint32_t count) except -1
    cdef int begin(self) except -1
    # The values that were counted as entries, in order, in `added`, which take their texts from `by_rank`. Empties the
    # column, of which `ranks` stays as it is until the next click is counted: the ranks of the entries.
    cdef size_t take(self, int dimension, const Entry* by_rank) noexcept


cdef inline void count_value(Column* column, uint32_t rank) noexcept nogil:
    """`rank` is below the column's count: it comes from the ranking for which the column was opened."""
    if column.clicks[rank] == 0:
        column.ranks[column.found] = rank
        column.found += 1
    column.clicks[rank] += 1
