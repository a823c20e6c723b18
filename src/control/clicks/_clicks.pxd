"""The clicks of a batch: as they came, and what is known of each after enrichment. Cimports other leaves."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from control.clicks._document cimport CLICK_DIMENSIONS
from control.clicks._grouping cimport Grouping, Member
from control.clicks._items cimport Click, Frame
from control.clicks._ranking cimport Ranking

cdef enum:
    HUMAN = 0                           # kinds of clicks: as of Enricher.agent, and the column `class` of click_rows
    BOT = 1
    PREVIEW = 2
    HEAD = 3


cdef struct Row:
    uint64_t visitor                    # hash, if has_visitor
    uint32_t[CLICK_DIMENSIONS] values   # ranks in Clicks.values, by dimension
    uint32_t code                       # rank in Clicks.codes; of an unknown code only
    uint32_t link_day                   # index of the click's group in Clicks.link_days; of a link only
    uint32_t day                        # since 1970
    uint8_t slot                        # 0..95
    uint8_t kind                        # HUMAN …
    bint has_visitor


cdef class Clicks:
    cdef Click* clicks                  # owned; count are filled; their texts and codes are numbers in the lists below
    cdef Row* rows                      # owned; likewise; what is not the instant's is filled by enrichment
    cdef readonly uint32_t count, count_max
    cdef uint32_t unknown               # clicks of unknown codes
    cdef list texts                     # bytes by number; 0 is b""
    cdef list code_texts                # bytes by number; 0 is b""
    cdef dict _text_numbers, _code_numbers
    cdef Ranking values, codes           # None before enrichment
    cdef Grouping _link_days            # None until it is asked for

    cdef int take(self, Frame* frame) except -1
    # The clicks with a link by (link, day).
    cdef Grouping link_days(self)


cdef inline bint is_counted(const Row* row) noexcept nogil:
    """Whether it is one of the `clicks` of its subject."""
    return row.kind == HUMAN or row.kind == BOT


cdef Member* new_members(size_t count) except NULL
