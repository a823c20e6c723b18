"""The clicks of a batch by subject and day, and their merge into documents. Cimports other leaves."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from control.clicks._clicks cimport Clicks
from control.clicks._document cimport Reader
from control.clicks._entries cimport Entry
from control.clicks._grouping cimport Grouping
from control.clicks._tally cimport Tally
from control.clicks._ranking cimport Ranking

cpdef enum:
    LINK_SCOPE = 0                      # scopes
    DOMAIN_SCOPE = 1
    TAG_SCOPE = 2
    ACCOUNT_SCOPE = 3
    UNKNOWN_SCOPE = 4
    SCOPES = 5


cdef class LinkClicks:
    """How many clicks the links of a batch have now, by link day: absolute, from their merged documents."""
    cdef Clicks _batch
    cdef Ranking ids                    # decimal
    cdef uint64_t* clicks               # owned

    # Of the links' Groups, after their merge.
    @staticmethod
    cdef LinkClicks of(Groups links)


cdef class Groups:
    cdef Clicks _clicks
    cdef Grouping _grouping
    cdef int _scope
    cdef uint32_t _dimensions           # bit i: the scope's documents have dimension i
    cdef LinkClicks _link_clicks        # for dimension `link`; None where there is none
    cdef Tally _tally                   # the rest is there during a merge only
    cdef Entry* _before                 # owned; the values that a document had
    cdef Entry* _joined                 # owned; those with the group's
    cdef uint64_t* _heap                # owned; for keep_top
    cdef uint8_t* _out                  # owned; room for a document of the scope
    cdef readonly list subjects, days, clicks

    @staticmethod
    cdef Groups of(Clicks clicks, Grouping grouping, int scope, LinkClicks links)
    cdef int _prepare(self) except -1
    cdef int _discard(self) except -1
    cdef uint32_t _end(self, object documents, uint32_t first) except? 0
    cdef int _count_group(self, uint32_t group) except -1
    cdef bytes _merge(self, uint32_t group, bytes document)
    cdef object _find_fault(self, uint32_t group, bytes document)
    cdef bint _begin_document(self, bytes document, Reader* reader) noexcept
    cdef object _fault(self, uint32_t group, const char* fault)
    cdef Ranking _ranking(self, int dimension)
    cdef ssize_t _merge_dimension(self, Reader* reader, int dimension, uint64_t clicks) noexcept
    cdef int _put_link_clicks(self, size_t added) noexcept
