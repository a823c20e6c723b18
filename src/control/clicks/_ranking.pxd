"""Values of a batch in the order of documents, so that from there on a value is its rank. Cimports other leaves."""

from libc.stdint cimport uint32_t, uint64_t

from control.clicks._entries cimport Entry
from control.clicks._grouping cimport Grouping

cdef class Ranking:
    cdef Entry* by_rank                 # owned; in order, no two alike; `clicks` is not used
    cdef uint32_t count
    cdef list _texts                    # bytes and str, whose memory the entries borrow

    # The rank of each text is written to `ranks`. Raises FoldError for one of more than VALUE_BYTES_MAX bytes, or
    # with a NUL.
    @staticmethod
    cdef Ranking of(list texts, uint32_t* ranks)
    # The subjects of groups as decimal numbers; a group's number is its rank. In order among the groups of one day.
    @staticmethod
    cdef Ranking of_subjects(Grouping grouping)
