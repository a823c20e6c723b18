"""Links in pages: rows of a COPY to calls of write.lua by target, and compared with what shards hold.

      COPY's bytes ── feed ──▶ _input: the row that is not whole yet
                                  │ read_row, put_key, put_record      _links.pyx
                                  ▼
                       Held, one a target: keys and records, encoded as arguments for Redis
                                  │ take: handed on, not copied
                                  ▼
                       Batch ── commands ──▶ EVALSHA write.lua         compare ◀── replies to MGET

Arguments are kept encoded because keys and records stand one behind the other in a call: a command is two slices.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memmove, memset

from control.moves._links cimport BAD, CUT, END, KEY_BYTES_MAX, NO_FAULT, RECORD_BYTES_MAX, ROW, ROW_BYTES_MOST
from control.moves._links cimport BAD_CODE, BAD_ID, BAD_INSTANT, BAD_MAX_AGE, BAD_STATUS, BAD_TARGET, BAD_VERSION
from control.moves._links cimport fault_of, put_key, put_record, read_head, read_row
from wire._xxh64 cimport xxh64_of

from collections import namedtuple

from control.projection.model import TOMBSTONE_TTL_MS
from control.projection.shard_writer import KEYS_PER_CALL
from wire import keys as wire_keys
from wire import record as wire_record

cdef enum:
    TARGETS_MAX = 65_536
    ARGUMENT_BYTES = 12         # around one: "$", at most five digits, two line ends, and some to spare
    ROOM_FIRST = 4096           # bytes of a buffer that is used

cdef enum Phase:
    BEFORE_HEAD = 0
    IN_ROWS
    ENDED
    DAMAGED

cdef enum Status:
    TAKEN = 0
    NO_MEMORY = -1
    NO_COPY = -2
    NO_TARGET = -3

ROW_BYTES_MAX = ROW_BYTES_MOST
PENDING_BYTES_MAX = PENDING_BYTES_MOST
FAULTY_KEPT = FAULTY_MOST
COLUMNS = (
    "l.id, l.domain_id, l.code, l.key_hash, l.version, l.status, l.target, l.is_enabled, l.not_before, l.not_after, "
    "l.cache_max_age_s, l.deleted_at IS NOT NULL, arc.target"
)
Faulty = namedtuple("Faulty", ("link_id", "reason"))
Differences = namedtuple("Differences", ("missing", "older", "newer", "different", "links", "digest"))

cdef dict REASONS = {
    BAD_ID: "the id is negative",
    BAD_VERSION: f"the version is not in 1..{wire_record.LINK_VERSION_MAX}",
    BAD_CODE: "the code is not ASCII, or longer than 64",
    BAD_STATUS: f"the status is not one of {wire_record.STATUSES}",
    BAD_TARGET: f"the target is not 1..{wire_record.TARGET_BYTES_MAX} bytes of 0x21-0x7e",
    BAD_INSTANT: "an instant is before 1970 or after the year 9999",
    BAD_MAX_AGE: f"the cache lifetime is not in 0..{wire_record.CACHE_MAX_AGE_S_MAX} s",
}
cdef dict PROBLEMS = {
    NO_COPY: "this is no COPY in binary format of _pages.COLUMNS",
    NO_TARGET: "a row is for a target that there is not",
}
cdef size_t CALL_KEYS = KEYS_PER_CALL
cdef bytes LIFETIME = _argument(b"%d" % TOMBSTONE_TTL_MS)
cdef bytes LINK_PREFIX = wire_keys.LINK_PREFIX
cdef uint8_t FLAG_TOMBSTONE = int(wire_record.Flag.TOMBSTONE)


cdef bytes _argument(bytes data):
    return b"$%d\r\n%s\r\n" % (len(data), data)


cdef bint _reserve(Bytes* buffer, size_t more) noexcept nogil:
    """Room for so many more bytes; False if there is no memory."""
    cdef size_t room = buffer.room if buffer.room > 0 else ROOM_FIRST
    cdef uint8_t* at
    while room - buffer.size < more:
        room *= 2
    if room != buffer.room:
        at = <uint8_t*>realloc(buffer.at, room)
        if at == NULL:
            return False
        buffer.at = at
        buffer.room = room
    return True


cdef bint _reserve_entry(Held* held) noexcept nogil:
    cdef uint32_t room = 2 * held.room if held.room > 0 else 64
    cdef Entry* entries
    if held.count < held.room:
        return True
    entries = <Entry*>realloc(held.entries, room * sizeof(Entry))
    if entries == NULL:
        return False
    held.entries = entries
    held.room = room
    return True


@cython.cdivision(True)
cdef void _append(Bytes* buffer, const uint8_t* data, uint32_t size) noexcept nogil:
    """Add an argument for Redis; there is room."""
    cdef uint8_t[5] digits
    cdef uint8_t* at = buffer.at + buffer.size
    cdef uint32_t left = size
    cdef int count = 0
    while left > 0 or count == 0:
        digits[count] = c"0" + <uint8_t>(left % 10)
        left //= 10
        count += 1
    at[0] = c"$"
    at += 1
    while count > 0:
        count -= 1
        at[0] = digits[count]
        at += 1
    memcpy(at, b"\r\n", 2)
    memcpy(at + 2, data, size)
    memcpy(at + 2 + size, b"\r\n", 2)
    buffer.size = at + 4 + size - buffer.at


cdef bint _hold(Held* held, const Link* link) noexcept nogil:
    """Add a link without a fault; False if there is no memory."""
    cdef uint8_t[KEY_BYTES_MAX] key
    cdef uint8_t[RECORD_BYTES_MAX] record
    cdef size_t key_size = put_key(key, link)
    cdef size_t record_size = put_record(record, link)
    cdef Entry* entry
    if not _reserve(&held.keys, key_size + ARGUMENT_BYTES) or not _reserve(&held.records, record_size + ARGUMENT_BYTES):
        return False
    if not _reserve_entry(held):
        return False
    _append(&held.keys, key, <uint32_t>key_size)
    _append(&held.records, record, <uint32_t>record_size)
    entry = &held.entries[held.count]
    entry.key_end = <uint32_t>held.keys.size
    entry.record_end = <uint32_t>held.records.size
    entry.key_size = <uint16_t>key_size
    entry.record_size = <uint16_t>record_size
    held.count += 1
    held.data_bytes += key_size + record_size
    if not link.is_deleted:
        held.links += 1
        held.digest += _digest(key, key_size, record, record_size)
    return True


cdef inline uint64_t _position(const uint8_t* key, size_t size) noexcept nogil:
    """The hash of the link with this Redis key."""
    return xxh64_of(key + 2, size - 2, 0)


cdef inline uint64_t _digest(const uint8_t* key, size_t key_size, const uint8_t* record, size_t size) noexcept nogil:
    return xxh64_of(record, size, _position(key, key_size))


cdef inline size_t _held_bytes(const Held* held) noexcept nogil:
    return held.keys.size + held.records.size + held.count * sizeof(Entry)


cdef inline const uint8_t* _key(const Held* held, uint32_t i) noexcept nogil:
    return held.keys.at + held.entries[i].key_end - 2 - held.entries[i].key_size


cdef inline const uint8_t* _record(const Held* held, uint32_t i) noexcept nogil:
    return held.records.at + held.entries[i].record_end - 2 - held.entries[i].record_size


cdef void _release(Held* held) noexcept nogil:
    free(held.keys.at)
    free(held.records.at)
    free(held.entries)


# ---------------------------------------------------------------------------------------------------- public API


@cython.final
@cython.no_gc
cdef class Reader:

    def __cinit__(self, int targets, bytes write_sha not None, epoch=None):
        if not 0 < targets <= TARGETS_MAX:
            raise ValueError(f"{targets} targets; 1..{TARGETS_MAX} can be told apart")
        self._targets = <Held*>calloc(targets, sizeof(Held))
        if self._targets == NULL:
            raise MemoryError(f"no memory for {targets} targets")
        self._targets_count = targets
        self._sha = write_sha
        self._guard = b"" if epoch is None else _argument(b"%d" % epoch) + _argument(wire_keys.FENCE)

    def __dealloc__(self):
        cdef uint32_t i
        free(self._input.at)
        for i in range(self._targets_count):
            _release(&self._targets[i])
        free(self._targets)

    def __init__(self, targets, write_sha, epoch=None):
        pass

    def feed(self, const uint8_t[::1] data not None):
        cdef uint64_t rows = self.rows
        cdef size_t size = data.shape[0]
        cdef int status
        if size == 0:
            return 0
        if self.pending_bytes + self._input.size + size > PENDING_BYTES_MOST:
            raise ValueError(f"at most {PENDING_BYTES_MAX} bytes are held: take what is pending before more is fed")
        if self._phase == DAMAGED:
            raise ValueError("this COPY failed before")
        if not _reserve(&self._input, size):
            raise MemoryError(f"no memory for {size} bytes of rows")
        memcpy(self._input.at + self._input.size, &data[0], size)
        self._input.size += size
        with nogil:
            status = self._take_input()
        if status != TAKEN:
            self._phase = DAMAGED
            if status == NO_MEMORY:
                raise MemoryError(f"no memory for records beside {self.pending_bytes} bytes")
            raise ValueError(PROBLEMS[status])
        return self.rows - rows

    cdef int _take_input(self) noexcept nogil:
        """Take what is whole of the input and keep the rest; a Status."""
        cdef const uint8_t* at = self._input.at
        cdef const uint8_t* end = at + self._input.size
        cdef Py_ssize_t head
        cdef int kind = ROW, status = TAKEN
        cdef size_t size = 0
        cdef Link link
        if self._phase == BEFORE_HEAD:
            head = read_head(at, end)
            if head <= 0:
                return TAKEN if head == 0 else NO_COPY
            at += head
            self._phase = IN_ROWS
        while self._phase == IN_ROWS and status == TAKEN:
            kind = read_row(at, end, &link, &size)
            if kind == CUT:
                break
            if kind == ROW:
                status = self._take_link(&link)
            elif kind == END:
                self._phase = ENDED
            else:
                return NO_COPY
            at += size
        self._input.size = end - at
        memmove(self._input.at, at, self._input.size)
        if self._phase == ENDED and self._input.size > 0:
            return NO_COPY
        return status

    cdef int _take_link(self, const Link* link) noexcept nogil:
        cdef Held* held
        cdef size_t before
        cdef Fault fault = fault_of(link)
        if not 0 <= link.target_index < <int64_t>self._targets_count:
            return NO_TARGET
        self.rows += 1
        self._last_hash = link.key_hash
        self._last_id = link.id
        if fault != NO_FAULT:
            if self.faulty_count < FAULTY_MOST:
                self._faulty[self.faulty_count] = FaultyLink(link.id, fault)
            self.faulty_count += 1
            return TAKEN
        held = &self._targets[link.target_index]
        before = _held_bytes(held)
        if not _hold(held, link):
            return NO_MEMORY
        self.pending_bytes += _held_bytes(held) - before
        return TAKEN

    def finish(self):
        if self._phase != ENDED:
            raise ValueError("the COPY has not come to its end")

    @property
    def last(self):
        return None if self.rows == 0 else (self._last_hash, self._last_id)

    @property
    def faulty(self):
        count = min(self.faulty_count, <uint64_t>FAULTY_MOST)
        return [Faulty(self._faulty[i].id, REASONS[self._faulty[i].fault]) for i in range(count)]

    def take(self, int target):
        cdef Batch batch
        if not 0 <= target < <int64_t>self._targets_count:
            raise ValueError(f"there is no target {target}")
        batch = Batch.__new__(Batch)
        batch.target = target
        batch._sha = self._sha
        batch._guard = self._guard
        batch._held = self._targets[target]
        memset(&self._targets[target], 0, sizeof(Held))
        self.pending_bytes -= _held_bytes(&batch._held)
        return batch


@cython.final
@cython.no_gc
cdef class Batch:

    def __init__(self):
        raise TypeError("batches come from Reader.take")

    def __dealloc__(self):
        _release(&self._held)

    @property
    def count(self):
        return self._held.count

    @property
    def links(self):
        return self._held.links

    @property
    def data_bytes(self):
        return self._held.data_bytes

    @property
    def digest(self):
        return self._held.digest

    @property
    def commands(self):
        cdef const Held* held = &self._held
        cdef uint32_t keys_start = 0, records_start = 0, first, last
        cdef list commands = []
        for first in range(0, held.count, CALL_KEYS):
            last = min(first + <uint32_t>CALL_KEYS, held.count) - 1
            commands.append(self._call(
                last + 1 - first,
                held.keys.at[keys_start : held.entries[last].key_end],
                held.records.at[records_start : held.entries[last].record_end],
            ))
            keys_start = held.entries[last].key_end
            records_start = held.entries[last].record_end
        return commands

    cdef bytes _call(self, Py_ssize_t count, bytes keys, bytes records):
        head = (_argument(b"EVALSHA"), _argument(self._sha), _argument(b"%d" % count))
        arguments = 2 * count + (6 if self._guard else 4)
        return b"".join((b"*%d\r\n" % arguments, *head, keys, LIFETIME, records, self._guard))

    def writes(self, indexes):
        cdef list commands = []
        for first in range(0, len(indexes), KEYS_PER_CALL):
            part = indexes[first : first + KEYS_PER_CALL]
            keys = b"".join([_argument(self.key(index)) for index in part])
            commands.append(self._call(len(part), keys, b"".join([_argument(self.record(index)) for index in part])))
        return commands

    cdef int _check(self, Py_ssize_t index) except -1:
        if not 0 <= index < <Py_ssize_t>self._held.count:
            raise IndexError(f"the batch has {self._held.count} keys, none of them number {index}")
        return 0

    @property
    def keys(self):
        cdef const Held* held = &self._held
        cdef uint32_t i
        return [_key(held, i)[: held.entries[i].key_size] for i in range(held.count)]

    def key(self, Py_ssize_t index):
        self._check(index)
        return _key(&self._held, <uint32_t>index)[: self._held.entries[index].key_size]

    def record(self, Py_ssize_t index):
        self._check(index)
        return _record(&self._held, <uint32_t>index)[: self._held.entries[index].record_size]

    def compare(self, values):
        cdef const Held* held = &self._held
        cdef list missing = [], older = [], newer = [], different = []
        cdef uint64_t digest = 0
        cdef uint32_t links = 0, i
        cdef const uint8_t* value
        cdef size_t size
        cdef int order
        if len(values) != held.count:
            raise ValueError(f"{len(values)} values beside {held.count} keys")
        for i, data in enumerate(values):
            if data is None:
                if not _is_tombstone(_record(held, i), held.entries[i].record_size):
                    missing.append(i)
                continue
            if not PyBytes_CheckExact(data):
                raise TypeError(f"a value is bytes or None, not {type(data).__name__}")
            value = <const uint8_t*>PyBytes_AS_STRING(data)
            size = PyBytes_GET_SIZE(data)
            if not _is_tombstone(value, size):
                links += 1
                digest += _digest(_key(held, i), held.entries[i].key_size, value, size)
            if size == held.entries[i].record_size and memcmp(value, _record(held, i), size) == 0:
                continue
            order = _order(value, size, _record(held, i))
            (older if order < 0 else newer if order > 0 else different).append(i)
        return Differences(missing, older, newer, different, links, digest)


cdef inline bint _is_tombstone(const uint8_t* record, size_t size) noexcept nogil:
    return size >= 2 and record[1] & FLAG_TOMBSTONE != 0


cdef int _order(const uint8_t* value, size_t size, const uint8_t* record) noexcept nogil:
    """Below 0 if write.lua replaces the value by the record, above if its version is the higher one."""
    cdef uint32_t held, wanted
    if size < 8:
        return -1
    memcpy(&held, value + 4, 4)
    memcpy(&wanted, record + 4, 4)
    return <int>(held > wanted) - <int>(held < wanted)


def hashes(keys):
    cdef list found = []
    cdef bytes key
    for key in keys:
        if not key.startswith(LINK_PREFIX):
            raise ValueError(f"{key!r} is no key of a link")
        found.append(_position(<const uint8_t*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)))
    return found
