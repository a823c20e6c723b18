"""Day documents summed up.

The values of a dimension are joined as a merge sort joins its runs, days with days and weeks with weeks: they are in
order already, and what many days have alike becomes one entry early. A year of the largest documents takes some 30 ms,
and no choice of values makes it more than six times slower.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

from control.clicks._document cimport (
    DIMENSIONS, SLOTS, VALUES_MAX, Counts, Reader, clear_counts, read_counts, read_end, read_entries, read_visitors,
)
from control.clicks._entries cimport Entry, join_entries, keep_top, sum_entries
from control.clicks._pause cimport let_others_run
from control.clicks._sketch cimport Sketch, clear_sketch, estimate_sketch

from collections import namedtuple

from control.clicks._document import DIMENSION_NAMES, FoldError

cdef enum:
    RUNS_MAX = 33               # of powers of two documents, falling; there are under 2^32 documents

Summary = namedtuple("Summary", ("humans", "bots", "previews", "heads", "visitors", "slots", "dimensions"))
VALUES_MAX_DEFAULT = VALUES_MAX


cdef struct Run:
    Entry* entries                      # owned
    size_t count
    size_t documents                    # how many are joined in it


cdef class Dimension:
    """One dimension of the documents read so far, as runs, each of more documents than the next."""
    cdef Run[RUNS_MAX] runs
    cdef int count                      # of runs
    cdef uint64_t clicks                # of all documents, whether they have the dimension or not

    def __dealloc__(self):
        cdef int i
        for i in range(self.count):
            free(self.runs[i].entries)

    cdef ssize_t add(self, Reader* reader) except? -1:
        """Read the dimension of one more document; how many values it has, or -1 with the reader's fault set."""
        cdef Run* run = &self.runs[self.count]
        cdef ssize_t count
        run.entries = <Entry*>malloc(VALUES_MAX * sizeof(Entry))
        if run.entries == NULL:
            raise MemoryError("no memory for the values of a document")
        self.count += 1
        count = read_entries(reader, run.entries)
        run.count = max(0, count)
        run.documents = 1
        while self.count > 1 and self.runs[self.count - 2].documents <= self.runs[self.count - 1].documents:
            self.join_last()
        return count

    cdef int join_last(self) except -1:
        cdef Run* left = &self.runs[self.count - 2]
        cdef Run* right = &self.runs[self.count - 1]
        cdef Entry* joined = <Entry*>malloc((left.count + right.count or 1) * sizeof(Entry))
        if joined == NULL:
            raise MemoryError(f"no memory for {left.count + right.count} values")
        left.count = join_entries(left.entries, left.count, right.entries, right.count, joined, False)
        left.documents += right.documents
        free(left.entries)
        free(right.entries)
        left.entries = joined
        self.count -= 1
        return 0

    cdef tuple top(self, size_t values_max):
        """The most clicked values, first the most clicked, then in the order of documents; and the clicks of all others."""
        cdef uint64_t* heap
        cdef Run* run = &self.runs[0]
        cdef size_t i
        while self.count > 1:
            self.join_last()
        if run.count > values_max:
            heap = <uint64_t*>malloc((values_max or 1) * sizeof(uint64_t))
            if heap == NULL:
                raise MemoryError(f"no memory for {values_max} counts")
            run.count = keep_top(run.entries, run.count, values_max, heap) if values_max > 0 else 0
            free(heap)
        other = self.clicks - sum_entries(run.entries, run.count)
        values = [
            (run.entries[i].at[: run.entries[i].size].decode("utf-8", "replace"), run.entries[i].clicks)
            for i in range(run.count)
        ]
        values.sort(key=_by_clicks)
        return values, other


def _by_clicks(value):
    return -value[1]


cdef class _Summing:
    """One run over documents, by day."""
    cdef Counts counts                  # of the present document
    cdef Sketch sketch                  # of the present day's documents
    cdef uint64_t humans, bots, previews, heads
    cdef dict slots, visitors
    cdef list dimensions                # Dimension by number

    def __cinit__(self):
        self.slots = {}
        self.visitors = {}
        self.dimensions = [Dimension() for _ in range(DIMENSIONS)]

    cdef int add(self, day, bytes document) except -1:
        cdef Reader reader
        if not self.read(document, &reader):
            raise FoldError("value", f"document of day {day}: {reader.fault.decode()}")
        self.add_slots(day)
        self.humans += self.counts.humans
        self.bots += self.counts.bots
        self.previews += self.counts.previews
        self.heads += self.counts.heads
        return 0

    cdef bint read(self, bytes document, Reader* reader) except? False:
        """False: the document is malformed."""
        cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(document)
        cdef Dimension dimension
        cdef int i
        clear_counts(&self.counts)
        if not read_counts(reader, data, PyBytes_GET_SIZE(document), &self.counts):
            return False
        if not read_visitors(reader, &self.sketch):
            return False
        for i in range(DIMENSIONS):
            dimension = self.dimensions[i]
            dimension.clicks += reader.clicks
            if reader.dimensions >> i & 1:
                if dimension.add(reader) < 0:
                    return False
        return read_end(reader)

    cdef int add_slots(self, day) except -1:
        cdef int slot
        for slot in range(SLOTS):
            if self.counts.used[slot >> 6] >> (slot & 63) & 1:
                humans, bots = self.slots.get((day, slot), (0, 0))
                self.slots[day, slot] = (humans + self.counts.slots[slot].humans, bots + self.counts.slots[slot].bots)
        return 0

    cdef int end_day(self, day) except -1:
        """A day's sketches are one: visitors of several subjects count once."""
        if self.sketch.used > 0:
            self.visitors[day] = round(estimate_sketch(&self.sketch))
        clear_sketch(&self.sketch)
        return 0


# ---------------------------------------------------------------------------------------------------- public API


def summarise(documents not None, values_max=VALUES_MAX_DEFAULT):
    cdef _Summing summing = _Summing()
    cdef Dimension dimension
    cdef list ordered = sorted(documents, key=_by_day)
    last = None
    for day, document in ordered:
        if last is not None and day != last:
            summing.end_day(last)
        summing.add(day, document)
        let_others_run()
        last = day
    if last is not None:
        summing.end_day(last)
    dimensions = {}
    for name, dimension in zip(DIMENSION_NAMES, summing.dimensions):
        if dimension.count > 0:
            dimensions[name] = dimension.top(values_max)
    return Summary(
        summing.humans, summing.bots, summing.previews, summing.heads, summing.visitors, summing.slots, dimensions
    )


def _by_day(document):
    return document[0]
