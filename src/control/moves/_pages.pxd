"""Pages of links for moves: what a COPY brings, by target."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from control.moves._links cimport Fault, Link

cdef enum:
    FAULTY_MOST = 100           # that are kept one by one
    # Offsets are 32 bits. A page is a few MiB; who forgets to take gets an error long before memory ends.
    PENDING_BYTES_MOST = 67_108_864


cdef struct Bytes:
    uint8_t* at                 # owned
    size_t size                 # bytes
    size_t room                 # bytes


cdef struct Entry:
    uint32_t key_end            # behind its line end, in Held.keys
    uint32_t record_end         # likewise in Held.records
    uint16_t key_size           # bytes
    uint16_t record_size        # bytes


cdef struct Held:
    Bytes keys                  # encoded as arguments for Redis, one behind the other
    Bytes records               # likewise
    Entry* entries              # owned
    uint32_t count
    uint32_t room               # of entries
    uint32_t links              # without tombstones
    uint64_t data_bytes         # of keys and records
    uint64_t digest             # of those


cdef struct FaultyLink:
    int64_t id
    Fault fault


cdef class Reader:
    cdef Held* _targets                     # owned
    cdef uint32_t _targets_count
    cdef bytes _sha
    cdef bytes _guard                       # the last arguments of each call, encoded; empty: none
    cdef Bytes _input                       # what was fed and is no whole row yet
    cdef FaultyLink[FAULTY_MOST] _faulty
    cdef readonly uint64_t faulty_count
    cdef readonly uint64_t rows
    cdef readonly size_t pending_bytes
    cdef int64_t _last_hash
    cdef int64_t _last_id
    cdef int _phase

    cdef int _take_input(self) noexcept nogil
    cdef int _take_link(self, const Link* link) noexcept nogil


cdef class Batch:
    cdef readonly int target
    cdef Held _held                         # was the reader's
    cdef bytes _sha
    cdef bytes _guard                       # the last arguments of each call, encoded; empty: none

    cdef bytes _call(self, Py_ssize_t count, bytes keys, bytes records)
    cdef int _check(self, Py_ssize_t index) except -1
