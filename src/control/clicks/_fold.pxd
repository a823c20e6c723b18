"""The compiled fold of clicks: a batch from frames to groups."""

from control.clicks._clicks cimport Clicks
from control.clicks._grouping cimport Grouping
from control.clicks._items cimport Frame

cdef class Batch:
    cdef Clicks _clicks
    cdef Frame* _frame                  # owned; the frame that is being added
    cdef list _tags                     # (index, tags) of the link days that have tags; None before enrichment

    cdef int _require_enriched(self) except -1
    cdef Grouping _group(self, int scope)
    cdef Grouping _group_tags(self)
