"""The clicks of a batch by subject and day, and their merge into documents.

Each group and its document are read, added up and written in one pass over the parts of the format, in its order:

    document ── counts, slots ── visitors ── dimension 0 ── dimension 1 …      (Reader)
        rows ── counts, slots ── visitors ── ranks ──────── ranks …            (Tally)
                     │               │      join, keep top     │
                     ▼               ▼           ▼             ▼
                                new document

Dimension `link` is different: the entry of a link is not what the batch adds but what its own document has for the day,
so that a link that was not among the kept ones comes in with all its clicks. Its sum could exceed the document's clicks
only if the links' documents and this one speak of different clicks (one was deleted or restored alone); then links
give way until it does not.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc

from control.clicks._clicks cimport BOT, HEAD, HUMAN, PREVIEW, Row, is_counted
from control.clicks._document cimport (
    CLICK_DIMENSIONS, CODE, DIMENSIONS, ENTRY_BYTES_MAX, HEAD_BYTES_MAX, LINK, VALUES_MAX,
    add_to_slot, read_counts, read_end, read_entries, read_visitors, write_counts, write_entries,
)
from control.clicks._entries cimport join_entries, keep_top, sum_entries
from control.clicks._grouping cimport Member
from control.clicks._pause cimport let_others_run
from control.clicks._sketch cimport SKETCH_BYTES_MAX, add_hash, write_sketch
from control.clicks._tally cimport count_value
from control.clicks._varint cimport COUNT_MAX, VARINT_BYTES_MAX

from control.clicks._document import FoldError

cdef enum:
    PAUSE_GROUPS = 256          # a fifth of a millisecond of small documents, a few of large ones

cdef uint32_t OF_CLICKS = (1 << CLICK_DIMENSIONS) - 1
# By scope: the dimensions of its documents, and how many values of each they keep.
cdef uint32_t[SCOPES] _DIMENSIONS_OF = [OF_CLICKS, OF_CLICKS | 1 << LINK, OF_CLICKS, OF_CLICKS | 1 << LINK, 1 << CODE]
cdef size_t[SCOPES] _KEPT = [50, 200, 200, VALUES_MAX, 200]
SCOPE_NAMES = ("link", "domain", "tag", "account", "unknown codes of domain")
VALUES_KEPT = tuple(_KEPT)


cdef size_t _bytes_max(int scope) noexcept:
    cdef size_t dimension = 2 * VARINT_BYTES_MAX + _KEPT[scope] * ENTRY_BYTES_MAX
    cdef size_t dimensions = 0
    cdef int i
    for i in range(DIMENSIONS):
        dimensions += _DIMENSIONS_OF[scope] >> i & 1
    return HEAD_BYTES_MAX + SKETCH_BYTES_MAX + dimensions * dimension


DOCUMENT_BYTES_MAX = tuple(_bytes_max(scope) for scope in range(SCOPES))


cdef size_t _fit(Entry* entries, size_t count, uint64_t clicks, uint64_t* heap) noexcept:
    """Drop what alone is more than `clicks`, then the least clicked until the sum is not; how many are left."""
    cdef size_t i, left = 0
    if sum_entries(entries, count) <= clicks:
        return count
    for i in range(count):
        if entries[i].clicks <= clicks:
            entries[left] = entries[i]
            left += 1
    while sum_entries(entries, left) > clicks:
        left = keep_top(entries, left, left - 1, heap)      # at least two are left: one alone fits
    return left


@cython.final
cdef class LinkClicks:

    def __dealloc__(self):
        free(self.clicks)

    @staticmethod
    cdef LinkClicks of(Groups links):
        cdef LinkClicks counts = LinkClicks.__new__(LinkClicks)
        cdef size_t count = links._grouping.count, i
        if links._scope != LINK_SCOPE or <size_t>len(links.clicks) != count:
            raise ValueError("the counts of links are known once their groups are merged")
        counts._batch = links._clicks
        counts.ids = Ranking.of_subjects(links._grouping)
        counts.clicks = <uint64_t*>malloc((count or 1) * sizeof(uint64_t))
        if counts.clicks == NULL:
            raise MemoryError(f"no memory for the counts of {count} links")
        for i in range(count):
            counts.clicks[i] = links.clicks[i]
        return counts


@cython.final
cdef class Groups:

    def __init__(self):
        raise TypeError("groups are made by Batch.links and Batch.scopes")

    def __dealloc__(self):
        free(self._before)
        free(self._joined)
        free(self._heap)
        free(self._out)

    @staticmethod
    cdef Groups of(Clicks clicks, Grouping grouping, int scope, LinkClicks links):
        cdef Groups groups = Groups.__new__(Groups)
        groups._clicks = clicks
        groups._grouping = grouping
        groups._scope = scope
        groups._dimensions = _DIMENSIONS_OF[scope]
        groups.subjects = grouping.subjects()
        groups.days = grouping.days()
        groups.clicks = []
        if groups._dimensions >> LINK & 1 and links is not None:
            if links._batch is not clicks:
                raise ValueError("the counts of links are of another batch")
            groups._link_clicks = links
        return groups

    def merge(self, documents not None, uint32_t first=0):
        """See the stub."""
        cdef uint32_t group, end = self._end(documents, first)
        cdef list merged = [], clicks = []
        self._prepare()
        try:
            for group in range(first, end):
                merged.append(self._merge(group, documents[group - first]))
                clicks.append(self._tally.counts.humans + self._tally.counts.bots)
                if group % PAUSE_GROUPS == 0:
                    let_others_run()
        finally:
            self._discard()
        self.clicks[first:end] = clicks
        return merged

    def faults(self, documents not None, uint32_t first=0):
        """See the stub."""
        cdef uint32_t group, end = self._end(documents, first)
        cdef list found = []
        self._prepare()
        try:
            for group in range(first, end):
                found.append(self._find_fault(group, documents[group - first]))
        finally:
            self._discard()
        return found

    cdef uint32_t _end(self, object documents, uint32_t first) except? 0:
        """Behind the last of the groups whose documents these are."""
        cdef size_t count = len(documents), merged = len(self.clicks), left
        if first > merged:
            raise ValueError(f"documents of group {first} and those behind it, when {merged} are merged")
        left = self._grouping.count - first
        if count > left:
            raise ValueError(f"{count} documents for {left} groups")
        return <uint32_t>(first + count)

    cdef object _find_fault(self, uint32_t group, bytes document):
        try:
            self._merge(group, document)
        except FoldError as error:
            # What was counted before the fault was found is still in the tally.
            self._discard()
            self._prepare()
            return str(error)
        return None

    cdef Ranking _ranking(self, int dimension):
        """Of the values of a dimension; None if the batch has none to count."""
        if dimension == LINK:
            return None if self._link_clicks is None else self._link_clicks.ids
        return self._clicks.codes if dimension == CODE else self._clicks.values

    cdef int _prepare(self) except -1:
        cdef Ranking ranking
        cdef int dimension
        self._tally = Tally()
        for dimension in range(DIMENSIONS):
            ranking = self._ranking(dimension)
            if self._dimensions >> dimension & 1 and ranking is not None:
                self._tally.open(dimension, ranking.count)
        self._before = <Entry*>malloc(VALUES_MAX * sizeof(Entry))
        self._joined = <Entry*>malloc((VALUES_MAX + self._tally.added_max) * sizeof(Entry))
        self._heap = <uint64_t*>malloc(VALUES_MAX * sizeof(uint64_t))
        self._out = <uint8_t*>malloc(_bytes_max(self._scope))
        if self._before == NULL or self._joined == NULL or self._heap == NULL or self._out == NULL:
            self._discard()
            raise MemoryError("no memory to merge documents")
        return 0

    cdef int _discard(self) except -1:
        free(self._before)
        free(self._joined)
        free(self._heap)
        free(self._out)
        self._before = self._joined = NULL
        self._heap = NULL
        self._out = NULL
        self._tally = None
        return 0

    cdef int _count_group(self, uint32_t group) except -1:
        cdef Tally tally = self._tally
        cdef const Member* member = &self._grouping.members[self._grouping.starts[group]]
        cdef const Member* end = &self._grouping.members[self._grouping.starts[group + 1]]
        cdef const Row* row
        cdef int dimension
        while member < end:
            row = &self._clicks.rows[member.click]
            member += 1
            if not is_counted(row):
                tally.counts.previews += row.kind == PREVIEW
                tally.counts.heads += row.kind == HEAD
                continue
            add_to_slot(&tally.counts, row.slot, row.kind == HUMAN, row.kind == BOT)
            if row.has_visitor:
                add_hash(&tally.sketch, row.visitor)
            if self._scope == UNKNOWN_SCOPE:
                count_value(&tally.columns[CODE], row.code)
                continue
            for dimension in range(CLICK_DIMENSIONS):
                count_value(&tally.columns[dimension], row.values[dimension])
            if self._link_clicks is not None:
                count_value(&tally.columns[LINK], row.link_day)
        return 0

    cdef bytes _merge(self, uint32_t group, bytes document):
        cdef Tally tally = self._tally
        cdef Reader reader
        cdef uint8_t* at
        cdef int dimension
        cdef ssize_t count
        tally.begin()
        reader.dimensions = 0
        if document is not None and not self._begin_document(document, &reader):
            raise self._fault(group, reader.fault)
        self._count_group(group)
        if max(tally.counts.humans + tally.counts.bots, tally.counts.previews, tally.counts.heads) > COUNT_MAX:
            raise self._fault(group, b"it has more clicks than can be held")
        at = write_counts(&tally.counts, self._dimensions, self._out)
        at = write_sketch(&tally.sketch, at)
        for dimension in range(DIMENSIONS):
            if self._dimensions >> dimension & 1:
                count = self._merge_dimension(&reader, dimension, tally.counts.humans + tally.counts.bots)
                if count < 0:
                    raise self._fault(group, reader.fault)
                at = write_entries(self._joined, count, at)
        if document is not None and not read_end(&reader):
            raise self._fault(group, reader.fault)
        return PyBytes_FromStringAndSize(<char*>self._out, at - self._out)

    cdef bint _begin_document(self, bytes document, Reader* reader) noexcept:
        """Add what stands before the document's dimensions; False: it is malformed."""
        cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(document)
        if not read_counts(reader, data, PyBytes_GET_SIZE(document), &self._tally.counts):
            return False
        if reader.dimensions & ~self._dimensions:
            reader.fault = b"it has dimensions that documents of its scope do not have"
            return False
        return read_visitors(reader, &self._tally.sketch)

    cdef object _fault(self, uint32_t group, const char* fault):
        cdef const Member* first = &self._grouping.members[self._grouping.starts[group]]
        where = f"{SCOPE_NAMES[self._scope]} {first.subject}, day {first.day}"
        return FoldError("value", f"document of {where}: {fault.decode()}")

    cdef ssize_t _merge_dimension(self, Reader* reader, int dimension, uint64_t clicks) noexcept:
        """Its values in `_joined`; how many there are, or -1."""
        cdef Ranking ranking = self._ranking(dimension)
        cdef ssize_t before = 0
        cdef size_t added = 0, count
        if reader.dimensions >> dimension & 1:
            before = read_entries(reader, self._before)
            if before < 0:
                return -1
        if ranking is not None:
            added = self._tally.take(dimension, ranking.by_rank)
        if dimension == LINK:
            self._put_link_clicks(added)
        count = join_entries(self._before, before, self._tally.added, added, self._joined, dimension == LINK)
        count = keep_top(self._joined, count, _KEPT[self._scope], self._heap)
        return _fit(self._joined, count, clicks, self._heap) if dimension == LINK else count

    cdef int _put_link_clicks(self, size_t added) noexcept:
        """In place of what the group adds, what the links' documents have."""
        cdef size_t i
        for i in range(added):
            self._tally.added[i].clicks = self._link_clicks.clicks[self._tally.columns[LINK].ranks[i]]
        return 0
