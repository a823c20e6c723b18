"""The files of the click log as they lie on disk: segments, ledgers. A leaf: cimports only libc, cpython, _ring.

All integers are little-endian, as the machines are that this is built for. Both files begin with a page of 4096 bytes:

    segment   0  magic, the last byte is the format version     ledger    0  magic, likewise
              8  writer                                                   8  writer
             16  number, size of the file                                16  instant of the start
             24  instant of its first use, 0 before                      24  boot of the machine, see `Books`
             32  clicks and unknown codes, once it is closed             40  length of the edge id, edge id
             48  is_closed, sealed frames                               192  which account holds
             56  length of the edge id, edge id                         256  two accounts
            256  the end of each sealed frame                           368  drops by reason, of unknown codes too
           4096  items, see wire.click                                  512  counts of the last closed segments
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    PAGE = 4096
    FRAMES_MAX = 960            # of a segment: a table of them fills the first page
    FRAME_BYTES_MAX = 131072    # wire.click's, like the next three
    TEXT_BYTES_MAX = 255
    CODE_BYTES_MAX = 64
    EDGE_ID_BYTES_MAX = 100     # wire.frame's
    REASONS = 4                 # wire.report.DROP_REASONS
    CLOSINGS = 112              # fill a ledger's page; 900 MB of segments of the default size
    SEGMENT_BYTES_MIN = 65536   # wastes a sixteenth on its first page
    SEGMENT_BYTES_MAX = 67108864  # as many frames as the table holds, with some of them sealed by age

cdef enum ItemKind:
    TEXT = 1
    CLICK = 2

cdef enum ClickFlag:            # wire.click.Flag
    IS_HEAD = 1
    IS_TLS = 2
    UNKNOWN_CODE = 4
    OPTED_OUT = 8
    STALE = 16
    NO_AGENT = 32


cdef packed struct Item:
    uint16_t size               # bytes of all of it; written last, so 0 where no item is yet
    uint8_t kind                # ItemKind
    uint8_t flags               # ClickFlag
    uint32_t check              # see `item_check`


cdef packed struct TextItem:
    Item item
    uint16_t length             # bytes; the text follows


cdef packed struct ClickItem:
    Item item
    int64_t time_ms             # since 1970 UTC
    uint64_t link_id            # 0 with UNKNOWN_CODE
    uint32_t domain_id
    uint16_t status
    uint16_t[3] texts           # numbers of the User-Agent's, the Referer's and the query's in the frame; 0: none
    uint8_t address_size        # 0, 4, 16
    uint8_t code_size
    uint16_t zero
    # address and code follow


cdef struct Header:
    uint8_t[8] magic
    uint64_t writer
    uint32_t number
    uint32_t size               # bytes of the file; once it is closed, those that are used: the rest is cut off
    int64_t created_ms          # since 1970 UTC
    uint64_t recorded           # clicks, written when it is closed
    uint64_t unknown_recorded   # likewise
    uint32_t is_closed          # nothing will be appended
    uint32_t frames             # sealed; raised once the end is written
    uint8_t edge_id_size
    uint8_t[EDGE_ID_BYTES_MAX] edge_id
    uint8_t[99] reserved
    uint32_t[FRAMES_MAX] ends   # offsets: frame i is from the end of i-1, or from PAGE, to its own


# What a writer has recorded, up to a certain segment. Its recorded clicks are `recorded` + `open_recorded`.
cdef struct Account:
    uint32_t segment            # number of the segment under way
    uint32_t checked            # recovery is through with all segments below it
    uint64_t recorded           # of the segments below `segment`
    uint64_t unknown_recorded
    uint64_t open_recorded      # of `segment`; one less than is true if the writer was killed between click and count
    uint64_t open_unknown
    uint64_t torn               # recorded once, and lost by a power cut
    uint64_t unknown_torn


# What a segment had when it was closed, until CLOSINGS more are. In the ledger, for that is synced with every new segment,
# and a segment's own page when the kernel likes. Of a size that no sector of a disk cuts in two.
cdef struct Closing:
    uint64_t after              # the segment's number + 1; written last, 0 while the rest is
    uint64_t recorded
    uint64_t unknown_recorded
    uint64_t reserved


# The page of a ledger. `boot` tells whether the machine has lost power or was started anew since: what a process wrote
# into mapped files survives its death, but not that.
cdef struct Books:
    uint8_t[8] magic
    uint64_t writer
    int64_t started_ms          # since 1970 UTC
    uint8_t[16] boot
    uint8_t edge_id_size
    uint8_t[EDGE_ID_BYTES_MAX] edge_id
    uint8_t[51] reserved
    uint64_t turn               # index of the account that holds; the other one is written, then this
    uint8_t[56] reserved_too
    Account[2] accounts
    uint64_t[REASONS] dropped   # torn ones are in the account
    uint64_t[REASONS] unknown_dropped
    uint8_t[80] reserved_last
    Closing[CLOSINGS] closings  # that of segment n is at n % CLOSINGS


# Clicks that were found whole, and the instant of the first; 0: there is none.
cdef struct Scan:
    int64_t first_ms
    uint64_t recorded
    uint64_t unknown_recorded


# The seed of the checks of a frame's items: so no item of another writer, segment or frame is taken for one of it, and
# where frames begin can be read off the items when the header's page was lost.
cdef uint64_t frame_seed(const Header* header, uint32_t start) noexcept nogil
# The low half of the XXH64 of what stands behind the item's first eight bytes, seeded with the frame's seed and with the
# first four of them.
cdef uint32_t item_check(const Item* item, uint64_t seed) noexcept nogil
# Write an item's first eight bytes, the size behind everything else: a process may be killed between any two stores.
cdef int publish(Item* item, uint16_t size, uint8_t kind, uint8_t flags, uint64_t seed) noexcept nogil
# Note that a frame ends here. There must be room in the table.
cdef int seal_frame(Header* header, uint32_t end) noexcept nogil
# Note that no frame will come, and how many bytes are used.
cdef int close_segment(Header* header) noexcept nogil
# The account that holds; `next_account` is a copy of it that begins to hold by `turn_account`.
cdef Account* account_of(Books* books) noexcept nogil
cdef Account* next_account(Books* books) noexcept nogil
cdef int turn_account(Books* books) noexcept nogil
# Note what a segment has that is about to be closed.
cdef int note_closing(Books* books, uint32_t number, uint64_t recorded, uint64_t unknown_recorded) noexcept nogil


cdef class Mapping:
    cdef object _view           # exports the mapped file for as long as this object lives
    cdef unsigned char* _bytes  # borrowed from _view
    cdef readonly size_t size   # bytes
    cdef readonly bint is_writable

    cdef int _open(self, object mapping, bint is_writable) except -1


cdef class SegmentMap(Mapping):
    cdef Header* header         # borrowed from _view

    cdef int _check(self) except -1
    cdef int _writable(self) except -1


cdef class LedgerMap(Mapping):
    cdef Books* books           # borrowed from _view
