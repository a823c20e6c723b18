"""One client's connection apart from how its bytes move.

    _serve ───── parse_head      each whole head in the bytes: refused heads are answered and the connection closed
      │
      ▼
    _answer_head                 Host -> domain id (kept from the last request)
      │
      ▼
    _answer_path                 key "<domain-id>:<code>" on the stack, hashed once
      │ hit, trusted                          │ miss, or not trusted
      ▼                                       ▼
    _answer_entry                           the client's budget, then Front.resolve     resolver.py
      │                                       │ … later: answer(answer, tier), then _go_on with the carry
      ▼                                       ▼
    ClickLog.append              the click, in a mapped file before the answer leaves; _clicklog.pyx
      │
      ▼
    Front.write_*                copied into the worker's one out buffer: status line, target, ready-made tail
      │
      ▼
    _flush ───── _send           once for all answers of the callback; _fast.pyx

Invariants:
- a hit makes no Python call and no object: bytes are parsed in place, the answer is copied from L1 into the out buffer;
- the click of a redirect is recorded before any byte of its answer is sent (I2);
- answers leave in the order of their requests: nothing of a connection is parsed while it waits for an answer, and
  nothing is sent past bytes that the client has not taken;
- the phase and the flags agree whenever no callback of the connection is running, so that the sweep finds every
  connection that takes longer than it may.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.stdint cimport uint16_t
from libc.string cimport memcmp, memcpy

from edge._cache cimport entry_payload
from edge._counters cimport (
    LIMIT_CLIENT_UNKNOWN_CODES, LIMIT_FIRST_BYTE_TIME, LIMIT_HEAD_TIME, LIMIT_IDLE_TIME, LIMIT_LINGER_TIME,
    LIMIT_REQUESTS, LIMIT_UNSENT_TIME, PROXY_HEADERS_REFUSED, TIER_L1, TIER_NONE, TIER_ORIGIN, TIER_REPLICA, TIER_SHARD,
    TIER_STALE,
)
from edge._client cimport Address
from edge._clicklog cimport Visit, mark_stale
from edge._forwarded cimport OFF, find_client
from edge._front cimport (
    ABSENT, ANSWER_BYTES_MAX, CLOSE, ENDINGS, IN_BYTES, KEEP, KEEP_EXPLICIT, OUT_BYTES, REDIRECT, UNRESOLVED, Answer,
)
from edge._http cimport (
    GONE, HEAD, METHOD_NOT_ALLOWED, NOT_FOUND, OTHER, REQUEST_TIMEOUT, TOO_MANY_REQUESTS, UNAVAILABLE, resume_head,
)
from edge._path cimport CODE_BYTES_MAX, classify_path, decode_code
from edge._proxy cimport parse_proxy
from edge._ring cimport xxh64_of
from edge._roster cimport FRESH, IDLE, IN_HEAD, UNSENT, WAITING, Roster

from typing import Literal

cdef enum:
    KEY_BYTES_MAX = PREFIX_BYTES_MAX + CODE_BYTES_MAX

Tier = Literal["shard", "replica", "origin", "stale", "none"]
_TIERS = {
    "shard": TIER_SHARD, "replica": TIER_REPLICA, "origin": TIER_ORIGIN, "stale": TIER_STALE, "none": TIER_NONE,
}


cdef class Connection:

    def __cinit__(self, Roster roster not None):
        self._host_size = -1

    def __dealloc__(self):
        free(self._carry)
        free(self._visit)

    # ------------------------------------------------------------------------------------------------ from bytes

    cdef bint _can_serve(self) noexcept:
        return self._is_open and not (self._is_waiting or self._is_deferred or self._is_closing or self._is_unsent)

    cdef int _serve(self, const char* data, size_t size) except -1:
        """Answer each whole head in the bytes, as far as the answers are at hand; keep the rest. Ends with a flush."""
        cdef size_t at = 0, scanned = self._scanned
        cdef Head head
        cdef int taken = 0, left = self._roster.pipeline_max
        cdef uint32_t requests = self._requests
        self._front.begin()
        self._scanned = 0
        if self._is_proxy_due:
            taken = self._take_proxy_header(data, size)
            if taken < 0:
                return 0
            at = taken
        while at < size and not self._is_proxy_due and self._can_serve():
            if left == 0:
                self._roster.defer(self)
                break
            left -= 1
            if at > 0:
                self._front.read_clock()        # between two requests the worker may have slept (I4)
            taken = resume_head(data + at, size - at, scanned, &head)
            if taken == 0:
                self._scanned = size - at
                break
            scanned = 0
            if taken < 0:
                self._refuse(-taken)
            else:
                self._answer_head(&head, data + at, taken)
                at += taken
            if self._front.out_size > OUT_BYTES - ANSWER_BYTES_MAX:
                self._flush()
        self._flush()
        if self._is_open:
            self._keep(data + at, size - at)
            self._enter_phase(requests != self._requests)
        return 0

    cdef int _take_proxy_header(self, const char* data, size_t size) except -2:
        """Bytes of the PROXY header; 0 while it is not whole; -1 if there is none: then the connection is dropped."""
        cdef bint is_known = False
        cdef int taken = parse_proxy(data, size, &self._client, &is_known)
        if taken == 0:
            return 0
        if taken < 0:
            self._front.counters.count(PROXY_HEADERS_REFUSED)
            self._drop()
            return -1
        self._is_proxy_due = False
        # Without a known client (a health check of the proxy itself) nobody's connections are counted.
        if is_known and not self._roster.count_client(self):
            self._drop()
            return -1
        return taken

    cdef int _keep(self, const char* data, size_t size) except -1:
        """Keep what is not answered yet; `data` may lie in the old carry's bytes, which the caller then frees."""
        if size == 0 or self._is_closing:
            self._is_more_due = self._is_more_due or size > 0
            return 0
        self._carry = <char*>malloc(size)
        if self._carry == NULL:
            raise MemoryError("no memory for a part of a request")
        memcpy(self._carry, data, size)
        self._carry_size = size
        return 0

    cdef int _enter_phase(self, bint was_answered) except -1:
        """What the connection waits for from now on, and since when."""
        cdef int phase = IDLE
        if self._is_unsent:
            phase = UNSENT
        elif self._is_closing:
            return self._shut()
        elif self._is_waiting or self._is_deferred:
            phase = WAITING
        elif self._is_ended:
            return self._shut()
        elif self._carry_size > 0:
            phase = IN_HEAD
        elif self._roster.is_ending:
            return self._shut()
        elif self._requests == 0:
            phase = FRESH
        if phase != self._phase or was_answered:
            self._phase = phase
            self._since_ms = self._front.now_ms
        return self._watch()

    cdef int _go_on(self) except -1:
        """Serve what was kept, after an answer or when the client has taken its bytes."""
        cdef char* carry = self._carry
        cdef size_t size = self._carry_size
        if not self._is_open:
            return 0
        if carry == NULL or not self._can_serve():
            return self._enter_phase(True)
        self._carry = NULL
        self._carry_size = 0
        try:
            return self._serve(carry, size)
        finally:
            free(carry)

    cdef int _on_limit(self) except -1:
        """The phase has lasted too long. Called by the sweep."""
        if self._phase == IN_HEAD:
            self._front.counters.count(LIMIT_HEAD_TIME)
            if self._is_proxy_due:
                return self._drop()             # a proxy without its header is no client to answer
            self._refuse(REQUEST_TIMEOUT)
            self._flush()
            return self._enter_phase(True)
        if self._phase == IDLE:
            self._front.counters.count(LIMIT_IDLE_TIME)
            return self._shut()
        # A client that has asked nothing gets no answer: browsers open connections ahead of their need.
        self._front.counters.count(
            LIMIT_FIRST_BYTE_TIME if self._phase == FRESH
            else LIMIT_UNSENT_TIME if self._phase == UNSENT
            else LIMIT_LINGER_TIME
        )
        return self._drop()

    # ------------------------------------------------------------------------------------------------ to answers

    cdef int _answer_head(self, Head* head, const char* data, size_t size) except -1:
        self._is_head = head.method == HEAD
        self._requests += 1
        self._ending = KEEP if head.is_keep_alive else CLOSE
        if head.is_keep_alive and head.is_old:
            self._ending = KEEP_EXPLICIT
        if head.has_body:
            self._ending = CLOSE
            self._is_more_due = True
        elif self._front.is_draining:
            self._ending = CLOSE
        elif self._requests >= self._roster.requests_max:
            self._front.counters.count(LIMIT_REQUESTS)
            self._ending = CLOSE
        if self._front.log is not None:
            self._note_request(head)
        if head.method == OTHER:
            return self._answer_status(METHOD_NOT_ALLOWED, TIER_NONE)
        if self._select_domain(head) == 0:
            return self._answer_status(NOT_FOUND, TIER_NONE)
        return self._answer_path(head, data, size)

    cdef int _answer_path(self, Head* head, const char* data, size_t size) except -1:
        cdef char[KEY_BYTES_MAX] key
        cdef int code_size
        cdef size_t key_size
        cdef uint64_t key_hash
        cdef Entry* entry
        cdef Visit visit
        memcpy(key, self._prefix, self._prefix_size)
        code_size = decode_code(head.path, head.path_size, key + self._prefix_size)     # at most CODE_BYTES_MAX
        if code_size < 0:
            self._front.counters.count(TIER_NONE)
            self._is_closing = self._ending == CLOSE
            return self._log(
                self._front.write_page(classify_path(head.path, head.path_size), self._is_head, self._tail())
            )
        if self._front.clicks.is_on:
            self._describe(head, data, size, &visit)
            visit.code.at = key + self._prefix_size
            visit.code.size = code_size
        key_size = self._prefix_size + code_size
        key_hash = xxh64_of(<unsigned char*>key, key_size, 0)
        entry = self._front.lookup(key_hash, <unsigned char*>key, key_size)
        if entry == NULL:
            if not self._has_budget(data, size):
                return self._answer_status(TOO_MANY_REQUESTS, TIER_NONE)
            return self._wait_for(key, key_size, key_hash, &visit)
        if self._front.is_refresh_due(entry):
            self._answer_entry(entry, &visit)
            # A Python call once in the life of an entry.
            return self._front.refresh(key_hash, <unsigned char*>key, key_size)
        return self._answer_entry(entry, &visit)

    cdef int _wait_for(self, const char* key, size_t key_size, uint64_t key_hash, const Visit* visit) except -1:
        """Have the resolver answer the request; what its click needs is copied, as the head will be gone by then."""
        if self._front.clicks.is_on:
            self._visit = self._front.clicks.keep(visit)
            if self._visit == NULL:
                raise MemoryError("no memory for a request that waits")
        self._is_waiting = True
        # A Python call per miss: it ends in a look-up at a shard that costs a hundred times as much.
        self._front.resolve(PyBytes_FromStringAndSize(key, key_size), key_hash, self)
        return 0

    cdef inline int _tail(self) noexcept:
        return self._ending + (ENDINGS if self._is_tls else 0)

    cdef int _answer_entry(self, Entry* entry, const Visit* visit) except -1:
        cdef const char* payload
        cdef int status
        if entry.kind == REDIRECT:
            payload = <const char*>entry_payload(entry)
            status = (<const uint16_t*>payload)[0]
            self._front.clicks.append(visit, entry.link_id, self._domain, status, self._front.now_ms)
            self._front.counters.count(TIER_L1)
            self._front.write_redirect(
                status,
                payload + sizeof(uint16_t),
                entry.payload_size - sizeof(uint16_t),
                entry.max_age_s,
                self._tail(),
            )
            self._is_closing = self._ending == CLOSE
            return self._log(status)
        if entry.kind == ABSENT:
            self._front.clicks.append_unknown(visit, self._domain, NOT_FOUND, self._front.now_ms)
        return self._answer_status(NOT_FOUND if entry.kind == ABSENT else GONE, TIER_L1)

    cdef int _describe(self, const Head* head, const char* data, size_t size, Visit* visit) noexcept:
        """What of the request may be recorded; `data` is the head's bytes."""
        cdef Address asker = self._client
        if self._front.clicks.has_addresses:
            self._find_asker(data, size, &asker)
        return self._front.clicks.describe(head, &asker, self._is_tls, visit)

    cdef int _find_asker(self, const char* data, size_t size, Address* asker) noexcept:
        """Who sent the request: the connection's client, or whom a trusted proxy names in it."""
        if self._roster.forwarding != OFF:
            find_client(self._roster.forwarding, data, size, self._roster.trusted, asker)
        return 0

    cdef bint _has_budget(self, const char* data, size_t size) noexcept:
        """Whether the client has tokens for unknown codes left, before any shared look-up; `answer` spends them."""
        cdef Address asker = self._client
        self._asker_key = self._client_key
        if self._roster.forwarding != OFF:
            self._find_asker(data, size, &asker)
            self._asker_key = self._roster.client_keys.client_key(&asker)
        if self._asker_key == 0:
            return True
        if self._roster.budgets.take(self._asker_key, self._front.now_ms):
            self._roster.budgets.give(self._asker_key)
            return True
        self._front.counters.count(LIMIT_CLIENT_UNKNOWN_CODES)
        return False

    cdef int _answer_status(self, int status, int tier) except -1:
        self._front.counters.count(tier)
        self._front.write_error(status, self._is_head, self._tail())
        self._is_closing = self._ending == CLOSE
        return self._log(status)

    cdef int _note_request(self, Head* head) except -1:
        self._logged = (
            head.method,
            head.host[:head.host_size] if head.host_size else b"",
            head.path[:head.path_size] if head.path_size else b"",
            head.request_id.at[:head.request_id.size] if head.request_id.size else b"",
        )
        return 0

    cdef inline int _log(self, int status) except -1:
        if self._front.log is not None and self._logged is not None:
            logged, self._logged = self._logged, None
            self._front.log(status, *logged)
        return 0

    cdef int _refuse(self, int status) except -1:
        """Answer what is no request, and close: where the next one would begin is not known."""
        self._is_head = False
        self._ending = CLOSE
        self._is_more_due = True
        return self._answer_status(status, TIER_NONE)

    cdef int _select_domain(self, Head* head) except -1:
        """The domain id of the head's host, 0 if it has none; kept for the next request, with the key's prefix."""
        cdef int size = <int>head.host_size
        if (
            size == self._host_size
            and self._hosts_revision == self._front.hosts_revision
            and memcmp(head.host, self._host, size) == 0
        ):
            return self._domain
        memcpy(self._host, head.host, size)     # in bounds: parse_head refuses more than HOST_BYTES_MAX
        self._host_size = size
        self._hosts_revision = self._front.hosts_revision
        name = PyBytes_FromStringAndSize(self._host, size).lower()
        self._domain = self._front.hosts.get(name, self._front.default_domain)
        self._prefix_size = snprintf(self._prefix, PREFIX_BYTES_MAX, "%d:", self._domain)
        return self._domain

    cdef int _flush(self) except -1:
        cdef size_t size = self._front.out_size
        self._front.out_size = 0
        if size > 0 and self._is_open:
            self._send(self._front.out, size)
        return 0

    # ------------------------------------------------------------------------------------------------ by subclasses

    cdef int _send(self, const char* data, size_t size) except -1:
        raise NotImplementedError

    cdef int _watch(self) except -1:
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------ public API

    def answer(self, Answer answer not None, str tier not None):
        """Answer the request that waits. Called by the resolver, once for each call of its own; raises nothing."""
        if not self._is_open or not self._is_waiting:
            return                              # the client left meanwhile
        try:
            self._take_answer(answer, _TIERS[tier])
        except Exception as error:
            self._roster.fail(self, error)

    cdef int _take_answer(self, Answer answer, int tier) except -1:
        self._is_waiting = False
        self._front.begin()
        if self._front.is_draining:
            self._ending = CLOSE
        if answer.kind == ABSENT and self._asker_key != 0:
            self._roster.budgets.take(self._asker_key, self._front.now_ms)
        self._write_answer(answer, tier)
        free(self._visit)
        self._visit = NULL
        self._flush()
        return self._go_on()

    cdef int _write_answer(self, Answer answer, int tier) except -1:
        if tier == TIER_STALE and self._visit != NULL:
            mark_stale(self._visit)
        if answer.kind == REDIRECT:
            self._front.clicks.append(self._visit, answer.link_id, self._domain, answer.status, self._front.now_ms)
            self._front.counters.count(tier)
            self._front.write_redirect(
                answer.status, answer.target, len(answer.target), answer.max_age_s, self._tail()
            )
            self._is_closing = self._ending == CLOSE
            return self._log(answer.status)
        if answer.kind == UNRESOLVED:
            return self._answer_status(UNAVAILABLE, tier)
        if answer.kind == ABSENT:
            self._front.clicks.append_unknown(self._visit, self._domain, NOT_FOUND, self._front.now_ms)
        return self._answer_status(NOT_FOUND if answer.kind == ABSENT else GONE, tier)
