"""Values of a batch in the order of documents, so that from there on a value is its rank.

Documents are joined with the values of a batch for thousands of groups; sorted once, they are integers in all of them.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memchr

from control.clicks._document cimport VALUE_BYTES_MAX
from control.clicks._entries cimport compare_texts

from control.clicks._document import FoldError

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum:
    DIGITS_MAX = 20             # of a 64-bit number


cdef struct Numbered:
    Entry entry
    uint32_t number             # place in the list that was given


cdef int _compare(const void* left, const void* right) noexcept nogil:
    return compare_texts(&(<const Numbered*>left).entry, &(<const Numbered*>right).entry)


cdef int _refer(object text, Entry* entry) except -1:
    """Borrow the memory of a str or bytes object."""
    cdef Py_ssize_t size
    if isinstance(text, str):
        entry.at = <const uint8_t*>PyUnicode_AsUTF8AndSize(text, &size)
    else:
        entry.at = <const uint8_t*>PyBytes_AS_STRING(text)
        size = PyBytes_GET_SIZE(text)
    if size > VALUE_BYTES_MAX:
        raise FoldError("value", f"a value has {size} bytes of UTF-8, {VALUE_BYTES_MAX} can be held: {text!r}")
    if memchr(entry.at, 0, size) != NULL:
        raise FoldError("value", f"a value has a NUL, which no text of PostgreSQL can hold: {text!r}")
    entry.size = <uint32_t>size
    entry.clicks = 0
    return 0


@cython.final
cdef class Ranking:

    def __dealloc__(self):
        free(self.by_rank)

    @staticmethod
    cdef Ranking of(list texts, uint32_t* ranks):
        cdef Ranking ranking = Ranking.__new__(Ranking)
        cdef size_t count = len(texts), i
        cdef Numbered* numbered = <Numbered*>malloc((count or 1) * sizeof(Numbered))
        ranking._texts = texts
        ranking.by_rank = <Entry*>malloc((count or 1) * sizeof(Entry))
        try:
            if numbered == NULL or ranking.by_rank == NULL:
                raise MemoryError(f"no memory for {count} values")
            for i in range(count):
                _refer(texts[i], &numbered[i].entry)
                numbered[i].number = <uint32_t>i
            qsort(numbered, count, sizeof(Numbered), &_compare)
            for i in range(count):
                if i == 0 or compare_texts(&numbered[i - 1].entry, &numbered[i].entry) != 0:
                    ranking.by_rank[ranking.count] = numbered[i].entry
                    ranking.count += 1
                ranks[numbered[i].number] = ranking.count - 1
        finally:
            free(numbered)
        return ranking

    @staticmethod
    cdef Ranking of_subjects(Grouping grouping):
        cdef Ranking ranking = Ranking.__new__(Ranking)
        cdef size_t count = grouping.count, i
        # One block: the entries, then their digits.
        ranking.by_rank = <Entry*>malloc((count or 1) * (sizeof(Entry) + DIGITS_MAX))
        if ranking.by_rank == NULL:
            raise MemoryError(f"no memory for {count} numbers")
        for i in range(count):
            _write_number(grouping.members[grouping.starts[i]].subject,
                          <uint8_t*>(ranking.by_rank + count) + i * DIGITS_MAX, &ranking.by_rank[i])
        ranking.count = <uint32_t>count
        return ranking


cdef void _write_number(uint64_t number, uint8_t* digits, Entry* entry) noexcept nogil:
    """Written from the end of its DIGITS_MAX bytes."""
    cdef int at = DIGITS_MAX
    while True:
        at -= 1
        digits[at] = c"0" + <uint8_t>(number % 10)
        number //= 10
        if number == 0:
            break
    entry.at = digits + at
    entry.size = DIGITS_MAX - at
