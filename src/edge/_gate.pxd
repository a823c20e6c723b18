"""The way in for requests that another server has read."""

from libc.stdint cimport uint32_t, uint64_t

from edge._client cimport Address
from edge._front cimport Front
from edge._http cimport Head


cdef class Visitor:
    cdef bytes _user_agent, _referrer, _query   # own what the head points to
    cdef Head head                      # the fields of a request that are recorded
    cdef Address client                 # valid with has_client
    cdef bint has_client
    cdef bytes code                     # that was asked for; None before the gate has found it
    cdef uint32_t domain                # likewise


cdef class Gate:
    cdef Front _front
    cdef bint _is_tls
    cdef list _policies                 # fields that settings add, as pairs
    cdef list _temporary, _permanent    # fields behind the target of a redirect without a policy of its own
    cdef dict _errors                   # status -> whole answer
    cdef dict _pages                    # PathKind -> whole answer

    cdef int _record(self, Visitor visitor, int kind, uint64_t link_id, int status, int tier) noexcept
    cdef tuple _redirect(self, int status, str target, uint32_t max_age_s, int tier)
    cdef tuple _error(self, int status, int tier)
    cdef tuple _page(self, int kind)
