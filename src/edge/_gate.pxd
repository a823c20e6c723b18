"""The way in for requests that another server has read."""

from libc.stdint cimport uint32_t

from edge._front cimport Front


cdef class Gate:
    cdef Front _front
    cdef list _policies                 # fields that settings add, as pairs
    cdef list _temporary, _permanent    # fields behind the target of a redirect without a policy of its own
    cdef dict _errors                   # status -> whole answer
    cdef dict _pages                    # PathKind -> whole answer

    cdef tuple _redirect(self, int status, str target, uint32_t max_age_s, int tier)
    cdef tuple _error(self, int status, int tier)
    cdef tuple _page(self, int kind)
