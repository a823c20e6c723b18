"""The click log of one worker: each click is in a mapped file before its answer is sent (I2).

    request ──▶ describe             what may be recorded of it: texts cut, address truncated, nothing of who opted out
                   │ answered at once              │ has to wait for the resolver
                   ▼                               ▼
                append ◀──────────────────────── keep: a copy, until its answer
                   │
                   ├ _make_room      seals the frame that is full; begins the spare when the segment is
                   ├ _number         the texts' numbers in this frame; a new text is written first
                   └ _write_click    payload, check, size; then it is counted in the ledger

    tend, from the worker's timer: seals a frame that is a second old, ends a segment that is a minute old, has the next
    pages in memory before they are written. supply: the spare, made by writer.py in a thread.

    segment   page │ text click click text click │ click text click │ click ··· │ not used yet
                   └ sealed frame ───────────────┘└ sealed frame ───┘└ under way

The table of texts maps the hash of a text (XXH64) to its number in the frame under way. It is direct-mapped: a place holds
one text, and a text that finds another one there is written again and takes the place. Two texts are the same if their
bytes are: those of the item in the segment. A new frame makes all places void by its number.

Invariants:
- a click takes no system call, no Python object and no memory; the bytes it may need are free before its first is written;
- what is published is whole: a process may be killed between any two stores (`_segment.publish`);
- each click is recorded or counted as dropped, never neither.
"""

cimport cython
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from edge._client cimport is_ipv4, set_address
from edge._counters cimport (
    CLICKS_DROPPED, CLICKS_RECORDED, UNKNOWN_CLICKS_DROPPED, UNKNOWN_CLICKS_RECORDED,
)
from edge._http cimport HEAD, parse_head
from edge._ring cimport xxh64_of
from edge._segment cimport (
    CLICK, CODE_BYTES_MAX, FRAME_BYTES_MAX, FRAMES_MAX, IS_HEAD, IS_TLS, NO_AGENT, OPTED_OUT, PAGE, TEXT, TEXT_BYTES_MAX,
    UNKNOWN_CODE, ClickItem, Item, TextItem, account_of, close_segment, frame_seed, next_account, note_closing, publish,
    seal_frame, turn_account,
)

from wire.report import DROP_REASONS

cdef extern from "<sys/mman.h>" nogil:
    int madvise(void* at, size_t size, int advice)

cdef enum:
    MADV_POPULATE_WRITE = 23    # Linux 5.14; before that a page is fetched when it is first written
    POPULATED_BYTES = 524288    # ahead of the next item: what 100,000 clicks a second fill in a tenth of a second
    POPULATED_LEAST = 65536     # at once, so that an idle worker makes no calls
    SEGMENT_MS_MAX = 60000      # so that what is shipped can be deleted
    # An item of each text of a visit, and its click.
    VISIT_BYTES_MAX = VISIT_TEXTS * (sizeof(TextItem) + TEXT_BYTES_MAX + 3) + sizeof(ClickItem) + 16 + CODE_BYTES_MAX + 3

_REASONS = {reason: place for place, reason in enumerate(DROP_REASONS[:NO_SEGMENT + 1])}


cdef inline uint16_t _padded(size_t size) noexcept nogil:
    return <uint16_t>((size + 3) & ~<size_t>3)


cdef inline int _cut(Text* text, size_t size_max) noexcept nogil:
    text.size = min(text.size, size_max)
    return 0


cdef int _set_address(const Address* address, bint is_truncated, Visit* visit) noexcept nogil:
    """The client's address in the form that the settings ask for: /24 of IPv4, /48 of IPv6 if truncated."""
    cdef bint is_short = is_ipv4(address)
    cdef size_t kept = 16
    if is_short:
        kept = 3 if is_truncated else 4
        visit.address_size = 4
        memset(visit.address, 0, 4)
        memcpy(visit.address, address.octets + 12, kept)
        return 0
    kept = 6 if is_truncated else 16
    visit.address_size = 16
    memset(visit.address, 0, 16)
    memcpy(visit.address, address.octets, kept)
    return 0


cdef bint _is_nobody(const Address* address) noexcept nogil:
    """A peer on a Unix socket."""
    cdef int i
    for i in range(16):
        if address.octets[i] != 0:
            return False
    return True


@cython.final
cdef class ClickLog:

    def __cinit__(self, Counters counters not None, config):
        self._known = <Known*>calloc(KNOWN_TEXTS, sizeof(Known))
        if self._known == NULL:
            raise MemoryError("no memory for the texts of the click log")

    def __dealloc__(self):
        free(self._known)

    def __init__(self, Counters counters not None, config):
        self._counters = counters
        self._counts = counters.at
        self.is_on = config.clicks
        self.has_addresses = config.clicks and config.click_address != "none"
        self.has_unknown = config.clicks and config.click_unknown_codes
        self._is_truncated = config.click_address == "truncated"
        self._has_text[0] = config.click_user_agent
        self._has_text[1] = config.click_referrer
        self._has_text[2] = config.click_query
        self._honors_opt_out = config.click_honor_opt_out
        self._seal_ms = config.click_seal_ms
        self._retired = []
        self._books = &self._loose
        self._account = account_of(self._books)
        self._reason = NO_SEGMENT

    # ------------------------------------------------------------------------------------------------ one click

    cdef int describe(self, const Head* head, const Address* address, bint is_tls, Visit* visit) noexcept:
        cdef Text[VISIT_TEXTS] texts
        cdef int i
        visit.flags = (IS_HEAD if head.method == HEAD else 0) | (IS_TLS if is_tls else 0)
        visit.flags |= 0 if self._has_text[0] else NO_AGENT
        visit.address_size = 0
        visit.code.size = 0
        for i in range(VISIT_TEXTS):
            visit.texts[i].size = 0
        if self._honors_opt_out and (head.has_gpc or head.has_dnt):
            visit.flags |= OPTED_OUT
            return 0
        texts[0], texts[1], texts[2] = head.user_agent, head.referer, head.query
        for i in range(VISIT_TEXTS):
            if self._has_text[i]:
                visit.texts[i] = texts[i]
                _cut(&visit.texts[i], TEXT_BYTES_MAX)
        if self.has_addresses and address != NULL and not _is_nobody(address):
            _set_address(address, self._is_truncated, visit)
        return 0

    cdef Visit* keep(self, const Visit* visit) noexcept:
        cdef size_t size = sizeof(Visit) + visit.code.size
        cdef Visit* kept
        cdef char* at
        cdef int i
        for i in range(VISIT_TEXTS):
            size += visit.texts[i].size
        kept = <Visit*>malloc(size)
        if kept == NULL:
            return NULL
        kept[0] = visit[0]
        at = <char*>kept + sizeof(Visit)
        for i in range(VISIT_TEXTS):
            if visit.texts[i].size:
                memcpy(at, visit.texts[i].at, visit.texts[i].size)
                kept.texts[i].at = at
                at += visit.texts[i].size
        if visit.code.size:
            memcpy(at, visit.code.at, visit.code.size)
            kept.code.at = at
        return kept

    cdef int append(
        self, const Visit* visit, uint64_t link_id, uint32_t domain_id, uint16_t status, int64_t now_ms
    ) noexcept:
        if not self.is_on:
            return 0
        # A link id that the format cannot hold is none: the click is one of the code.
        return self._append(visit, 0 if link_id >> 63 else link_id, domain_id, status, now_ms)

    cdef int append_unknown(self, const Visit* visit, uint32_t domain_id, uint16_t status, int64_t now_ms) noexcept:
        if not self.has_unknown:
            return 0
        if self._is_crowded:
            return self._drop(True, BACKLOG_FULL)
        return self._append(visit, 0, domain_id, status, now_ms)

    cdef int _append(
        self, const Visit* visit, uint64_t link_id, uint32_t domain_id, uint16_t status, int64_t now_ms
    ) noexcept:
        cdef bint is_unknown = link_id == 0
        if self._at + VISIT_BYTES_MAX > self._limit and not self._make_room(now_ms):
            return self._drop(is_unknown, self._reason)
        if self._at == self._frame_start:
            self._frame_ms = now_ms
            if self._at == PAGE:             # the segment's first
                self._segment_ms = now_ms
                self._segment.header.created_ms = now_ms + self._wall_ms
        self._write_click(visit, link_id, domain_id, status, now_ms + self._wall_ms)
        # Counted once it is published: of a killed writer the segment under way is counted by its items.
        if is_unknown:
            self._account.open_unknown += 1
            self._counts[<int>UNKNOWN_CLICKS_RECORDED] += 1
        else:
            self._account.open_recorded += 1
            self._counts[<int>CLICKS_RECORDED] += 1
        return 0

    cdef int _write_click(
        self, const Visit* visit, uint64_t link_id, uint32_t domain_id, uint16_t status, int64_t time_ms
    ) noexcept:
        cdef ClickItem* click
        cdef unsigned char* tail
        cdef uint16_t[VISIT_TEXTS] numbers
        cdef size_t size
        cdef uint8_t code_size = visit.code.size if link_id == 0 else 0
        cdef int i
        for i in range(VISIT_TEXTS):
            numbers[i] = self._number(&visit.texts[i]) if visit.texts[i].size else 0
        # In bounds: VISIT_BYTES_MAX were free before the texts. What is not set here is 0, as the file was made.
        click = <ClickItem*>(self._base + self._at)
        tail = <unsigned char*>click + sizeof(ClickItem)
        size = _padded(sizeof(ClickItem) + visit.address_size + code_size)
        click.time_ms = time_ms
        click.link_id = link_id
        click.domain_id = domain_id
        click.status = status
        click.texts = numbers
        click.address_size = visit.address_size
        click.code_size = code_size
        memcpy(tail, visit.address, visit.address_size)
        if code_size:
            memcpy(tail + visit.address_size, visit.code.at, code_size)
        publish(&click.item, size, CLICK, visit.flags | (UNKNOWN_CODE if link_id == 0 else 0), self._seed)
        self._at += size
        return 0

    cdef uint16_t _number(self, const Text* text) noexcept:
        """The number of a text in the frame under way, which has it from now on."""
        cdef uint64_t hash = xxh64_of(<const unsigned char*>text.at, text.size, 0)
        # In bounds: KNOWN_TEXTS is a power of two.
        cdef Known* known = &self._known[hash & (KNOWN_TEXTS - 1)]
        cdef TextItem* item
        if known.frame == self._frame and known.tag == <uint32_t>(hash >> 32):
            item = <TextItem*>(self._base + known.at)
            if item.length == text.size and memcmp(<char*>item + sizeof(TextItem), text.at, text.size) == 0:
                return known.number
        known.frame = self._frame
        known.tag = <uint32_t>(hash >> 32)
        known.at = self._at
        known.number = self._write_text(text)
        return known.number

    cdef uint16_t _write_text(self, const Text* text) noexcept:
        cdef TextItem* item = <TextItem*>(self._base + self._at)
        cdef uint16_t size = _padded(sizeof(TextItem) + text.size)
        item.length = text.size
        memcpy(<char*>item + sizeof(TextItem), text.at, text.size)
        publish(&item.item, size, TEXT, 0, self._seed)
        self._at += size
        self._texts += 1
        return self._texts

    cdef int _drop(self, bint is_unknown, int reason) noexcept:
        if is_unknown:
            self._books.unknown_dropped[reason] += 1
            self._counts[<int>UNKNOWN_CLICKS_DROPPED] += 1
        else:
            self._books.dropped[reason] += 1
            self._counts[<int>CLICKS_DROPPED + reason] += 1
        return 0

    # ------------------------------------------------------------------------------------------------ frames, segments

    cdef bint _make_room(self, int64_t now_ms) noexcept:
        """Begin another frame, in the next segment if this one is full; whether that was possible."""
        if self._segment is None:
            return False
        self._seal()
        if self._at + VISIT_BYTES_MAX <= self._limit:
            return True
        self._end_segment()
        return self._begin_segment()

    cdef int _seal(self) noexcept:
        if self._at > self._frame_start:
            seal_frame(self._segment.header, self._at)
            self._begin_frame()
        return 0

    cdef int _begin_frame(self) noexcept:
        self._frame += 1
        self._texts = 0
        self._frame_start = self._at
        self._seed = frame_seed(self._segment.header, self._at)
        self._limit = min(self._segment.header.size, self._at + FRAME_BYTES_MAX)
        if self._segment.header.frames == FRAMES_MAX:
            self._limit = self._at          # the table of frames is full, and so the segment
        return 0

    cdef bint _begin_segment(self) noexcept:
        """Make the spare the segment under way; whether there was one."""
        if self._spare is None or self._ledger is None:
            return False
        self._segment, self._spare = self._spare, None
        self._base = self._segment._bytes
        self._at = self._populated = PAGE
        self._begin_frame()
        return True

    cdef int _end_segment(self) noexcept:
        """Close the segment and turn the ledger to the next one.

        1. The counts go into the segment's header and the ledger, 2. the ledger turns, 3. the segment is closed. Killed
        after 1: it is counted anew as the one under way; after 2: it is below the ledger's segment, and so counted already.
        """
        cdef Account* next
        self._seal()
        self._segment.header.recorded = self._account.open_recorded
        self._segment.header.unknown_recorded = self._account.open_unknown
        note_closing(
            self._books, self._segment.header.number, self._account.open_recorded, self._account.open_unknown
        )
        next = next_account(self._books)
        next.recorded += next.open_recorded
        next.unknown_recorded += next.open_unknown
        next.open_recorded = next.open_unknown = 0
        next.segment = self._segment.header.number + 1
        turn_account(self._books)
        self._account = next
        close_segment(self._segment.header)
        self._retired.append(self._segment)
        self._segment = None
        self._base = NULL
        self._at = self._limit = self._frame_start = 0
        return 0

    cdef int _populate(self) noexcept:
        """Have the next pages in memory and writable, so that no request waits for the file system."""
        cdef uint32_t end
        self._populated = max(self._populated, self._at & ~<uint32_t>(PAGE - 1))
        end = min(self._segment.header.size, (self._at + POPULATED_BYTES) & ~<uint32_t>(PAGE - 1))
        if end < self._populated + POPULATED_LEAST and end < self._segment.header.size:
            return 0
        if end > self._populated:
            madvise(self._base + self._populated, end - self._populated, MADV_POPULATE_WRITE)
            self._populated = end
        return 0

    # ------------------------------------------------------------------------------------------------ public API

    def open(self, LedgerMap ledger not None):
        """Count in this ledger from now on, with what was dropped before."""
        cdef int reason
        for reason in range(NO_SEGMENT + 1):
            ledger.books.dropped[reason] += self._loose.dropped[reason]
            ledger.books.unknown_dropped[reason] += self._loose.unknown_dropped[reason]
        memset(&self._loose, 0, sizeof(Books))
        self._ledger = ledger
        self._books = ledger.books
        self._account = account_of(self._books)

    def supply(self, SegmentMap spare not None):
        """Have another segment, which is begun at once if none is under way."""
        self._spare = spare
        if self._segment is None:
            self._begin_segment()

    def refuse(self, str reason not None):
        """Say why there is no segment, should one be missing."""
        self._reason = _REASONS[reason]

    def tend(self, int64_t now_ms, int64_t wall_ms):
        """Do what must not wait for a click; called by the worker's timer."""
        self._wall_ms = wall_ms - now_ms
        if self._segment is None:
            return
        if self._at > self._frame_start and now_ms - self._frame_ms >= self._seal_ms:
            self._seal()
        if self._spare is not None and (
            (self._at > PAGE and now_ms - self._segment_ms >= SEGMENT_MS_MAX)
            or self._segment.header.frames == FRAMES_MAX
        ):
            self._end_segment()
            self._begin_segment()
        self._populate()

    def take_retired(self):
        """The numbers of the segments that were closed since the last call; they are mapped no longer."""
        cdef SegmentMap segment
        numbers = []
        for segment in self._retired:
            numbers.append(segment.header.number)
        self._retired.clear()
        return numbers

    def close(self):
        """Seal and close the segment under way, and let the ledger go."""
        if self._segment is not None:
            self._end_segment()
        self._spare = self._ledger = None
        self._books = &self._loose
        self._account = account_of(self._books)

    @property
    def is_crowded(self):
        return self._is_crowded

    @is_crowded.setter
    def is_crowded(self, bint is_crowded):
        self._is_crowded = is_crowded

    @property
    def has_spare(self):
        return self._spare is not None

    @property
    def segment(self):
        return -1 if self._segment is None else self._segment.header.number

    def record(self, bytes head not None, str address, link_id, uint32_t domain_id, uint16_t status, int64_t now_ms):
        """See the stub: for tests; the door calls describe and append."""
        cdef Head parsed
        cdef Address client
        cdef Visit visit
        if parse_head(head, len(head), &parsed) <= 0:
            raise ValueError("this is no request head")
        if address is not None:
            set_address(address, &client)
        self.describe(&parsed, NULL if address is None else &client, False, &visit)
        visit.code.at = parsed.path + 1
        visit.code.size = min(parsed.path_size - 1, <size_t>CODE_BYTES_MAX)
        if link_id:
            self.append(&visit, link_id, domain_id, status, now_ms)
        else:
            self.append_unknown(&visit, domain_id, status, now_ms)

    def time_appends(self, list heads not None, str address not None, int rounds):
        """See the stub: for benchmarks."""
        cdef Head* parsed = <Head*>malloc(len(heads) * sizeof(Head))
        cdef Address client
        cdef Visit visit
        cdef timespec begin, end
        cdef int i, j, count = len(heads)
        if parsed == NULL:
            raise MemoryError("no memory for the heads")
        set_address(address, &client)
        try:
            for i in range(count):
                if parse_head(heads[i], len(heads[i]), &parsed[i]) <= 0:
                    raise ValueError("this is no request head")
            clock_gettime(CLOCK_MONOTONIC, &begin)
            for j in range(rounds):
                for i in range(count):
                    self.describe(&parsed[i], &client, False, &visit)
                    self.append(&visit, i + 1, 1, 302, 0)
            clock_gettime(CLOCK_MONOTONIC, &end)
        finally:
            free(parsed)
        return ((end.tv_sec - begin.tv_sec) * 1e9 + end.tv_nsec - begin.tv_nsec) / (rounds * count)
