"""The items of a frame, decoded. A leaf: cimports only libc."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    FLAG_HEAD = 1                       # wire.click.Flag; test_fold holds them against it
    FLAG_TLS = 2
    FLAG_UNKNOWN_CODE = 4
    FLAG_OPTED_OUT = 8
    FLAG_STALE = 16
    FLAG_NO_AGENT = 32
    FRAME_BYTES_MAX = 128 * 1024        # wire.click's, likewise
    ADDRESS_BYTES_MAX = 16
    FRAME_TEXTS_MAX = 10_922            # FRAME_BYTES_MAX // 12: an item is no smaller
    FRAME_CLICKS_MAX = 3_276            # FRAME_BYTES_MAX // 40: nor is a click


cdef struct Click:
    uint64_t time_ms                    # since 1970 UTC
    uint64_t link_id                    # 0 with FLAG_UNKNOWN_CODE
    uint32_t domain_id
    uint32_t agent, referrer, query     # numbers of texts; 0: none
    uint32_t code                       # number of the code; 0: none
    uint16_t status
    uint8_t flags
    uint8_t address_size                # 0, 4 or 16
    uint8_t[ADDRESS_BYTES_MAX] address  # network order, then zeros


cdef struct Text:
    const uint8_t* at                   # borrowed from the frame's body
    uint32_t size                       # bytes


cdef struct Frame:
    Text[FRAME_TEXTS_MAX + 1] texts     # by number; 0 is unused
    Text[FRAME_CLICKS_MAX + 1] codes    # likewise
    Click[FRAME_CLICKS_MAX] clicks      # their texts and codes are numbers in this frame
    uint32_t texts_count, codes_count   # the highest numbers
    uint32_t clicks_count
    uint32_t unknown                    # clicks of unknown codes, among them
    uint32_t heads                      # HEAD requests with a link, among them
    size_t fault_at                     # offset of the item at which `fault` was found
    const char* fault                   # what is wrong with the body; NULL if nothing is
    bint is_truncated                   # it ends inside an item


# False if the body is anything but what wire.click.decode accepts; then `fault` says why.
cdef bint decode_items(const uint8_t* body, size_t size, Frame* frame) noexcept nogil
