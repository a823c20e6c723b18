"""The clicks of a batch. Texts that frames share are kept once for the batch, by their bytes."""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, malloc

from control.clicks._items cimport FRAME_CLICKS_MAX, FRAME_TEXTS_MAX, Text

from control.clicks._document import FoldError

cdef enum:
    DAY_MS = 86_400_000
    SLOT_MS = 900_000

# The last instant that a column of dates, or a datetime, can hold: what an edge's clock says beyond is as wrong as this.
cdef uint64_t INSTANT_MS_MAX = 253_402_300_799_999


cdef Member* new_members(size_t count) except NULL:
    cdef Member* members = <Member*>malloc((count or 1) * sizeof(Member))
    if members == NULL:
        raise MemoryError(f"no memory to group {count} clicks")
    return members


cdef uint32_t _number(dict numbers, list texts, const Text* text) except? 0:
    """The number of a text, which is entered if it is new."""
    cdef bytes key = PyBytes_FromStringAndSize(<const char*>text.at, text.size)
    number = numbers.get(key)
    if number is None:
        number = numbers[key] = len(texts)
        texts.append(key)
    return number


cdef int _date(Click* click, Row* row) noexcept:
    click.time_ms = min(click.time_ms, INSTANT_MS_MAX)
    row.day = <uint32_t>(click.time_ms // DAY_MS)
    row.slot = <uint8_t>(click.time_ms % DAY_MS // SLOT_MS)
    return 0


@cython.final
cdef class Clicks:

    def __cinit__(self, size_t count_max):
        self.clicks = <Click*>malloc((count_max or 1) * sizeof(Click))
        self.rows = <Row*>malloc((count_max or 1) * sizeof(Row))
        if self.clicks == NULL or self.rows == NULL:
            raise MemoryError(f"no memory for {count_max} clicks")
        self.count_max = <uint32_t>count_max
        self.texts = [b""]
        self.code_texts = [b""]
        self._text_numbers = {}
        self._code_numbers = {}

    def __dealloc__(self):
        free(self.clicks)
        free(self.rows)

    cdef int take(self, Frame* frame) except -1:
        """Append a frame's clicks, with the batch's numbers for its texts and codes."""
        cdef uint32_t[FRAME_TEXTS_MAX + 1] texts
        cdef uint32_t[FRAME_CLICKS_MAX + 1] codes
        cdef uint32_t i
        cdef Click* click
        if frame.clicks_count > self.count_max - self.count:
            raise FoldError("full", f"the frame has {frame.clicks_count} clicks, the batch has room for "
                                    f"{self.count_max - self.count}: add it to the next")
        texts[0] = codes[0] = 0
        for i in range(1, frame.texts_count + 1):
            texts[i] = _number(self._text_numbers, self.texts, &frame.texts[i])
        for i in range(1, frame.codes_count + 1):
            codes[i] = _number(self._code_numbers, self.code_texts, &frame.codes[i])
        for i in range(frame.clicks_count):
            click = &self.clicks[self.count + i]
            click[0] = frame.clicks[i]
            click.agent = texts[click.agent]
            click.referrer = texts[click.referrer]
            click.query = texts[click.query]
            click.code = codes[click.code]
            _date(click, &self.rows[self.count + i])
        self.count += frame.clicks_count
        self.unknown += frame.unknown
        self._link_days = None
        return 0

    cdef Grouping link_days(self):
        cdef Member* members
        cdef uint32_t i, found = 0
        if self._link_days is None:
            members = new_members(self.count - self.unknown)
            for i in range(self.count):
                if self.clicks[i].link_id != 0:
                    members[found] = Member(self.clicks[i].link_id, self.rows[i].day, i)
                    found += 1
            self._link_days = Grouping.of(members, found)
        return self._link_days
