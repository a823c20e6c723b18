"""Which clicks belong together: a sort by subject and day, and where its runs begin.

A radix sort from the lowest byte up takes the same time for any order of links, stays stable (within a group, clicks are
in the order in which they came), and leaves out the bytes in which no two members differ: five passes, most often.
"""

cimport cython
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cdef enum:
    KEY_BYTES = 12              # 8 of the subject, then 4 of the day


cdef inline uint8_t _digit(const Member* member, int place) noexcept nogil:
    """Places 0..3 are the day's, 4..11 the subject's, which decides first."""
    return <uint8_t>(member.day >> 8 * place) if place < 4 else <uint8_t>(member.subject >> 8 * (place - 4))


cdef void _pass(const Member* members, Member* out, size_t count, int place) noexcept nogil:
    cdef size_t[256] ends
    cdef size_t i, before = 0, here
    memset(ends, 0, sizeof(ends))
    for i in range(count):
        ends[_digit(&members[i], place)] += 1
    for i in range(256):
        here = ends[i]
        ends[i] = before
        before += here
    for i in range(count):
        here = _digit(&members[i], place)
        out[ends[here]] = members[i]        # in bounds: the counts add up to `count`
        ends[here] += 1


cdef Member* _sort(Member* members, Member* other, size_t count) noexcept nogil:
    """Sorted, in whichever of the two it is."""
    cdef Member differ
    cdef size_t i
    cdef int place
    cdef Member* source = members
    differ.subject = differ.day = differ.click = 0
    for i in range(count):
        differ.subject |= members[i].subject ^ members[0].subject
        differ.day |= members[i].day ^ members[0].day
    for place in range(KEY_BYTES):
        if _digit(&differ, place) != 0:
            _pass(source, other, count, place)
            source, other = other, source
    return source


@cython.final
@cython.no_gc
cdef class Grouping:

    def __dealloc__(self):
        free(self.members)
        free(self.starts)

    @staticmethod
    cdef Grouping of(Member* members, size_t count):
        cdef Grouping grouping = Grouping.__new__(Grouping)
        cdef Member* other = <Member*>malloc((count or 1) * sizeof(Member))
        grouping.members = members
        grouping.starts = <uint32_t*>malloc((count + 1) * sizeof(uint32_t))
        if members == NULL or other == NULL or grouping.starts == NULL:
            free(other)
            raise MemoryError(f"no memory to group {count} clicks")
        grouping.members = _sort(members, other, count)
        free(other if grouping.members == members else members)
        grouping.count = _find_starts(grouping.members, count, grouping.starts)
        return grouping

    cdef list subjects(self):
        cdef uint32_t i
        return [self.members[self.starts[i]].subject for i in range(self.count)]

    cdef list days(self):
        cdef uint32_t i
        return [self.members[self.starts[i]].day for i in range(self.count)]


cdef uint32_t _find_starts(const Member* members, size_t count, uint32_t* starts) noexcept nogil:
    cdef uint32_t groups = 0
    cdef size_t i
    for i in range(count):
        if i == 0 or members[i].subject != members[i - 1].subject or members[i].day != members[i - 1].day:
            starts[groups] = <uint32_t>i
            groups += 1
    starts[groups] = <uint32_t>count
    return groups
