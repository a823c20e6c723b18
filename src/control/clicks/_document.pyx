"""The day document: the bytes of all that is counted of one subject (a link, a domain, …) on one day.

    offset  size  field
         0     1  format version, 1
         1     2  the dimensions that follow: bit i for dimension i, little-endian
         3     v  clicks by link-preview fetchers
         …     v  requests with the method HEAD
         …     v  number of slots; then each that is not empty, ascending:
                      1  slot, 0..95: the quarter of an hour of the day, UTC
                      v  clicks of humans
                      v  clicks of bots
         …        visitors: a sketch, see _sketch.pyx
         …        each dimension:
                      v  number of values; then each, the shorter first, then by bytes:
                          1  length, 0..64
                          n  the value, UTF-8
                          v  its clicks, 1 or more

v is a count in 1..7 bytes (_varint.pxd).

Invariants:
- What follows from something else is not stored, so it cannot contradict: humans and bots are the sums of their slots;
  `other`, the clicks of a dimension's values that are not kept, is humans + bots - the sum of those that are. Hence
  sum(values) + other == clicks, for each dimension; previews and heads are in no dimension and no slot.
- The same content has the same bytes, whatever it was merged from: everything is in order, and nothing can be written in
  two ways. What is not in that form is refused, never guessed.
- A document of a link has at most 37 KB, whatever its clicks say, and the account's at most 365 KB: the counts and slots
  take at most HEAD_BYTES_MAX, the sketch SKETCH_BYTES_MAX, each value ENTRY_BYTES_MAX.
- A dimension that a document does not have, because it was written before there was one, is wholly `other`.
"""

from libc.string cimport memcpy, memset

from control.clicks._entries cimport compare_texts
from control.clicks._sketch cimport read_sketch
from control.clicks._varint cimport COUNT_MAX, read_varint, write_varint

from wire.errors import FormatError

# By their numbers.
DIMENSION_NAMES = (
    "country", "city", "browser", "os", "device", "referrer", "utm_source", "utm_medium", "utm_campaign", "link", "code",
)

cdef extern from * nogil:
    int _trailing_zeros "__builtin_ctzll"(unsigned long long value)
    int _ones "__builtin_popcountll"(unsigned long long value)


class FoldError(FormatError):
    """See the stub of _fold."""


cdef inline bint _fail(Reader* reader, const char* fault) noexcept nogil:
    reader.fault = fault
    return False


cdef inline bint _count(Reader* reader, uint64_t* count) noexcept nogil:
    cdef const uint8_t* at = read_varint(reader.at, reader.end, count)
    if at == NULL:
        return _fail(reader, b"it ends inside a count, or a count is too long")
    reader.at = at
    return True


cdef void clear_counts(Counts* counts) noexcept nogil:
    cdef int half, slot
    for half in range(2):
        while counts.used[half] != 0:
            slot = 64 * half + _trailing_zeros(counts.used[half])
            memset(&counts.slots[slot], 0, sizeof(Slot))
            counts.used[half] &= counts.used[half] - 1
    counts.humans = counts.bots = counts.previews = counts.heads = 0


cdef bint _read_slots(Reader* reader, Counts* counts) noexcept nogil:
    cdef uint64_t left, humans, bots
    cdef int last = -1
    if not _count(reader, &left):
        return False
    while left > 0:
        left -= 1
        if reader.at == reader.end or reader.at[0] <= last or reader.at[0] >= SLOTS:
            return _fail(reader, b"its slots do not ascend, or are not 0..95")
        last = reader.at[0]
        reader.at += 1
        if not _count(reader, &humans) or not _count(reader, &bots):
            return False
        if humans + bots == 0:
            return _fail(reader, b"a slot is empty")
        add_to_slot(counts, last, humans, bots)
        reader.clicks += humans + bots
    if reader.clicks > COUNT_MAX:
        return _fail(reader, b"its clicks are too many")
    return True


cdef bint read_counts(Reader* reader, const uint8_t* data, size_t size, Counts* counts) noexcept nogil:
    cdef uint64_t previews, heads
    reader.at = data + 3
    reader.end = data + size
    reader.clicks = 0
    reader.fault = NULL
    if size < 3:
        return _fail(reader, b"it is shorter than its head")
    if data[0] != FORMAT_VERSION:
        return _fail(reader, b"its format version is not 1, the one that this build knows")
    reader.dimensions = data[1] | <uint32_t>data[2] << 8
    if reader.dimensions >> DIMENSIONS != 0:
        return _fail(reader, b"it has dimensions that this build does not know")
    if not _count(reader, &previews) or not _count(reader, &heads) or not _read_slots(reader, counts):
        return False
    counts.previews += previews
    counts.heads += heads
    return True


cdef bint read_visitors(Reader* reader, Sketch* sketch) noexcept nogil:
    cdef const uint8_t* at = read_sketch(reader.at, reader.end, sketch)
    if at == NULL:
        return _fail(reader, b"its sketch of visitors is malformed")
    reader.at = at
    return True


cdef ssize_t read_entries(Reader* reader, Entry* entries) noexcept nogil:
    cdef uint64_t count, i, sum = 0
    if not _count(reader, &count):
        return -1
    if count > VALUES_MAX:
        _fail(reader, b"a dimension has too many values")
        return -1
    for i in range(count):
        if not _read_entry(reader, &entries[i]):
            return -1
        if i > 0 and compare_texts(&entries[i - 1], &entries[i]) >= 0:
            _fail(reader, b"the values of a dimension are not in order")
            return -1
        sum += entries[i].clicks            # at most VALUES_MAX * 2^49
    if sum > reader.clicks:
        _fail(reader, b"the values of a dimension have more clicks than the document")
        return -1
    return <ssize_t>count


cdef inline bint _read_entry(Reader* reader, Entry* entry) noexcept nogil:
    if reader.at == reader.end or reader.at[0] > VALUE_BYTES_MAX or reader.end - reader.at <= reader.at[0]:
        return _fail(reader, b"a value is too long, or the document ends inside it")
    entry.size = reader.at[0]
    entry.at = reader.at + 1
    reader.at += 1 + entry.size
    if not _count(reader, &entry.clicks):
        return False
    return entry.clicks > 0 or _fail(reader, b"a value has no clicks")


cdef bint read_end(Reader* reader) noexcept nogil:
    return reader.at == reader.end or _fail(reader, b"bytes follow its end")


cdef uint8_t* write_counts(const Counts* counts, uint32_t dimensions, uint8_t* at) noexcept nogil:
    cdef int half, slot
    cdef uint64_t left
    at[0] = FORMAT_VERSION
    at[1] = dimensions & 0xFF
    at[2] = dimensions >> 8
    at = write_varint(at + 3, counts.previews)
    at = write_varint(at, counts.heads)
    at = write_varint(at, _ones(counts.used[0]) + _ones(counts.used[1]))
    for half in range(2):
        left = counts.used[half]
        while left != 0:
            slot = 64 * half + _trailing_zeros(left)
            at[0] = slot
            at = write_varint(at + 1, counts.slots[slot].humans)
            at = write_varint(at, counts.slots[slot].bots)
            left &= left - 1
    return at


cdef uint8_t* write_entries(const Entry* entries, size_t count, uint8_t* at) noexcept nogil:
    cdef size_t i
    at = write_varint(at, count)
    for i in range(count):
        at[0] = entries[i].size
        memcpy(at + 1, entries[i].at, entries[i].size)
        at = write_varint(at + 1 + entries[i].size, entries[i].clicks)
    return at
