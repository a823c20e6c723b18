"""What all connections of a worker share: L1, trust in the shards, the table of hosts, the bytes of answers.

Invariants:
- the out buffer is empty whenever no callback of a connection is running;
- an entry is used only before its deadline, under its shard's present generation and before the shard's trust ends;
- an answer is never longer than ANSWER_BYTES_MAX, so whoever flushes before less than that is left never overruns.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint16_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

from edge._cache cimport HAS_END, IS_REFRESHING, entry_payload
from edge._clicklog cimport ClickLog
from edge._counters cimport (
    ANSWERS_200, ANSWERS_301, ANSWERS_302, ANSWERS_307, ANSWERS_308, ANSWERS_400, ANSWERS_404, ANSWERS_405,
    ANSWERS_408, ANSWERS_410, ANSWERS_414, ANSWERS_429, ANSWERS_431, ANSWERS_501, ANSWERS_503, ANSWERS_505,
    L1_ABSENCE_EVICTIONS, L1_LINK_EVICTIONS,
)
from edge._http cimport (
    BAD_REQUEST, FOUND, GONE, HEAD_TOO_LARGE, METHOD_NOT_ALLOWED, MOVED, NOT_FOUND, NOT_IMPLEMENTED, OK,
    PERMANENT, REQUEST_TIMEOUT, TEMPORARY, TOO_MANY_REQUESTS, UNAVAILABLE, URI_TOO_LONG, VERSION_NOT_SUPPORTED,
)
from edge._record cimport BAD_VERSION, NEVER, NO_MAX_AGE, TOMBSTONE, Record, decode_record
from edge._ring cimport xxh64_of

from edge import answers
from edge.log import log_request
from wire.errors import FormatError

ORIGIN_SHARD = ORIGIN

cdef const char* LINE_301 = b"HTTP/1.1 301 Moved Permanently\r\nLocation: "
cdef const char* LINE_302 = b"HTTP/1.1 302 Found\r\nLocation: "
cdef const char* LINE_307 = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: "
cdef const char* LINE_308 = b"HTTP/1.1 308 Permanent Redirect\r\nLocation: "
# Without a policy of the link's own an answer must not outlive a change of the link. A permanent redirect may, for as
# long as a person's next click: clients would keep one without a lifetime for ever.
cdef const char* CACHE_TEMPORARY = b"\r\nCache-Control: private, max-age=0\r\n"
cdef const char* CACHE_PERMANENT = b"\r\nCache-Control: private, max-age=90\r\n"


cdef inline int64_t _clock_ms(int clock) noexcept nogil:
    cdef timespec time
    clock_gettime(clock, &time)
    return time.tv_sec * 1000 + time.tv_nsec // 1_000_000


cdef int status_counter(int status) noexcept nogil:
    if status == NOT_FOUND: return ANSWERS_404
    if status == GONE: return ANSWERS_410
    if status == UNAVAILABLE: return ANSWERS_503
    if status == TOO_MANY_REQUESTS: return ANSWERS_429
    if status == REQUEST_TIMEOUT: return ANSWERS_408
    if status == METHOD_NOT_ALLOWED: return ANSWERS_405
    if status == URI_TOO_LONG: return ANSWERS_414
    if status == HEAD_TOO_LARGE: return ANSWERS_431
    if status == NOT_IMPLEMENTED: return ANSWERS_501
    if status == VERSION_NOT_SUPPORTED: return ANSWERS_505
    if status == OK: return ANSWERS_200
    if status == FOUND: return ANSWERS_302
    if status == MOVED: return ANSWERS_301
    if status == TEMPORARY: return ANSWERS_307
    if status == PERMANENT: return ANSWERS_308
    return ANSWERS_400


cdef uint32_t _bounded_age(uint32_t max_age_s, int64_t valid_ms) noexcept nogil:
    """A lifetime for caches that ends before the link's validity does."""
    if max_age_s == NO_MAX_AGE:
        return NO_MAX_AGE
    return <uint32_t>min(<int64_t>max_age_s, max(valid_ms, <int64_t>0) // 1000)


cdef int _checked_shard(int shard) except -1:
    if not 0 <= shard < SHARDS_MAX:
        raise ValueError(f"shard number {shard} is not in 0..{SHARDS_MAX - 1}")
    return shard


cdef int _place(int shard) except -1:
    """Of a shard, or of the origin, in the table of generations."""
    return SHARDS_MAX if shard == ORIGIN else _checked_shard(shard)


@cython.final
cdef class Answer:

    def __init__(self):
        raise TypeError("answers are made by Front.read, Front.absent and Front.unresolved")

    @staticmethod
    cdef Answer new(int kind):
        cdef Answer answer = Answer.__new__(Answer)
        answer.kind = kind
        answer.valid_ms = NEVER
        answer.max_age_s = NO_MAX_AGE
        return answer

    @property
    def is_absent(self):
        return self.kind == ABSENT


@cython.final
cdef class Front:

    def __cinit__(self, *args, **kwargs):
        self.out = <char*>malloc(OUT_BYTES)
        self.inbox = <char*>malloc(2 * IN_BYTES)
        if self.out == NULL or self.inbox == NULL:
            raise MemoryError("no memory for the buffers of the front")

    def __dealloc__(self):
        free(self.out)
        free(self.inbox)

    def __init__(
        self, Counters counters not None, Cache links not None, Cache absences not None, resolve, refresh, config
    ):
        self.counters = counters
        self.clicks = ClickLog(counters, config)
        self.links = links
        self.absences = absences
        self.resolve = resolve
        self.log = log_request if config.log_level == "debug" else None
        self._refresh = refresh
        self._refresh_ms = config.ttl_ms // 10
        self.hosts = {}
        self._errors = answers.errors()
        self._pages = answers.pages(config.root_target, config.robots)
        self._policy_fields = answers.policy_fields(config.referrer_policy, config.hsts)
        self.read_clock()
        self.set_date(b"Thu, 01 Jan 1970 00:00:00 GMT")

    # ------------------------------------------------------------------------------------------------ L1

    cdef int64_t read_clock(self) noexcept:
        self.now_ms = _clock_ms(CLOCK_MONOTONIC)
        return self.now_ms

    cdef int64_t begin(self) noexcept:
        """At the start of a callback: no byte of another connection's failed answer may be left, and time has passed."""
        self.out_size = 0
        return self.read_clock()

    cdef inline bint _is_trusted(self, Entry* entry) noexcept:
        if self.now_ms >= entry.deadline_ms:
            return False
        if entry.shard == ORIGIN:
            return self._generations[<int>SHARDS_MAX] == entry.generation
        return (
            self._generations[entry.shard] == entry.generation and self.now_ms < self._trusted_until_ms[entry.shard]
        )

    cdef Entry* lookup(self, uint64_t key_hash, const unsigned char* key, size_t key_size) noexcept:
        """A trusted entry for the key, or NULL. Borrowed: it is valid until L1 changes."""
        cdef Entry* entry = self.links.find(key_hash, key, key_size)
        if entry == NULL:
            entry = self.absences.find(key_hash, key, key_size)
        return entry if entry != NULL and self._is_trusted(entry) else NULL

    cdef bint is_refresh_due(self, Entry* entry) noexcept:
        """Whether the entry was asked for near its deadline, for the first time: it is worth a look-up ahead of it."""
        if self.now_ms < entry.deadline_ms - self._refresh_ms or entry.flags & IS_REFRESHING:
            return False
        if entry.kind == ABSENT or entry.shard == ORIGIN:
            return False                        # a scan must not keep absences alive; the origin is spared
        entry.flags |= IS_REFRESHING
        return True

    cdef int refresh(self, uint64_t key_hash, const unsigned char* key, size_t key_size) except -1:
        self._refresh(PyBytes_FromStringAndSize(<const char*>key, key_size), key_hash)
        return 0

    # ------------------------------------------------------------------------------------------------ answers

    cdef inline int _write(self, const char* data, size_t size) noexcept:
        # In bounds: connections flush before less than ANSWER_BYTES_MAX is left, and no answer is longer.
        memcpy(self.out + self.out_size, data, size)
        self.out_size += size
        return 0

    cdef int write_redirect(self, int status, const char* target, size_t size, uint32_t max_age_s, int place) except -1:
        cdef char[64] policy
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
        if max_age_s != NO_MAX_AGE:
            self._write(policy, snprintf(policy, sizeof(policy), b"\r\nCache-Control: public, max-age=%u\r\n", max_age_s))
        elif status == FOUND or status == TEMPORARY:
            self._write(CACHE_TEMPORARY, 37)
        else:
            self._write(CACHE_PERMANENT, 38)
        self._write(b"Content-Length: 0\r\n", 19)
        self._write(self._tails[place].at, self._tails[place].size)
        return 0

    cdef int write_error(self, int status, bint is_head, int place) except -1:
        cdef bytes fields, body
        fields, body = self._errors[status]
        self.counters.count(status_counter(status))
        return self._write_whole(fields, body, is_head, place)

    cdef int write_page(self, int kind, bint is_head, int place) except -1:
        cdef bytes fields, body
        cdef int status
        status, fields, body = self._pages[kind]
        self.counters.count(status_counter(status))
        self._write_whole(fields, body, is_head, place)
        return status

    cdef int _write_whole(self, bytes fields, bytes body, bint is_head, int place) except -1:
        self._write(PyBytes_AS_STRING(fields), PyBytes_GET_SIZE(fields))
        self._write(self._tails[place].at, self._tails[place].size)
        if not is_head:
            self._write(PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
        return 0

    # ------------------------------------------------------------------------------------------------ public API

    def set_date(self, bytes date not None):
        cdef int place
        cdef bytes tail
        cdef list tails = [
            policy + b"Date: " + date + b"\r\n" + connection + b"\r\n"
            for policy in self._policy_fields
            for connection in (b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n")
        ]
        # Nothing fails from here on: the tails never point to what is gone.
        self._tail_bytes = tails
        for place in range(2 * ENDINGS):
            tail = <bytes>tails[place]
            self._tails[place].at = PyBytes_AS_STRING(tail)
            self._tails[place].size = PyBytes_GET_SIZE(tail)

    def set_hosts(self, dict hosts not None, int default_domain):
        self.hosts = dict(hosts)
        self.default_domain = default_domain
        self.hosts_revision += 1

    def drain(self):
        self.is_draining = True

    def generation(self, int shard):
        return self._generations[_place(shard)]

    def trust(self, int shard, int64_t until_ms):
        self._trusted_until_ms[_checked_shard(shard)] = until_ms

    def distrust(self, int shard):
        cdef int place = _place(shard)
        self._generations[place] += 1
        self._trusted_until_ms[place] = 0

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
            answer.max_age_s = decoded.cache_max_age_s
            if decoded.not_after_ms != NEVER:
                answer.valid_ms = decoded.not_after_ms - now_ms
                answer.max_age_s = _bounded_age(answer.max_age_s, answer.valid_ms)
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
        self.read_clock()
        entry.kind = answer.kind
        entry.deadline_ms = self.now_ms + (ttl_ms if answer.valid_ms == NEVER else min(ttl_ms, answer.valid_ms))
        entry.link_id = answer.link_id
        entry.version = answer.version
        entry.generation = generation
        entry.filled_s = <int32_t>(self.now_ms // 1000)
        # The entry may be answered until ttl_ms from now, and no cache may keep the link beyond its expiry.
        entry.max_age_s = (
            answer.max_age_s if answer.valid_ms == NEVER else _bounded_age(answer.max_age_s, answer.valid_ms - ttl_ms)
        )
        entry.shard = shard if shard == ORIGIN else _checked_shard(shard)
        if answer.valid_ms != NEVER:
            entry.flags |= HAS_END
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
        if entry == NULL or self.read_clock() - <int64_t>entry.filled_s * 1000 > age_ms_max:
            return None
        if entry.flags & HAS_END and self.now_ms >= entry.deadline_ms:
            return None                         # the link may be over by now
        return _answer_of(entry)

    def shard_of(self, bytes key not None):
        """The number of the shard, or ORIGIN_SHARD, that filled a trusted entry; None without one."""
        cdef const unsigned char* at = <const unsigned char*>PyBytes_AS_STRING(key)
        cdef Entry* entry
        self.read_clock()
        entry = self.lookup(xxh64_of(at, PyBytes_GET_SIZE(key), 0), at, PyBytes_GET_SIZE(key))
        if entry == NULL:
            return None
        return ORIGIN_SHARD if entry.shard == ORIGIN else entry.shard

    def find(self, bytes key not None):
        """The answer of a trusted entry, or None."""
        cdef const unsigned char* at = <const unsigned char*>PyBytes_AS_STRING(key)
        cdef Entry* entry
        self.read_clock()
        entry = self.lookup(xxh64_of(at, PyBytes_GET_SIZE(key), 0), at, PyBytes_GET_SIZE(key))
        return None if entry == NULL else _answer_of(entry)


cdef Answer _answer_of(Entry* entry):
    cdef Answer answer = Answer.new(entry.kind)
    answer.link_id = entry.link_id
    answer.version = entry.version
    if entry.kind == REDIRECT:
        answer.status = (<uint16_t*>entry_payload(entry))[0]
        answer.max_age_s = entry.max_age_s
        answer.target = PyBytes_FromStringAndSize(
            <const char*>entry_payload(entry) + sizeof(uint16_t), entry.payload_size - sizeof(uint16_t)
        )
    return answer
