"""Which clicks belong together. A leaf: cimports only libc and cpython."""

from libc.stdint cimport uint32_t, uint64_t

cdef struct Member:
    uint64_t subject
    uint32_t day
    uint32_t click              # index of the click in its batch


cdef class Grouping:
    """Members in the order of (subject, day), in runs of equal ones, which are its groups."""
    cdef Member* members        # owned
    cdef uint32_t* starts       # owned; index of the first member of each group, and the number of members at the end
    cdef uint32_t count         # groups

    # Takes the members over, whatever happens: malloc'ed, the first `count` filled.
    @staticmethod
    cdef Grouping of(Member* members, size_t count)
    cdef list subjects(self)
    cdef list days(self)
