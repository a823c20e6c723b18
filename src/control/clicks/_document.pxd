"""The day document: the bytes of all that is counted of one subject on one day."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from control.clicks._entries cimport Entry
from control.clicks._sketch cimport SKETCH_BYTES_MAX, Sketch
from control.clicks._varint cimport VARINT_BYTES_MAX

cdef enum:
    FORMAT_VERSION = 1
    SLOTS = 96                          # quarters of an hour
    DIMENSIONS = 11
    LINK = 9                            # the dimension of these two: see DIMENSION_NAMES
    CODE = 10
    CLICK_DIMENSIONS = 9                # those before `link`: what enrichment says of a click
    VALUE_BYTES_MAX = 64
    VALUES_MAX = 500                    # of a dimension, in the documents that hold most
    HEAD_BYTES_MAX = 3 + 2 * VARINT_BYTES_MAX + 1 + SLOTS * (1 + 2 * VARINT_BYTES_MAX)
    ENTRY_BYTES_MAX = 1 + VALUE_BYTES_MAX + VARINT_BYTES_MAX


cdef struct Slot:
    uint64_t humans, bots


cdef struct Counts:
    uint64_t humans, bots               # sums over the slots
    uint64_t previews, heads
    uint64_t[2] used                    # bit i: slot i is not all zeros
    Slot[SLOTS] slots


cdef struct Reader:
    const uint8_t* at                   # borrowed from the document's bytes
    const uint8_t* end
    uint64_t clicks                     # humans and bots: what no dimension may exceed
    uint32_t dimensions                 # bit i: dimension i follows
    const char* fault                   # what is wrong with the document; NULL as long as nothing is


cdef inline void add_to_slot(Counts* counts, unsigned int slot, uint64_t humans, uint64_t bots) noexcept nogil:
    """`slot` is below SLOTS: it comes from an instant's place in its day, or was checked by a reader."""
    counts.used[slot >> 6] |= <uint64_t>1 << (slot & 63)
    counts.slots[slot].humans += humans
    counts.slots[slot].bots += bots
    counts.humans += humans
    counts.bots += bots


# A Counts without clicks out of a used one; a new one must be all zeros.
cdef void clear_counts(Counts* counts) noexcept nogil
# The parts of a document, read in this order; each adds to what it is given. False when the document is malformed; then
# `fault` is set and what was given is of no use any more.
cdef bint read_counts(Reader* reader, const uint8_t* data, size_t size, Counts* counts) noexcept nogil
cdef bint read_visitors(Reader* reader, Sketch* sketch) noexcept nogil
# `entries` has room for VALUES_MAX; how many there are, or -1.
cdef ssize_t read_entries(Reader* reader, Entry* entries) noexcept nogil
cdef bint read_end(Reader* reader) noexcept nogil
# The parts of a document, written in the same order, write_sketch after the counts; behind what is written.
cdef uint8_t* write_counts(const Counts* counts, uint32_t dimensions, uint8_t* at) noexcept nogil
cdef uint8_t* write_entries(const Entry* entries, size_t count, uint8_t* at) noexcept nogil
