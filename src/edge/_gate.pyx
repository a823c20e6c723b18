"""The way in for requests that another server has read: method, host and path in, status and fields out.

What the door does with bytes, this does with the objects of a server such as Granian: the same L1, the same look-ups,
the same answers in status, Location and the fields about caching. Of fields that the server adds itself (Date,
Content-Length, Connection) there are none.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf

from edge._cache cimport Entry, entry_payload
from edge._client cimport Address, set_address
from edge._clicklog cimport Visit, mark_stale
from edge._counters cimport TIER_L1, TIER_NONE, TIER_ORIGIN, TIER_REPLICA, TIER_SHARD, TIER_STALE
from edge._front cimport ABSENT, PREFIX_BYTES_MAX, REDIRECT, UNRESOLVED, Answer, Front, status_counter
from edge._host cimport trim_host
from edge._http cimport (
    BAD_REQUEST, FOUND, GET, GONE, HEAD, METHOD_NOT_ALLOWED, NOT_FOUND, NOT_IMPLEMENTED, TEMPORARY, TOO_MANY_REQUESTS, UNAVAILABLE, Text,
)
from edge._path cimport CODE_BYTES_MAX, NO_CODE, classify_path, decode_code
from edge._record cimport NO_MAX_AGE
from edge._ring cimport xxh64_of

from edge import answers

cdef enum:
    KEY_BYTES_MAX = PREFIX_BYTES_MAX + CODE_BYTES_MAX

_TIERS = {
    "shard": TIER_SHARD, "replica": TIER_REPLICA, "origin": TIER_ORIGIN, "stale": TIER_STALE, "none": TIER_NONE,
}

# Known and not served, as _http has it.
OTHER_METHODS = frozenset(("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))

# Status, fields, body. The lists are shared between answers: a server must not change them.
Whole = tuple[int, list[tuple[str, str]], bytes]


cdef list _parsed(bytes fields):
    """The fields of a ready-made answer as pairs, without its status line and its length."""
    lines = [line.split(": ", 1) for line in fields.decode("ascii").split("\r\n")[1:] if line]
    return [(name.lower(), value) for name, value in lines if name != "Content-Length"]


cdef int _set_text(bytes value, Text* text) noexcept:
    text.at = PyBytes_AS_STRING(value)
    text.size = PyBytes_GET_SIZE(value)
    return 0


@cython.final
cdef class Visitor:

    def __init__(
        self, method, bytes user_agent not None, bytes referrer not None, bytes query not None, str address, has_opted_out
    ):
        self._user_agent, self._referrer, self._query = user_agent, referrer, query
        _set_text(user_agent, &self.head.user_agent)
        _set_text(referrer, &self.head.referer)
        _set_text(query, &self.head.query)
        self.head.method = HEAD if method == "HEAD" else GET
        self.head.has_gpc = has_opted_out
        if address is not None:
            set_address(address, &self.client)
            self.has_client = True


@cython.final
cdef class Gate:

    def __init__(self, Front front not None, config, is_tls):
        policies = _parsed(b"\r\n" + answers.policy_fields(config.referrer_policy, config.hsts)[1 if is_tls else 0])
        self._front = front
        self._is_tls = is_tls
        self._policies = policies
        self._errors = {
            status: (status, _parsed(fields) + policies, body) for status, (fields, body) in answers.errors().items()
        }
        self._pages = {
            kind: (status, _parsed(fields) + policies, body)
            for kind, (status, fields, body) in answers.pages(config.root_target, config.robots).items()
        }
        self._temporary = [("cache-control", "private, max-age=0"), *policies]
        self._permanent = [("cache-control", "private, max-age=90"), *policies]

    def answer(self, str method not None, str host, str path not None, Visitor visitor):
        """The answer to a request, or (key, key hash) if its link has to be looked up."""
        cdef char[KEY_BYTES_MAX] key
        cdef bytes raw_path, raw_host
        cdef int prefix_size, code_size, domain, size
        cdef uint64_t key_hash
        cdef Entry* entry
        cdef int status
        cdef bint is_served = method == "GET" or method == "HEAD"
        self._front.begin()
        if self._front.hosts_revision == 0:     # no table of domains came yet: nobody knows what is absent (I5)
            return self._error(UNAVAILABLE, TIER_NONE)
        if not is_served and method not in OTHER_METHODS:
            return self._error(NOT_IMPLEMENTED, TIER_NONE)
        if host is None:
            return self._error(BAD_REQUEST, TIER_NONE)
        raw_host = host.encode("utf-8")
        size = 0
        if raw_host:
            size = trim_host(PyBytes_AS_STRING(raw_host), PyBytes_GET_SIZE(raw_host))
        if size < 0:
            return self._error(BAD_REQUEST, TIER_NONE)
        if not is_served:
            return self._error(METHOD_NOT_ALLOWED, TIER_NONE)
        domain = self._front.hosts.get(raw_host[:size].lower(), self._front.default_domain)
        if domain == 0:
            return self._error(NOT_FOUND, TIER_NONE)
        if "%" in path:                         # the server has decoded it once already: it can be no code's
            return self._page(NO_CODE)
        raw_path = path.encode("utf-8")
        prefix_size = snprintf(key, PREFIX_BYTES_MAX, "%d:", domain)
        code_size = decode_code(PyBytes_AS_STRING(raw_path), PyBytes_GET_SIZE(raw_path), key + prefix_size)
        if code_size < 0:
            return self._page(classify_path(PyBytes_AS_STRING(raw_path), PyBytes_GET_SIZE(raw_path)))
        size = prefix_size + code_size
        if visitor is not None:
            visitor.domain = domain
            visitor.code = key[prefix_size:size]
        key_hash = xxh64_of(<unsigned char*>key, size, 0)
        entry = self._front.lookup(key_hash, <unsigned char*>key, size)
        if entry == NULL:
            return PyBytes_FromStringAndSize(key, size), key_hash
        if entry.kind != REDIRECT:
            self._record(visitor, entry.kind, 0, NOT_FOUND, TIER_L1)
            return self._error(NOT_FOUND if entry.kind == ABSENT else GONE, TIER_L1)
        status = (<const uint16_t*>entry_payload(entry))[0]
        self._record(visitor, REDIRECT, entry.link_id, status, TIER_L1)
        found = self._redirect(
            status,
            PyUnicode_DecodeASCII(
                <const char*>entry_payload(entry) + sizeof(uint16_t), entry.payload_size - sizeof(uint16_t), NULL
            ),
            entry.max_age_s,
            TIER_L1,
        )
        if self._front.is_refresh_due(entry):
            self._front.refresh(key_hash, <unsigned char*>key, size)
        return found

    def answered(self, Answer answer not None, str tier not None, Visitor visitor):
        """The answer that a look-up led to."""
        cdef int place = _TIERS[tier]
        self._front.begin()
        self._record(visitor, answer.kind, answer.link_id, answer.status if answer.kind == REDIRECT else NOT_FOUND, place)
        if answer.kind == REDIRECT:
            return self._redirect(answer.status, answer.target.decode("ascii"), answer.max_age_s, place)
        if answer.kind == UNRESOLVED:
            return self._error(UNAVAILABLE, place)
        return self._error(NOT_FOUND if answer.kind == ABSENT else GONE, place)

    def refusal(self):
        """The answer to a client whose budget for unknown codes is spent."""
        return self._error(TOO_MANY_REQUESTS, TIER_NONE)

    cdef int _record(self, Visitor visitor, int kind, uint64_t link_id, int status, int tier) noexcept:
        """Record the click of an answer before the server gets it."""
        cdef Visit visit
        if visitor is None:
            return 0
        self._front.clicks.describe(
            &visitor.head, &visitor.client if visitor.has_client else NULL, self._is_tls, &visit
        )
        _set_text(visitor.code, &visit.code)
        if tier == TIER_STALE:
            mark_stale(&visit)
        if kind == REDIRECT:
            self._front.clicks.append(&visit, link_id, visitor.domain, status, self._front.now_ms)
        elif kind == ABSENT:
            self._front.clicks.append_unknown(&visit, visitor.domain, status, self._front.now_ms)
        return 0

    cdef tuple _redirect(self, int status, str target, uint32_t max_age_s, int tier):
        cdef list fields = [("location", target)]
        self._front.counters.count(tier)
        self._front.counters.count(status_counter(status))
        if max_age_s != NO_MAX_AGE:
            fields.append(("cache-control", f"public, max-age={max_age_s}"))
            fields.extend(self._policies)
        else:
            fields.extend(self._temporary if status == FOUND or status == TEMPORARY else self._permanent)
        return status, fields, b""

    cdef tuple _error(self, int status, int tier):
        self._front.counters.count(tier)
        self._front.counters.count(status_counter(status))
        return <tuple>self._errors[status]

    cdef tuple _page(self, int kind):
        cdef tuple page = <tuple>self._pages[kind]
        self._front.counters.count(TIER_NONE)
        self._front.counters.count(status_counter(page[0]))
        return page
