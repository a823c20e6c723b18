"""Values of a batch in the order of documents, so that from there on a value is its rank. Cimports _entries."""

from libc.stdint cimport uint32_t, uint64_t

from control.clicks._entries cimport Entry

cdef class Values:
    cdef Entry* by_rank                 # owned; in order, no two alike; `clicks` is 0
    cdef uint32_t count
    cdef list _texts                    # bytes and str, whose memory the entries borrow

    # The rank of each text is written to `ranks`. Raises FoldError for one of more than VALUE_BYTES_MAX bytes.
    @staticmethod
    cdef Values of(list texts, uint32_t* ranks)
    # Decimal numbers, which must ascend; a number's rank is its place.
    @staticmethod
    cdef Values of_numbers(list numbers)
