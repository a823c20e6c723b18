"""The compiled door: one connection, bytes in, redirect out.

    bytes from the client
      │ data_received            uvloop's callback; the clock is read once
      ▼
    _serve ───── parse_head      each whole head in the bytes: refused heads are answered and the connection closed
      │
      ▼
    _answer_head                 Host -> domain id (kept from the last request), path -> code
      │
      ▼
    _answer_path                 key "<domain-id>:<code>" on the stack, hashed once
      │ hit, trusted                          │ miss, or not trusted
      ▼                                       ▼
    _answer_entry                           Front._resolve(key, hash, connection)     resolver.py
      │                                       │ … later: Connection.answer(answer, tier), then _go_on with the carry
      ▼                                       ▼
    Front._write_*               copied into the worker's one out buffer: status line, target, ready-made tail
      │
      ▼
    _flush ───── send(2)         one for all answers of the callback; what the socket does not take: transport.write

Invariants:
- a hit makes no Python call and no object: bytes are parsed in place, the answer is copied from L1 into the out buffer;
- the out buffer is empty whenever no callback of a connection is running;
- answers leave in the order of their requests: nothing of a connection is parsed while it waits for an answer, and
  nothing is sent past bytes that wait in its transport;
- an entry is used only before its deadline, under its shard's present generation and before the shard's trust ends.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

from edge._cache cimport entry_payload
from edge._counters cimport (
    ANSWERS_301, ANSWERS_302, ANSWERS_307, ANSWERS_308, ANSWERS_400, ANSWERS_404, ANSWERS_405, ANSWERS_410, ANSWERS_414,
    ANSWERS_431, ANSWERS_501, ANSWERS_503, ANSWERS_505, CONNECTIONS_CLOSED, CONNECTIONS_OPENED, L1_ABSENCE_EVICTIONS,
    L1_LINK_EVICTIONS, TIER_L1, TIER_NONE, TIER_ORIGIN, TIER_SHARD, TIER_STALE,
)
from edge._http cimport (
    BAD_REQUEST, FOUND, GONE, HEAD, HEAD_TOO_LARGE, METHOD_NOT_ALLOWED, MOVED, NOT_FOUND,
    NOT_IMPLEMENTED, OTHER, PERMANENT, TEMPORARY, UNAVAILABLE, URI_TOO_LONG, VERSION_NOT_SUPPORTED, parse_head,
)
from edge._path cimport CODE_BYTES_MAX, decode_code
from edge._record cimport BAD_VERSION, LINK, NEVER, TOMBSTONE, Record, decode_record
from edge._ring cimport xxh64_of

from typing import Literal

from edge._base62 import CodePermutation, decode as base62_decode, encode as base62_encode
from edge._http import REASONS, status_line
from edge._ring import Ring, xxh64
from wire.errors import FormatError

cdef extern from "<sys/socket.h>" nogil:
    ssize_t send(int fd, const void* data, size_t size, int flags)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL

cdef enum:
    KEY_BYTES_MAX = PREFIX_BYTES_MAX + CODE_BYTES_MAX

# What an error tells people.
SENTENCES = {
    BAD_REQUEST: "This request could not be understood.",
    NOT_FOUND: "There is no link at this address.",
    METHOD_NOT_ALLOWED: "Links answer GET and HEAD.",
    GONE: "This link is no longer in use.",
    URI_TOO_LONG: "This address is too long for a link.",
    HEAD_TOO_LARGE: "The head of this request is too large.",
    NOT_IMPLEMENTED: "Links answer GET and HEAD.",
    UNAVAILABLE: "This link cannot be looked up right now. Please try again in a moment.",
    VERSION_NOT_SUPPORTED: "This server speaks HTTP/1.1.",
}
EXTRA_FIELDS = {METHOD_NOT_ALLOWED: "Allow: GET, HEAD\r\n", UNAVAILABLE: "Retry-After: 1\r\n"}

ORIGIN_SHARD = ORIGIN
Tier = Literal["shard", "origin", "stale", "none"]
_TIERS = {"shard": TIER_SHARD, "origin": TIER_ORIGIN, "stale": TIER_STALE, "none": TIER_NONE}

cdef const char* LINE_301 = b"HTTP/1.1 301 Moved Permanently\r\nLocation: "
cdef const char* LINE_302 = b"HTTP/1.1 302 Found\r\nLocation: "
cdef const char* LINE_307 = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: "
cdef const char* LINE_308 = b"HTTP/1.1 308 Permanent Redirect\r\nLocation: "


cdef inline int64_t _clock_ms(int clock) noexcept nogil:
    cdef timespec time
    clock_gettime(clock, &time)
    return time.tv_sec * 1000 + time.tv_nsec // 1_000_000


cdef int _error_counter(int status) noexcept nogil:
    if status == NOT_FOUND: return ANSWERS_404
    if status == GONE: return ANSWERS_410
    if status == UNAVAILABLE: return ANSWERS_503
    if status == METHOD_NOT_ALLOWED: return ANSWERS_405
    if status == URI_TOO_LONG: return ANSWERS_414
    if status == HEAD_TOO_LARGE: return ANSWERS_431
    if status == NOT_IMPLEMENTED: return ANSWERS_501
    if status == VERSION_NOT_SUPPORTED: return ANSWERS_505
    return ANSWERS_400


cdef tuple _error(int status):
    """The fields of an error, up to those that every answer has, and its body for people."""
    reason = REASONS[status]
    body = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{reason}</title><h1>{reason}</h1><p>{SENTENCES[status]}</p></html>\n"
    ).encode()
    fields = (
        f"{status_line(status)}Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\n"
        f"{EXTRA_FIELDS.get(status, '')}Content-Length: {len(body)}\r\n"
    ).encode()
    return fields, body


@cython.final
cdef class Answer:

    def __init__(self):
        raise TypeError("answers are made by Front.read and Front.absent")

    @staticmethod
    cdef Answer new(int kind):
        cdef Answer answer = Answer.__new__(Answer)
        answer.kind = kind
        answer.valid_ms = NEVER
        return answer

    @property
    def is_absent(self):
        return self.kind == ABSENT


@cython.final
cdef class Front:

    def __cinit__(self, *args, **kwargs):
        self._out = <char*>malloc(OUT_BYTES)
        if self._out == NULL:
            raise MemoryError("no memory for the out buffer")

    def __dealloc__(self):
        free(self._out)

    def __init__(self, Counters counters not None, Cache links not None, Cache absences not None, resolve):
        self.counters = counters
        self.links = links
        self.absences = absences
        self.connections = set()
        self._resolve = resolve
        self._hosts = {}
        self._errors = {status: _error(status) for status in SENTENCES}
        self._read_clock()
        self.set_date(b"Thu, 01 Jan 1970 00:00:00 GMT")

    cdef int64_t _read_clock(self) noexcept:
        self.now_ms = _clock_ms(CLOCK_MONOTONIC)
        return self.now_ms

    cdef inline bint _is_trusted(self, Entry* entry) noexcept:
        if self.now_ms >= entry.deadline_ms:
            return False
        if entry.shard == ORIGIN:
            return True
        return (
            self._generations[entry.shard] == entry.generation and self.now_ms < self._trusted_until_ms[entry.shard]
        )

    cdef Entry* _lookup(self, uint64_t key_hash, const unsigned char* key, size_t key_size) noexcept:
        """A trusted entry for the key, or NULL."""
        cdef Entry* entry = self.links.find(key_hash, key, key_size)
        if entry == NULL:
            entry = self.absences.find(key_hash, key, key_size)
        return entry if entry != NULL and self._is_trusted(entry) else NULL

    cdef inline int _write(self, const char* data, size_t size) noexcept:
        # In bounds: _serve flushes before less than ANSWER_BYTES_MAX is left, and no answer is longer.
        memcpy(self._out + self._out_size, data, size)
        self._out_size += size
        return 0

    cdef int _write_redirect(self, int status, const char* target, size_t size, int ending) except -1:
        cdef bytes tail = <bytes>self._tails[ending]
        if status == FOUND:
            self._write(LINE_302, 30)
            self.counters.count(ANSWERS_302)
        elif status == MOVED:
            self._write(LINE_301, 42)
            self.counters.count(ANSWERS_301)
        elif status == TEMPORARY:
            self._write(LINE_307, 43)
            self.counters.count(ANSWERS_307)
        else:
            self._write(LINE_308, 43)
            self.counters.count(ANSWERS_308)
        self._write(target, size)
        self._write(PyBytes_AS_STRING(tail), PyBytes_GET_SIZE(tail))
        return 0

    cdef int _write_error(self, int status, bint is_head, int ending) except -1:
        cdef bytes fields, body, tail = <bytes>self._error_tails[ending]
        fields, body = self._errors[status]
        self.counters.count(_error_counter(status))
        self._write(PyBytes_AS_STRING(fields), PyBytes_GET_SIZE(fields))
        self._write(PyBytes_AS_STRING(tail), PyBytes_GET_SIZE(tail))
        if not is_head:
            self._write(PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
        return 0

    # ------------------------------------------------------------------------------------------------ public API

    def connection(self):
        return Connection.__new__(Connection, self)

    def set_date(self, bytes date not None):
        connection = (b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n")
        self._error_tails = [b"Date: " + date + b"\r\n" + field + b"\r\n" for field in connection]
        self._tails = [
            b"\r\nCache-Control: private, max-age=0\r\nContent-Length: 0\r\n" + tail for tail in self._error_tails
        ]

    def set_hosts(self, dict hosts not None, int default_domain):
        self._hosts = dict(hosts)
        self._default_domain = default_domain
        self._hosts_revision += 1

    def drain(self):
        self.is_draining = True

    def generation(self, int shard):
        return self._generations[_checked_shard(shard)]

    def trust(self, int shard, int64_t until_ms):
        self._trusted_until_ms[_checked_shard(shard)] = until_ms

    def distrust(self, int shard):
        self._generations[_checked_shard(shard)] += 1
        self._trusted_until_ms[shard] = 0

    def is_shard_trusted(self, int shard):
        return self._trusted_until_ms[_checked_shard(shard)] > _clock_ms(CLOCK_MONOTONIC)

    def read(self, bytes record not None):
        """The answer that a record means now."""
        cdef Record decoded
        cdef int kind = decode_record(<const unsigned char*>PyBytes_AS_STRING(record), len(record), &decoded)
        cdef int64_t now_ms
        cdef Answer answer
        if kind < 0:
            code = "version" if kind == BAD_VERSION else "value"
            raise FormatError(code, f"link record of {len(record)} bytes starting {record[:16]!r} cannot be read")
        answer = Answer.new(ABSENT if kind == TOMBSTONE else GONE_LINK if decoded.is_disabled else REDIRECT)
        answer.link_id = decoded.link_id
        answer.version = decoded.version
        if answer.kind != REDIRECT:
            return answer
        now_ms = _clock_ms(CLOCK_REALTIME)
        if decoded.not_after_ms != NEVER and decoded.not_after_ms <= now_ms:
            answer.kind = GONE_LINK
        elif decoded.not_before_ms != NEVER and decoded.not_before_ms > now_ms:
            answer.kind = ABSENT
            answer.valid_ms = decoded.not_before_ms - now_ms
        else:
            answer.status = decoded.status
            answer.target = PyBytes_FromStringAndSize(<const char*>decoded.target, decoded.target_size)
            if decoded.not_after_ms != NEVER:
                answer.valid_ms = decoded.not_after_ms - now_ms
        return answer

    def absent(self):
        return Answer.new(ABSENT)

    def unresolved(self):
        return Answer.new(UNRESOLVED)

    def remember(self, bytes key not None, Answer answer not None, int shard, uint32_t generation, int64_t ttl_ms):
        """Hold the answer in L1, in place of what was there for the key."""
        cdef const unsigned char* at = <const unsigned char*>PyBytes_AS_STRING(key)
        cdef size_t size = PyBytes_GET_SIZE(key)
        cdef uint64_t key_hash = xxh64_of(at, size, 0)
        cdef Cache cache = self.absences if answer.kind == ABSENT else self.links
        cdef Cache other = self.links if answer.kind == ABSENT else self.absences
        cdef size_t target_size = 0 if answer.target is None else PyBytes_GET_SIZE(answer.target)
        cdef Entry* entry
        other.remove(key_hash, at, size)
        entry = cache.insert(key_hash, at, size, target_size + sizeof(uint16_t))
        if entry == NULL:
            return False
        self._read_clock()
        entry.kind = answer.kind
        entry.deadline_ms = self.now_ms + (ttl_ms if answer.valid_ms == NEVER else min(ttl_ms, answer.valid_ms))
        entry.link_id = answer.link_id
        entry.version = answer.version
        entry.generation = generation
        entry.filled_s = <uint32_t>(self.now_ms // 1000)
        entry.shard = shard if shard == ORIGIN else _checked_shard(shard)
        (<uint16_t*>entry_payload(entry))[0] = answer.status
        if target_size:
            memcpy(entry_payload(entry) + sizeof(uint16_t), PyBytes_AS_STRING(answer.target), target_size)
        self.counters.at[<int>L1_LINK_EVICTIONS] = self.links.evictions
        self.counters.at[<int>L1_ABSENCE_EVICTIONS] = self.absences.evictions
        return True

    def forget(self, bytes key not None):
        cdef const unsigned char* at = <const unsigned char*>PyBytes_AS_STRING(key)
        cdef uint64_t key_hash = xxh64_of(at, PyBytes_GET_SIZE(key), 0)
        cdef bint was_link = self.links.remove(key_hash, at, PyBytes_GET_SIZE(key))
        return self.absences.remove(key_hash, at, PyBytes_GET_SIZE(key)) or was_link

    def stale(self, bytes key not None, int64_t age_ms_max):
        """The answer of an entry that is no longer trusted but young enough, or None. Never an absence (I5)."""
        cdef const unsigned char* at = <const unsigned char*>PyBytes_AS_STRING(key)
        cdef Entry* entry = self.links.find(xxh64_of(at, PyBytes_GET_SIZE(key), 0), at, PyBytes_GET_SIZE(key))
        cdef Answer answer
        if entry == NULL or self._read_clock() - <int64_t>entry.filled_s * 1000 > age_ms_max:
            return None
        answer = Answer.new(entry.kind)
        answer.link_id = entry.link_id
        answer.version = entry.version
        if entry.kind == REDIRECT:
            answer.status = (<uint16_t*>entry_payload(entry))[0]
            answer.target = PyBytes_FromStringAndSize(
                <const char*>entry_payload(entry) + sizeof(uint16_t), entry.payload_size - sizeof(uint16_t)
            )
        return answer


cdef int _checked_shard(int shard) except -1:
    if not 0 <= shard < SHARDS_MAX:
        raise ValueError(f"shard number {shard} is not in 0..{SHARDS_MAX - 1}")
    return shard


@cython.final
cdef class Connection:

    def __cinit__(self, Front front not None):
        self._front = front
        self._fd = -1
        self._host_size = -1

    def __init__(self, front):
        raise TypeError("connections are made by Front.connection")

    cdef int _serve(self, bytes data) except -1:
        """Answer each whole head in `data`, as far as the answers are at hand; keep the rest. Ends with a flush."""
        cdef const char* bytes_at = PyBytes_AS_STRING(data)
        cdef size_t size = PyBytes_GET_SIZE(data), at = 0
        cdef Head head
        cdef int taken
        self._front._read_clock()
        while at < size and not (self._is_waiting or self._is_closing or self._is_backlogged):
            taken = parse_head(bytes_at + at, size - at, &head)
            if taken == 0:
                break
            if taken < 0:
                self._is_head = False
                self._ending = CLOSE
                self._answer_status(-taken, TIER_NONE)
            else:
                at += taken
                self._answer_head(&head)
            if self._front._out_size > OUT_BYTES - ANSWER_BYTES_MAX:
                self._flush()
        self._flush()
        self._keep(data, at)
        if self._is_closing:
            self._finish()
        return 0

    cdef int _answer_head(self, Head* head) except -1:
        self._is_head = head.method == HEAD
        self._ending = KEEP if head.is_keep_alive else CLOSE
        if head.has_body or self._front.is_draining:
            self._ending = CLOSE
        elif head.is_keep_alive and head.is_old:
            self._ending = KEEP_EXPLICIT
        if head.method == OTHER:
            return self._answer_status(METHOD_NOT_ALLOWED, TIER_NONE)
        if self._select_domain(head) == 0:
            return self._answer_status(NOT_FOUND, TIER_NONE)
        return self._answer_path(head)

    cdef int _answer_path(self, Head* head) except -1:
        cdef unsigned char[KEY_BYTES_MAX] key
        cdef int code_size = decode_code(head.path, head.path_size, <char*>key + self._prefix_size)
        cdef size_t key_size = self._prefix_size + code_size
        cdef uint64_t key_hash
        cdef Entry* entry
        if code_size < 0:
            return self._answer_status(NOT_FOUND, TIER_NONE)
        memcpy(key, self._prefix, self._prefix_size)
        key_hash = xxh64_of(key, key_size, 0)
        entry = self._front._lookup(key_hash, key, key_size)
        if entry != NULL:
            return self._answer_entry(entry)
        self._is_waiting = True
        # A Python call per miss: it ends in a lookup at a shard that costs a hundred times as much.
        self._front._resolve(PyBytes_FromStringAndSize(<char*>key, key_size), key_hash, self)
        return 0

    cdef int _answer_entry(self, Entry* entry) except -1:
        cdef const char* payload
        if entry.kind == REDIRECT:
            payload = <const char*>entry_payload(entry)
            self._front.counters.count(TIER_L1)
            self._front._write_redirect(
                (<const uint16_t*>payload)[0],
                payload + sizeof(uint16_t),
                entry.payload_size - sizeof(uint16_t),
                self._ending,
            )
            self._is_closing = self._ending == CLOSE
            return 0
        return self._answer_status(NOT_FOUND if entry.kind == ABSENT else GONE, TIER_L1)

    cdef int _answer_status(self, int status, int tier) except -1:
        self._front.counters.count(tier)
        self._front._write_error(status, self._is_head, self._ending)
        self._is_closing = self._ending == CLOSE
        return 0

    cdef int _select_domain(self, Head* head) except -1:
        """The domain id of the head's host, 0 if it has none; kept for the next request, with the key's prefix."""
        cdef int size = <int>head.host_size
        if (
            size == self._host_size
            and self._hosts_revision == self._front._hosts_revision
            and memcmp(head.host, self._host, size) == 0
        ):
            return self._domain
        memcpy(self._host, head.host, size)     # in bounds: parse_head refuses more than HOST_BYTES_MAX
        self._host_size = size
        self._hosts_revision = self._front._hosts_revision
        name = PyBytes_FromStringAndSize(self._host, size).lower()
        self._domain = self._front._hosts.get(name, self._front._default_domain)
        self._prefix_size = snprintf(self._prefix, PREFIX_BYTES_MAX, "%d:", self._domain)
        return self._domain

    cdef int _keep(self, bytes data, size_t at) except -1:
        """Keep what is not answered yet, and read no more than CARRY_BYTES_MAX of it."""
        cdef bint is_full
        self._carry = None if at == <size_t>PyBytes_GET_SIZE(data) or self._is_closing else data[at:]
        is_full = self._carry is not None and len(self._carry) > CARRY_BYTES_MAX
        if is_full != self._is_paused and self._fd >= 0:
            self._is_paused = is_full
            if is_full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
        return 0

    cdef int _go_on(self) except -1:
        """Serve what was kept, after an answer or when the client has taken its bytes."""
        cdef bytes carry = self._carry
        if carry is not None and not (self._is_closing or self._is_waiting or self._is_backlogged):
            self._serve(carry)
        if self._is_closing or (self._is_ended and not self._is_waiting and not self._is_backlogged):
            self._finish()
        return 0

    cdef int _flush(self) except -1:
        cdef Front front = self._front
        cdef ssize_t sent = 0
        cdef size_t size = front._out_size
        if size == 0:
            return 0
        front._out_size = 0
        if self._fd < 0:
            return 0
        if self._has_written and self._transport.get_write_buffer_size() == 0:
            self._has_written = False
        if self._is_plain and not self._has_written:
            sent = send(self._fd, front._out, size, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent == <ssize_t>size:
                return 0
            if sent < 0:
                if errno not in (EAGAIN, EINTR):
                    self._transport.abort()     # the client is gone; connection_lost follows
                    self._fd = -1
                    return 0
                sent = 0
            # From here on the transport says when the client has taken everything: resume_writing at 0 bytes.
            self._transport.set_write_buffer_limits(0)
        self._has_written = True
        self._transport.write(PyBytes_FromStringAndSize(front._out + sent, size - sent))
        return 0

    cdef int _finish(self) except -1:
        if self._fd >= 0:
            self._fd = -1
            self._transport.close()             # after what waits in it was sent
        return 0

    # ------------------------------------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport):
        self._transport = transport
        self._fd = transport.get_extra_info("socket").fileno()
        self._is_plain = transport.get_extra_info("sslcontext") is None
        self._front.connections.add(self)
        self._front.counters.count(CONNECTIONS_OPENED)

    def data_received(self, bytes data not None):
        if self._is_closing:
            return
        self._serve(data if self._carry is None else self._carry + data)

    def eof_received(self):
        """A half-closed client still gets its answers; returning True keeps the transport open for them."""
        self._is_ended = True
        return self._is_waiting or self._is_backlogged

    def pause_writing(self):
        self._is_backlogged = True

    def resume_writing(self):
        self._is_backlogged = False
        self._go_on()

    def connection_lost(self, error):
        self._fd = -1
        self._is_closing = True
        self._carry = None
        self._front.connections.discard(self)
        self._front.counters.count(CONNECTIONS_CLOSED)

    # ------------------------------------------------------------------------------------------------ public API

    def answer(self, Answer answer not None, str tier not None):
        """Answer the request that waits. Called by the resolver, once for each call of its own."""
        cdef int place = _TIERS[tier]
        if self._fd < 0:
            return                              # the client left meanwhile
        self._is_waiting = False
        if answer.kind == REDIRECT:
            self._front.counters.count(place)
            self._front._write_redirect(
                answer.status, PyBytes_AS_STRING(answer.target), PyBytes_GET_SIZE(answer.target), self._ending
            )
            self._is_closing = self._ending == CLOSE
        elif answer.kind == UNRESOLVED:
            self._answer_status(UNAVAILABLE, place)
        else:
            self._answer_status(NOT_FOUND if answer.kind == ABSENT else GONE, place)
        self._flush()
        self._go_on()

    def close_if_idle(self):
        """Close a connection that waits for nothing, when the worker drains.

        One that has not asked anything yet is left alone: its first request is on its way.
        """
        if self._host_size >= 0 and not self._is_waiting and not self._is_backlogged and self._carry is None:
            self._finish()
