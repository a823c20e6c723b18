"""The files of the click log as they lie on disk: segments, ledgers, and what is done with those of a dead writer.

    page │ text click click text click │ click text click │ click click ▒▒▒ │ zeros …
    4096 └─ frame 0, sealed ───────────┘└─ frame 1 ───────┘└─ not sealed ┘ torn

Invariants:
- a frame's end is in the table before the frame is counted, and neither changes after that: a frame that is sent again
  is the same frame;
- an item is whole if its check is right; what a killed process was writing has no size yet, what a power cut tore has
  another check;
- repairing and settling can be broken off anywhere and begun again: they change nothing a second time.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcmp, memcpy, memset

from edge._ring cimport xxh64_of

from wire import click as wire_click, frame as wire_frame, report as wire_report
from wire.errors import FormatError

cdef extern from *:
    """
    #define release_fence() __atomic_thread_fence(__ATOMIC_RELEASE)
    #define acquire_fence() __atomic_thread_fence(__ATOMIC_ACQUIRE)
    """
    void release_fence() noexcept nogil
    void acquire_fence() noexcept nogil

cdef enum:
    ITEM_BYTES_MIN = 12                         # wire.click's
    FILLER_BYTES_MAX = 268                      # an item with a text of TEXT_BYTES_MAX

cdef const char* SEGMENT_MAGIC = b"PMCLICK\x01"
cdef const char* LEDGER_MAGIC = b"PMBOOKS\x01"

if (FRAME_BYTES_MAX, TEXT_BYTES_MAX, CODE_BYTES_MAX, ITEM_BYTES_MIN, EDGE_ID_BYTES_MAX, REASONS) != (
    wire_click.FRAME_BYTES_MAX, wire_click.TEXT_BYTES_MAX, wire_click.CODE_BYTES_MAX, wire_click.ITEM_BYTES_MIN,
    wire_frame.EDGE_ID_BYTES_MAX, len(wire_report.DROP_REASONS),
):
    raise ImportError("the limits of the click log and those of its formats disagree")
if (sizeof(Header), sizeof(Books), sizeof(ClickItem)) != (PAGE, PAGE, wire_click.CLICK_BYTES_MIN):
    raise ImportError("the compiler has laid the pages of the click log out in another way")

LEDGER_BYTES = PAGE


# ---------------------------------------------------------------------------------------------------- items and frames

cdef uint64_t frame_seed(const Header* header, uint32_t start) noexcept nogil:
    cdef uint64_t[2] place
    place[0] = header.writer
    place[1] = (<uint64_t>header.number << 32) | start
    return xxh64_of(<const unsigned char*>place, sizeof(place), 0)


cdef uint32_t item_check(const Item* item, uint64_t seed) noexcept nogil:
    cdef uint32_t front
    memcpy(&front, item, sizeof(front))
    return <uint32_t>xxh64_of(<const unsigned char*>item + sizeof(Item), item.size - sizeof(Item), seed ^ front)


cdef int publish(Item* item, uint16_t size, uint8_t kind, uint8_t flags, uint64_t seed) noexcept nogil:
    cdef uint32_t front = size | <uint32_t>kind << 16 | <uint32_t>flags << 24
    item.kind = kind
    item.flags = flags
    item.check = <uint32_t>xxh64_of(<const unsigned char*>item + sizeof(Item), size - sizeof(Item), seed ^ front)
    release_fence()
    item.size = size
    return 0


cdef int seal_frame(Header* header, uint32_t end) noexcept nogil:
    header.ends[header.frames] = end
    release_fence()
    header.frames += 1
    return 0


cdef uint32_t _scan_items(const Header* header, uint32_t start, uint32_t limit, Scan* scan) noexcept nogil:
    """Where the whole items of the frame at `start` end, at `limit` at the latest; clicks are added to `scan`."""
    cdef const unsigned char* base = <const unsigned char*>header
    cdef uint64_t seed = frame_seed(header, start)
    cdef uint32_t at = start
    cdef const Item* item
    while limit - at >= ITEM_BYTES_MIN:
        item = <const Item*>(base + at)
        if item.size < ITEM_BYTES_MIN or item.size % 4 != 0 or item.size > limit - at:
            break
        if item_check(item, seed) != item.check:
            break
        if item.kind == CLICK and scan.first_ms == 0:
            scan.first_ms = (<const ClickItem*>item).time_ms
        if item.kind == CLICK and item.flags & UNKNOWN_CODE:
            scan.unknown_recorded += 1
        elif item.kind == CLICK:
            scan.recorded += 1
        at += item.size
    return at


cdef bint _is_frame(const Header* header, uint32_t start, uint32_t end) noexcept nogil:
    return start < end <= header.size and end - start <= FRAME_BYTES_MAX and end % 4 == 0


cdef int _fill(Header* header, uint32_t start, uint32_t at, uint32_t end) noexcept nogil:
    """Put texts that no click names in place of what was torn within a sealed frame.

    The frame may have been sent before the power cut: it must keep its place and be readable.
    """
    cdef uint64_t seed = frame_seed(header, start)
    cdef TextItem* text
    cdef uint16_t size
    while at < end:
        size = min(end - at, <uint32_t>FILLER_BYTES_MAX)
        if 0 < end - at - size < ITEM_BYTES_MIN:
            size -= ITEM_BYTES_MIN
        text = <TextItem*>(<unsigned char*>header + at)
        memset(text, 0, size)
        text.length = min(size - sizeof(TextItem), <size_t>TEXT_BYTES_MAX)
        publish(&text.item, size, TEXT, 0, seed)
        at += size
    return 0


cdef int _repair_sealed(Header* header, Scan* scan) noexcept nogil:
    """Make the sealed frames readable; a table that makes no sense from some frame on is cut there."""
    cdef uint32_t start = PAGE, end, at, i, frames = min(header.frames, <uint32_t>FRAMES_MAX)
    cdef Scan before
    for i in range(frames):
        end = header.ends[i]
        if not _is_frame(header, start, end):
            header.frames = i
            break
        before = scan[0]
        at = _scan_items(header, start, end, scan)
        if 0 < end - at < ITEM_BYTES_MIN:
            scan[0] = before                    # they are found again behind the table
            header.frames = i
            break
        _fill(header, start, at, end)
        start = end
    header.frames = min(header.frames, frames)
    return 0


cdef int _seal_rest(Header* header, Scan* scan) noexcept nogil:
    """Seal what is whole behind the last sealed frame. Where a frame was sealed and that was lost, an item follows whose
    check is that of a frame's first one: there the next frame begins, as it did before."""
    cdef uint32_t start = header.ends[header.frames - 1] if header.frames else <uint32_t>PAGE, end
    while header.frames < FRAMES_MAX:
        end = _scan_items(header, start, min(header.size, start + FRAME_BYTES_MAX), scan)
        if end == start:
            break
        seal_frame(header, end)
        start = end
    return 0


# ---------------------------------------------------------------------------------------------------- accounts

cdef Account* account_of(Books* books) noexcept nogil:
    return &books.accounts[books.turn & 1]


cdef Account* next_account(Books* books) noexcept nogil:
    cdef Account* account = &books.accounts[(books.turn + 1) & 1]
    account[0] = account_of(books)[0]
    return account


cdef int turn_account(Books* books) noexcept nogil:
    release_fence()
    books.turn += 1
    return 0


cdef int note_closing(Books* books, uint32_t number, uint64_t recorded, uint64_t unknown_recorded) noexcept nogil:
    cdef Closing* closing = &books.closings[number % CLOSINGS]
    closing.after = 0
    release_fence()
    closing.recorded = recorded
    closing.unknown_recorded = unknown_recorded
    release_fence()
    closing.after = <uint64_t>number + 1
    return 0


cdef inline uint64_t _lost(uint64_t noted, uint64_t found) noexcept nogil:
    return noted - found if noted > found else 0


cdef bytes _edge_id(str edge_id):
    cdef bytes encoded = edge_id.encode("ascii")
    if not 1 <= len(encoded) <= EDGE_ID_BYTES_MAX:
        raise ValueError(f"edge id {edge_id!r} is not 1..{EDGE_ID_BYTES_MAX} bytes long")
    return encoded


cdef str _read_edge_id(const uint8_t* at, uint8_t size):
    cdef bytes encoded = (<const char*>at)[: min(size, <uint8_t>EDGE_ID_BYTES_MAX)]
    if not 1 <= size <= EDGE_ID_BYTES_MAX or not encoded.isascii():
        raise FormatError("value", f"an edge id of {size} bytes that begins with {encoded!r}")
    return encoded.decode("ascii")


cdef int _check_magic(const uint8_t* found, const char* magic, str name) except -1:
    if memcmp(found, magic, 7) != 0:
        raise FormatError("value", f"this is no {name}: it begins with {(<const char*>found)[:8]!r}")
    if found[7] != magic[7]:
        raise FormatError("version", f"{name} of unknown format version {found[7]}; this build reads {magic[7]}")
    return 0


# ---------------------------------------------------------------------------------------------------- public API

cdef int close_segment(Header* header) noexcept nogil:
    """No frame will come behind those that are there, and what is behind them is not needed."""
    header.is_closed = 1
    release_fence()                     # a segment that is not closed has as many bytes as its file
    header.size = PAGE if header.frames == 0 else header.ends[min(header.frames, <uint32_t>FRAMES_MAX) - 1]
    return 0


cdef class Mapping:

    cdef int _open(self, object mapping, bint is_writable) except -1:
        cdef Py_buffer buffer
        view = memoryview(mapping)
        if view.nbytes < PAGE:
            raise FormatError("truncated", f"a file of {view.nbytes} bytes has not even its first page")
        PyObject_GetBuffer(view, &buffer, PyBUF_WRITABLE if is_writable else PyBUF_SIMPLE)
        self._view = view
        self._bytes = <unsigned char*>buffer.buf
        self.size = view.nbytes
        self.is_writable = is_writable
        PyBuffer_Release(&buffer)
        return 0


@cython.final
cdef class SegmentMap(Mapping):

    def __cinit__(self, object mapping not None, bint is_writable=False):
        self._open(mapping, is_writable)
        self.header = <Header*>self._bytes

    def __init__(self, mapping, is_writable=False):
        self._check()

    cdef int _check(self) except -1:
        _check_magic(self.header.magic, SEGMENT_MAGIC, "segment")
        if self.header.size < PAGE:
            raise FormatError("value", f"the header of a segment says that it has {self.header.size} bytes")
        _read_edge_id(self.header.edge_id, self.header.edge_id_size)
        return 0

    cdef int _writable(self) except -1:
        if not self.is_writable:
            raise ValueError("the segment was opened for reading")
        return 0

    @staticmethod
    def format(mapping, uint64_t writer, uint32_t number, str edge_id not None):
        cdef SegmentMap made = SegmentMap.__new__(SegmentMap, mapping, True)
        cdef bytes encoded = _edge_id(edge_id)
        if not SEGMENT_BYTES_MIN <= made.size <= SEGMENT_BYTES_MAX or made.size % 4 != 0:
            raise ValueError(f"a segment cannot have {made.size} bytes")
        made.header.writer = writer
        made.header.number = number
        made.header.size = made.size
        made.header.edge_id_size = len(encoded)
        memcpy(made.header.edge_id, <const char*>encoded, len(encoded))
        memcpy(made.header.magic, SEGMENT_MAGIC, 8)
        return made

    @property
    def writer(self):
        return self.header.writer

    @property
    def number(self):
        return self.header.number

    @property
    def edge_id(self):
        return _read_edge_id(self.header.edge_id, self.header.edge_id_size)

    @property
    def created_ms(self):
        return self.header.created_ms

    @property
    def is_closed(self):
        cdef bint is_closed = self.header.is_closed != 0
        acquire_fence()                     # the frames that are read after this are all of a closed one's
        return is_closed

    @property
    def noted(self):
        return self.header.recorded, self.header.unknown_recorded

    def frames(self, uint32_t first=0):
        cdef uint32_t count = min(self.header.frames, <uint32_t>FRAMES_MAX), i, start, end
        acquire_fence()
        found = []
        for i in range(first, count):
            start = PAGE if i == 0 else self.header.ends[i - 1]
            end = self.header.ends[i]
            if not _is_frame(self.header, start, end):
                raise FormatError("value", f"its table says that frame {i} is from {start} to {end}")
            found.append((start, end))
        return found

    def body(self, uint32_t start, uint32_t end):
        if not PAGE <= start < end <= self.size:
            raise ValueError(f"{start} to {end} is no frame of a segment of {self.size} bytes")
        return PyBytes_FromStringAndSize(<const char*>self._bytes + start, end - start)

    def repair(self):
        cdef Scan scan
        self._writable()
        memset(&scan, 0, sizeof(Scan))
        # A power cut may leave a file that was cut already under a header from before.
        self.header.size = min(self.header.size, self.size & ~<uint32_t>3)
        with nogil:
            _repair_sealed(self.header, &scan)
            _seal_rest(self.header, &scan)
        if self.header.created_ms == 0:
            self.header.created_ms = scan.first_ms      # as its writer did, whose page was lost
        return scan.recorded, scan.unknown_recorded

    def close(self):
        self._writable()
        close_segment(self.header)

    @property
    def used(self):
        return self.header.size


@cython.final
cdef class LedgerMap(Mapping):

    def __cinit__(self, object mapping not None, bint is_writable=False):
        self._open(mapping, is_writable)
        self.books = <Books*>self._bytes

    def __init__(self, mapping, is_writable=False):
        _check_magic(self.books.magic, LEDGER_MAGIC, "ledger")
        _read_edge_id(self.books.edge_id, self.books.edge_id_size)

    @staticmethod
    def format(mapping, uint64_t writer, str edge_id not None, int64_t started_ms, bytes boot not None):
        cdef LedgerMap made = LedgerMap.__new__(LedgerMap, mapping, True)
        cdef bytes encoded = _edge_id(edge_id)
        if len(boot) != sizeof(made.books.boot):
            raise ValueError(f"the identity of a boot has 16 bytes, not {len(boot)}")
        made.books.writer = writer
        made.books.started_ms = started_ms
        memcpy(made.books.boot, <const char*>boot, sizeof(made.books.boot))
        made.books.edge_id_size = len(encoded)
        memcpy(made.books.edge_id, <const char*>encoded, len(encoded))
        memcpy(made.books.magic, LEDGER_MAGIC, 8)
        return made

    @property
    def writer(self):
        return self.books.writer

    @property
    def edge_id(self):
        return _read_edge_id(self.books.edge_id, self.books.edge_id_size)

    @property
    def started_ms(self):
        return self.books.started_ms

    @property
    def boot(self):
        return (<const char*>self.books.boot)[: sizeof(self.books.boot)]

    @property
    def segment(self):
        return account_of(self.books).segment

    @property
    def checked(self):
        return account_of(self.books).checked

    def read(self):
        cdef Account account
        cdef uint64_t turn = self.books.turn
        acquire_fence()
        account = self.books.accounts[turn & 1]
        acquire_fence()
        while self.books.turn != turn:          # its writer has turned to the other one meanwhile
            turn = self.books.turn
            acquire_fence()
            account = self.books.accounts[turn & 1]
            acquire_fence()
        dropped = [self.books.dropped[reason] for reason in range(REASONS)]
        dropped[REASONS - 1] += account.torn
        unknown_dropped = sum(self.books.unknown_dropped[reason] for reason in range(REASONS)) + account.unknown_torn
        return (
            account.recorded + account.open_recorded,
            account.unknown_recorded + account.open_unknown,
            dict(zip(wire_report.DROP_REASONS, dropped)),
            unknown_dropped,
        )

    def settle(self, uint32_t number, found, noted):
        cdef Account* new
        cdef Closing* closing = &self.books.closings[number % CLOSINGS]
        cdef uint64_t recorded, unknown_recorded, noted_recorded, noted_unknown
        if not self.is_writable:
            raise ValueError("the ledger was opened for reading")
        if number < account_of(self.books).checked:
            return
        recorded, unknown_recorded = found
        noted_recorded, noted_unknown = noted
        new = next_account(self.books)
        if closing.after == <uint64_t>number + 1:
            # The page of a segment is written at another time than the ledger's: it may be from before the closing.
            noted_recorded, noted_unknown = closing.recorded, closing.unknown_recorded
        if number < new.segment:                # counted when it was closed
            new.recorded -= min(new.recorded, _lost(noted_recorded, recorded))
            new.unknown_recorded -= min(new.unknown_recorded, _lost(noted_unknown, unknown_recorded))
        else:
            if number == new.segment:
                noted_recorded, noted_unknown = new.open_recorded, new.open_unknown
            new.recorded += recorded
            new.unknown_recorded += unknown_recorded
            new.open_recorded = new.open_unknown = 0
            new.segment = number + 1
        new.torn += _lost(noted_recorded, recorded)
        new.unknown_torn += _lost(noted_unknown, unknown_recorded)
        new.checked = number + 1
        turn_account(self.books)
