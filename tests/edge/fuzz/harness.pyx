"""What a fuzzer's input must not upset. An exception is a finding; so is what the sanitizers see in the leaves."""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from edge._host cimport HOST_BYTES_MAX
from edge._http cimport HEAD_BYTES_MAX, Head, find_head_end, parse_head, resume_head
from edge._path cimport CODE_BYTES_MAX, CODE_PATH, classify_path, decode_code

from tests.edge.http_oracle import check_head, check_path

cdef enum:
    CUTS = 3                    # places at which each input is split, chosen by its bytes
    PATH_BYTES_MAX = 512        # inputs up to here are also tried as a path


cdef int _parse_part(const char* data, size_t size) except? -1:
    """The verdict on these bytes alone, in memory that ends where they end."""
    cdef Head head
    cdef char* part = <char*>malloc(size)
    memcpy(part, data, size)
    verdict = parse_head(part, size, &head)
    free(part)
    return verdict


cdef int _check_cut(const char* data, size_t size, size_t cut, int whole) except -1:
    cdef Head head
    cdef int part = _parse_part(data, cut), resumed
    cdef size_t end = find_head_end(data, size, 0)
    assert part == 0 or part == whole, (cut, part, whole)
    if part != 0:
        return 0
    resumed = resume_head(data, size, cut, &head)
    if end > 0 or size >= HEAD_BYTES_MAX or cut == 0:
        assert resumed == whole, (cut, resumed, whole)
    else:
        assert resumed == 0
    if end == 0 or end > cut:
        assert find_head_end(data, size, cut) == end
    return 0


cdef int _check_text(const char* data, int taken, const char* at, size_t size) except -1:
    assert size == 0 or (data <= at and at + size <= data + taken)
    return 0


cdef int _check_borrowed(const char* data, int taken, Head* head) except -1:
    assert head.path_size == 0 or head.path[0] == c"/"
    if head.path_size > 1:
        _check_text(data, taken, head.path, head.path_size)
    assert head.host_size <= HOST_BYTES_MAX
    _check_text(data, taken, head.forwarded.at, head.forwarded.size)
    _check_text(data, taken, head.forwarded_for.at, head.forwarded_for.size)
    _check_text(data, taken, head.user_agent.at, head.user_agent.size)
    _check_text(data, taken, head.referer.at, head.referer.size)
    _check_text(data, taken, head.request_id.at, head.request_id.size)
    return _check_text(data, taken, head.host, head.host_size)


cdef int _check_path(const char* path, size_t size) except -1:
    cdef char* code = <char*>malloc(CODE_BYTES_MAX)
    code_size = decode_code(path, size, code)
    free(code)
    assert code_size == -1 or 0 < code_size <= CODE_BYTES_MAX
    assert (code_size > 0) == (classify_path(path, size) == CODE_PATH)
    check_path(path[:size])
    return 0


cdef public int fuzz_one(const uint8_t* bytes_at, size_t size) except -1:
    """Called by the fuzzer for each input."""
    cdef const char* data = <const char*>bytes_at
    cdef Head head
    cdef int whole = parse_head(data, size, &head)
    cdef size_t end = find_head_end(data, size, 0)
    cdef uint64_t seed = size
    cdef size_t i
    assert whole <= 0 or <size_t>whole == end, (whole, end)
    assert whole != 0 or (end == 0 and size < HEAD_BYTES_MAX)
    for i in range(size):
        seed = seed * 31 + bytes_at[i]
    for i in range(CUTS if size > 0 else 0):
        seed = seed * <uint64_t>6364136223846793005 + 1      # Knuth's; the high bits are the random ones
        _check_cut(data, size, (seed >> 33) % size, whole)
    if whole > 0:
        _check_cut(data, size, whole - 1, whole)
        assert _parse_part(data, whole) == whole
        _check_borrowed(data, whole, &head)
        _check_path(head.path, head.path_size)
        check_head(data[:size])
    elif 0 < size <= PATH_BYTES_MAX and data[0] == c"/":
        _check_path(data, size)
    return 0
