"""Rows of links as COPY sends them, checked, and the records that they are on a shard. A leaf: cimports only libc."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

cdef enum:
    NEVER = -1                  # in place of an instant that is not set
    NO_MAX_AGE = -1             # in place of a cache lifetime that is not set
    ROW_BYTES_MOST = 65_536     # eight times a target
    KEY_BYTES_MAX = 78          # "l:", a domain's id, ":", a code
    RECORD_BYTES_MAX = 8234     # head, two instants, a target with its length, a tail with a lifetime

cdef enum RowKind:
    ROW = 1
    END = 2                     # of the COPY
    CUT = 0                     # more bytes are needed
    BAD = -1                    # no row of COLUMNS

cdef enum Fault:
    NO_FAULT = 0
    BAD_ID
    BAD_VERSION
    BAD_CODE
    BAD_STATUS
    BAD_TARGET
    BAD_INSTANT
    BAD_MAX_AGE


cdef struct Link:
    int64_t id
    int64_t key_hash            # as it is stored: signed
    int64_t version
    int64_t not_before_ms       # since 1970 UTC, or NEVER
    int64_t not_after_ms        # since 1970 UTC, or NEVER
    int32_t domain_id
    int32_t cache_max_age_s     # or NO_MAX_AGE
    int32_t target_index        # of the shard, as the query numbers them
    int16_t status
    bint is_enabled
    bint is_deleted
    const uint8_t* code         # borrowed from the bytes that were read
    size_t code_size
    const uint8_t* target       # borrowed likewise
    size_t target_size


# The bytes of the COPY's head at `at`; 0 if it does not end before `end`, negative if it is none.
cdef Py_ssize_t read_head(const uint8_t* at, const uint8_t* end) noexcept nogil

# A RowKind; `size` is how many bytes it took. `end - at` beyond ROW_BYTES_MOST do not help a row that is CUT: it is BAD.
cdef int read_row(const uint8_t* at, const uint8_t* end, Link* link, size_t* size) noexcept nogil

# Why no record can hold the link; a deleted one needs an id and a version only.
cdef Fault fault_of(const Link* link) noexcept nogil

# Both return how many bytes they wrote. For a link without a fault KEY_BYTES_MAX and RECORD_BYTES_MAX are enough.
cdef size_t put_key(uint8_t* at, const Link* link) noexcept nogil
cdef size_t put_record(uint8_t* at, const Link* link) noexcept nogil
