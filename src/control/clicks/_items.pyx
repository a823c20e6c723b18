"""The items of a frame, decoded. wire.click is the format's definition and this decoder's oracle in tests."""

from libc.string cimport memcpy, memset

cdef enum:
    KIND_TEXT = 1
    KIND_CLICK = 2
    FLAGS_KNOWN = 63
    ITEM_BYTES_MIN = 12
    TEXT_HEAD_BYTES = 10
    TEXT_BYTES_MAX = 255
    CLICK_BYTES_MIN = 40
    CODE_BYTES_MAX = 64


cdef inline uint16_t _read16(const uint8_t* at) noexcept nogil:
    return at[0] | <uint16_t>(at[1] << 8)


cdef inline uint32_t _read32(const uint8_t* at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return value


cdef inline uint64_t _read64(const uint8_t* at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return value


cdef inline bint _fail(Frame* frame, const char* fault) noexcept nogil:
    frame.fault = fault
    return False


cdef inline bint _is_padded(const uint8_t* item, size_t size, size_t end) noexcept nogil:
    """What follows the content is fewer than four zeros."""
    cdef size_t i
    if not end <= size < end + 4:
        return False
    for i in range(end, size):
        if item[i] != 0:
            return False
    return True


cdef bint _take_text(const uint8_t* item, size_t size, Frame* frame) noexcept nogil:
    cdef uint16_t length = _read16(item + 8)
    cdef Text* text
    if item[3] != 0 or not 1 <= length <= TEXT_BYTES_MAX:
        return _fail(frame, b"a text has flags, or is not 1..255 bytes long")
    if not _is_padded(item, size, TEXT_HEAD_BYTES + length):
        return _fail(frame, b"a text's item does not end where the text does")
    frame.texts_count += 1              # in bounds: a body has room for FRAME_TEXTS_MAX items
    text = &frame.texts[frame.texts_count]
    text.at = item + TEXT_HEAD_BYTES
    text.size = length
    return True


cdef bint _is_click(const uint8_t* item, size_t size, Frame* frame) noexcept nogil:
    """Whether the fields of a fixed place are those of a click."""
    if size < CLICK_BYTES_MIN or item[3] & ~FLAGS_KNOWN or _read16(item + 38) != 0:
        return _fail(frame, b"a click is too short, has unknown flags, or something where zeros belong")
    if max(_read16(item + 30), _read16(item + 32), _read16(item + 34)) > frame.texts_count:
        return _fail(frame, b"a click names a text that its frame does not have")
    if _read64(item + 8) >> 63 or _read64(item + 16) >> 63:
        return _fail(frame, b"an instant or a link id is not in 0..2^63-1")
    if _read32(item + 24) == 0 or _read32(item + 24) >> 31:
        return _fail(frame, b"a domain id is not in 1..2^31-1")
    if item[36] != 0 and item[36] != 4 and item[36] != 16:
        return _fail(frame, b"an address has not 0, 4 or 16 bytes")
    return True


cdef bint _take_click(const uint8_t* item, size_t size, Frame* frame) noexcept nogil:
    cdef Click* click = &frame.clicks[frame.clicks_count]       # in bounds, as in _take_text
    cdef bint is_unknown = item[3] & FLAG_UNKNOWN_CODE != 0
    if not _is_click(item, size, frame):
        return False
    if not _is_padded(item, size, CLICK_BYTES_MIN + item[36] + item[37]):
        return _fail(frame, b"a click's item does not end where the click does")
    click.link_id = _read64(item + 16)
    if is_unknown != (click.link_id == 0) or is_unknown != (item[37] > 0) or item[37] > CODE_BYTES_MAX:
        return _fail(frame, b"a click has not just one of a link id and a code of 1..64 bytes")
    click.time_ms = _read64(item + 8)
    click.domain_id = _read32(item + 24)
    click.status = _read16(item + 28)
    click.agent = _read16(item + 30)
    click.referrer = _read16(item + 32)
    click.query = _read16(item + 34)
    click.flags = item[3]
    click.address_size = item[36]
    memset(click.address, 0, ADDRESS_BYTES_MAX)
    memcpy(click.address, item + CLICK_BYTES_MIN, click.address_size)
    click.code = _take_code(item + CLICK_BYTES_MIN + click.address_size, item[37], frame) if is_unknown else 0
    frame.clicks_count += 1
    frame.heads += click.flags & (FLAG_HEAD | FLAG_UNKNOWN_CODE) == FLAG_HEAD
    return True


cdef uint32_t _take_code(const uint8_t* at, uint8_t size, Frame* frame) noexcept nogil:
    frame.unknown += 1
    frame.codes_count += 1
    frame.codes[frame.codes_count].at = at
    frame.codes[frame.codes_count].size = size
    return frame.codes_count


cdef bint _take_item(const uint8_t* item, size_t left, Frame* frame) noexcept nogil:
    frame.is_truncated = left < ITEM_BYTES_MIN or left < _read16(item)
    if frame.is_truncated:
        return _fail(frame, b"the frame ends inside an item")
    if _read16(item) < ITEM_BYTES_MIN or _read16(item) % 4 != 0:
        return _fail(frame, b"an item's size is under 12 bytes, or no multiple of 4")
    if item[2] == KIND_TEXT:
        return _take_text(item, _read16(item), frame)
    if item[2] == KIND_CLICK:
        return _take_click(item, _read16(item), frame)
    return _fail(frame, b"an item is of unknown kind")


cdef bint decode_items(const uint8_t* body, size_t size, Frame* frame) noexcept nogil:
    cdef size_t at = 0
    frame.texts_count = frame.codes_count = frame.clicks_count = frame.unknown = frame.heads = 0
    frame.fault = NULL
    frame.fault_at = 0
    frame.is_truncated = False
    if size > FRAME_BYTES_MAX:
        return _fail(frame, b"the frame is larger than 128 KiB")
    while at < size:
        if not _take_item(body + at, size - at, frame):
            frame.fault_at = at
            return False
        at += _read16(body + at)
    return True
