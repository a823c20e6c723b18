"""The click log of one worker: clicks as items of a mapped segment. Cimports the leaves."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from edge._client cimport Address
from edge._counters cimport Counters
from edge._http cimport Head, Text
from edge._segment cimport STALE, Account, Books, LedgerMap, SegmentMap

cdef enum:
    VISIT_TEXTS = 3             # User-Agent, Referer, query
    KNOWN_TEXTS = 2048          # places in the table of a frame's texts; a frame of 3,000 clicks has some 1,000

cdef enum Reason:               # wire.report.DROP_REASONS
    BACKLOG_FULL = 0
    DISK_FULL = 1
    NO_SEGMENT = 2


# Who asked, as it is to be recorded: the settings about privacy are applied.
cdef struct Visit:
    Text[VISIT_TEXTS] texts     # borrowed from the request's head, at most TEXT_BYTES_MAX each; those of a kept visit
                                # are its own, in the same block of memory
    Text code                   # borrowed likewise: what was asked for, at most CODE_BYTES_MAX
    uint8_t flags               # ClickFlag
    uint8_t address_size        # bytes
    uint8_t[16] address


# A text of the frame under way.
cdef struct Known:
    uint32_t frame              # the frame it belongs to, so that a new frame empties the table
    uint32_t tag                # upper half of the text's hash; the lower one gives its place
    uint32_t at                 # offset of its item in the segment
    uint16_t number             # in the frame


# The answer comes from L1 though neither shard nor PostgreSQL could say.
cdef inline int mark_stale(Visit* visit) noexcept nogil:
    visit.flags |= STALE
    return 0


cdef class ClickLog:
    cdef readonly bint is_on
    cdef readonly bint has_addresses    # addresses are recorded, so they have to be found
    cdef readonly bint has_unknown      # codes that do not exist are recorded
    cdef bint _is_truncated             # addresses
    cdef bint[VISIT_TEXTS] _has_text
    cdef bint _honors_opt_out
    cdef int64_t _seal_ms
    cdef uint64_t* _counts              # borrowed from _counters
    cdef Counters _counters
    cdef LedgerMap _ledger              # None while there is none
    cdef Books* _books                  # borrowed from _ledger, or _loose
    cdef Books _loose                   # counts drops while there is no ledger
    cdef Account* _account              # borrowed from _books: of the segment under way
    cdef SegmentMap _segment            # under way; None: clicks are dropped
    cdef SegmentMap _spare              # the next one; None until it is supplied
    cdef list _retired                  # closed, to be unmapped outside of requests
    cdef unsigned char* _base           # borrowed from _segment
    cdef uint32_t _at                   # offset of the next item
    cdef uint32_t _limit                # of the frame under way
    cdef uint32_t _populated            # up to here the segment's pages are in memory, and writable
    cdef uint32_t _frame_start
    cdef uint64_t _seed                 # of the frame's checks
    cdef uint32_t _frame                # number of the frame among all of this log
    cdef uint16_t _texts                # in the frame
    cdef int64_t _frame_ms              # monotonic: when the frame's first click came
    cdef int64_t _segment_ms            # likewise of the segment
    cdef int64_t _wall_ms               # the wall clock minus the monotonic one
    cdef int _reason                    # Reason for which there is no segment
    cdef bint _is_crowded               # over half of the backlog is used: unknown codes are dropped
    cdef Known* _known                  # owned

    # What of a request is to be recorded. `address` is the client's, NULL if it is not known.
    cdef int describe(self, const Head* head, const Address* address, bint is_tls, Visit* visit) noexcept
    # A copy in one block of memory, to be given to free() once; NULL: no memory.
    cdef Visit* keep(self, const Visit* visit) noexcept
    # Record the click of a redirect or of the unknown code `visit.code`, or count why it was not. `visit` is not looked at
    # unless the log is on.
    cdef int append(self, const Visit* visit, uint64_t link_id, uint32_t domain_id, uint16_t status, int64_t now_ms) noexcept

    cdef int append_unknown(self, const Visit* visit, uint32_t domain_id, uint16_t status, int64_t now_ms) noexcept

    cdef int _append(
        self, const Visit* visit, uint64_t link_id, uint32_t domain_id, uint16_t status, int64_t now_ms
    ) noexcept
    cdef uint16_t _number(self, const Text* text) noexcept
    cdef uint16_t _write_text(self, const Text* text) noexcept
    cdef int _write_click(
        self, const Visit* visit, uint64_t link_id, uint32_t domain_id, uint16_t status, int64_t time_ms
    ) noexcept
    cdef int _drop(self, bint is_unknown, int reason) noexcept
    cdef bint _make_room(self, int64_t now_ms) noexcept
    cdef int _seal(self) noexcept
    cdef int _begin_frame(self) noexcept
    cdef bint _begin_segment(self) noexcept
    cdef int _end_segment(self) noexcept
    cdef int _populate(self) noexcept
