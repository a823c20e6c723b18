"""The compiled fold of clicks: a batch from frames to day documents. Re-exports the leaves.

      body of a frame ── add ── decode_items ──▶ Clicks: what came, texts and codes once a batch         _items, _clicks
                                                   │
      enricher, facts, salts ── enrich ────────────┤ values as ranks, kind, visitor                _enriching, _ranking
                                                   │
                        links, scopes ─────────────┤ sorted by (subject, day)                               _grouping
                                                   ▼
      documents ── merge ── Tally of a group, joined with its document ──▶ documents         _groups, _tally, _document
                                                   │                                                _entries, _sketch
                        rows, samples ─────────────┘                                                            _rows

No Python object is made for a click, and no function is called by its name for one that has been asked for its text or
address before: about a third of a microsecond a click, and as much for each document that it goes into alone.

Invariants:
- what `add` refuses has changed nothing, and `merge` makes all documents or none;
- clicks of humans and bots are counted in slots and dimensions, previews and heads only as such, unknown codes only in
  the unknown scope of their domain.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from control.clicks cimport _groups
from control.clicks._clicks cimport BOT, HEAD, HUMAN, PREVIEW, Row, new_members
from control.clicks._enriching cimport enrich_clicks
from control.clicks._grouping cimport Member
from control.clicks._items cimport Click, decode_items
from control.clicks._rows cimport copy_rows, newest

from collections import namedtuple

from control.clicks._document import DIMENSION_NAMES, FoldError
from control.clicks._groups import (
    ACCOUNT_SCOPE, DOCUMENT_BYTES_MAX, DOMAIN_SCOPE, Groups, LINK_SCOPE, TAG_SCOPE, UNKNOWN_SCOPE, VALUES_KEPT,
)
from control.clicks._summary import Summary, summarise

Added = namedtuple("Added", ("clicks", "unknown", "heads"))


cdef struct Totals:
    uint64_t[4] kinds                   # by HUMAN …
    uint64_t first_ms, last_ms


@cython.final
cdef class Batch:

    def __cinit__(self, uint32_t clicks_max):
        self._clicks = Clicks(clicks_max)
        self._frame = <Frame*>malloc(sizeof(Frame))
        if self._frame == NULL:
            raise MemoryError("no memory for a frame")

    def __dealloc__(self):
        free(self._frame)

    def __init__(self, clicks_max):
        pass

    def __len__(self):
        return self._clicks.count

    def add(self, bytes body not None):
        cdef Frame* frame = self._frame
        if self._tags is not None:
            raise RuntimeError("an enriched batch takes no more frames")
        if not decode_items(<const uint8_t*>PyBytes_AS_STRING(body), len(body), frame):
            raise FoldError("truncated" if frame.is_truncated else "value",
                            f"{frame.fault.decode()}, at {frame.fault_at} of {len(body)} bytes")
        self._clicks.take(frame)
        return Added(frame.clicks_count - frame.unknown, frame.unknown, frame.heads)

    def link_ids(self):
        return list(dict.fromkeys(self._clicks.link_days().subjects()))

    def days(self):
        cdef uint32_t i
        return sorted({self._clicks.rows[i].day for i in range(self._clicks.count)})

    def enrich(self, enricher, facts, salts):
        if self._tags is not None:
            raise RuntimeError("a batch is enriched once")
        self._tags = enrich_clicks(self._clicks, enricher, facts, salts)

    cdef int _require_enriched(self) except -1:
        if self._tags is None:
            raise RuntimeError("a batch is enriched before its clicks are counted")
        return 0

    def links(self):
        self._require_enriched()
        return _groups.Groups.of(self._clicks, self._clicks.link_days(), _groups.LINK_SCOPE, None)

    def scopes(self, _groups.Groups links):
        cdef _groups.LinkClicks link_clicks = None if links is None else _groups.LinkClicks.of(links)
        self._require_enriched()
        return {
            scope: _groups.Groups.of(self._clicks, self._group(scope), scope, link_clicks)
            for scope in range(_groups.DOMAIN_SCOPE, _groups.SCOPES)
        }

    cdef Grouping _group(self, int scope):
        cdef Clicks clicks = self._clicks
        cdef Member* members
        cdef bint is_unknown
        cdef uint32_t i, found = 0
        if scope == _groups.TAG_SCOPE:
            return self._group_tags()
        members = new_members(clicks.count)
        for i in range(clicks.count):
            is_unknown = clicks.clicks[i].link_id == 0
            if is_unknown == (scope == _groups.UNKNOWN_SCOPE):
                members[found] = Member(0 if scope == _groups.ACCOUNT_SCOPE else clicks.clicks[i].domain_id, clicks.rows[i].day, i)
                found += 1
        return Grouping.of(members, found)

    cdef Grouping _group_tags(self):
        """A click is in the group of each tag of its link."""
        cdef Grouping links = self._clicks.link_days()
        cdef size_t count = 0, found = 0
        cdef uint32_t group, at
        cdef uint64_t tag
        cdef Member* members
        for group, tags in self._tags:
            count += len(tags) * (links.starts[group + 1] - links.starts[group])
        members = new_members(count)
        for group, tags in self._tags:
            for tag in tags:
                for at in range(links.starts[group], links.starts[group + 1]):
                    members[found] = Member(tag, links.members[at].day, links.members[at].click)
                    found += 1
        return Grouping.of(members, found)

    def totals(self):
        cdef Grouping links = self._clicks.link_days()
        cdef Totals totals
        cdef uint32_t group
        cdef uint64_t link_id
        cdef list found = []
        self._require_enriched()
        for group in range(links.count):
            link_id = links.members[links.starts[group]].subject
            if group == 0 or link_id != links.members[links.starts[group] - 1].subject:
                memset(&totals, 0, sizeof(Totals))
                totals.first_ms = self._clicks.clicks[links.members[links.starts[group]].click].time_ms
            _add_totals(self._clicks, links, group, &totals)
            if group + 1 == links.count or link_id != links.members[links.starts[group + 1]].subject:
                found.append((link_id, totals.kinds[HUMAN], totals.kinds[BOT], totals.kinds[PREVIEW],
                              totals.kinds[HEAD], totals.first_ms, totals.last_ms))
        return found

    def rows(self):
        self._require_enriched()
        return copy_rows(self._clicks)

    def samples(self, size_t limit):
        self._require_enriched()
        return newest(self._clicks, limit)


cdef int _add_totals(Clicks clicks, Grouping links, uint32_t group, Totals* totals) noexcept:
    cdef const Click* click
    cdef uint32_t at
    for at in range(links.starts[group], links.starts[group + 1]):
        click = &clicks.clicks[links.members[at].click]
        totals.kinds[clicks.rows[links.members[at].click].kind] += 1
        totals.first_ms = min(totals.first_ms, click.time_ms)
        totals.last_ms = max(totals.last_ms, click.time_ms)
    return 0
