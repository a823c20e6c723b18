"""What all connections of a worker share: L1, trust in the shards, hosts, the bytes of answers. Cimports the leaves."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from edge._cache cimport Cache, Entry
from edge._clicklog cimport ClickLog
from edge._counters cimport Counters

cdef enum:
    SHARDS_MAX = 256            # wire.topology's
    ORIGIN = 0xFFFF             # in place of a shard: filled from PostgreSQL, covered by no push, short-lived
    PREFIX_BYTES_MAX = 12       # "<domain-id>:", the id below 2^31
    TARGET_BYTES_MAX = 8192     # wire.record's
    OUT_BYTES = 128 * 1024      # answers to one read of pipelined requests leave with one send
    IN_BYTES = 16 * 1024        # one read of a socket; a head is at most half of it
    ANSWER_BYTES_MAX = 10 * 1024  # a target and the fields around it; Front checks what settings add to them

cdef enum AnswerKind:
    REDIRECT = 1
    ABSENT = 2
    GONE_LINK = 3               # disabled or expired
    UNRESOLVED = 4              # nobody who would know could be asked

# How an answer ends: what becomes of the connection.
cdef enum Ending:
    KEEP = 0
    CLOSE = 1
    KEEP_EXPLICIT = 2           # HTTP/1.0 with keep-alive: the answer must say so (RFC 9112 section 9.3)
    ENDINGS = 3


# What stands behind an answer's own fields: bytes of an object that Front owns.
cdef struct Tail:
    const char* at
    size_t size                 # bytes


# The counter of the answers with this status.
cdef int status_counter(int status) noexcept nogil


cdef class Answer:
    """What a record means at one instant. Immutable; shared by all requests that waited for it."""
    cdef readonly int kind              # AnswerKind
    cdef readonly int status            # of a redirect
    cdef readonly bytes target          # of a redirect
    cdef readonly int64_t valid_ms      # until a not-before or not-after changes it, from when it was made; -1: ever
    cdef readonly uint64_t link_id
    cdef readonly uint32_t version
    cdef readonly uint32_t max_age_s    # how long shared caches may keep a redirect; NO_MAX_AGE: the default policy

    @staticmethod
    cdef Answer new(int kind)


cdef class Front:
    cdef readonly Cache links           # redirects and gone links
    cdef readonly Cache absences        # "not found", in a budget of their own: a scan of codes evicts no link
    cdef readonly Counters counters
    cdef readonly ClickLog clicks
    cdef readonly bint is_draining      # every answer closes its connection
    cdef object log                     # called for each request at the debug level, else None
    cdef object resolve                 # called with (key, key hash, connection) on a miss
    cdef object _refresh                # called with (key, key hash) when a hot entry nears its deadline
    cdef int64_t _refresh_ms            # before the deadline
    cdef dict hosts                     # host bytes -> domain id
    cdef int default_domain             # for hosts that are not in the table; 0: they get 404
    cdef uint64_t hosts_revision        # rises with each table, so that connections forget what they looked up
    cdef int64_t now_ms                 # monotonic; read anew at the start of every callback
    cdef uint32_t[SHARDS_MAX + 1] _generations      # raised when a shard's push channel breaks; the last: the origin's
    cdef int64_t[SHARDS_MAX + 1] _trusted_until_ms  # monotonic; the origin's is not looked at
    cdef Tail[2 * ENDINGS] _tails       # by is_tls * ENDINGS + Ending: behind the cache policy of an answer
    cdef list _tail_bytes               # owns the tails
    cdef tuple _policy_fields           # settings' fields for plain and for TLS connections
    cdef dict _errors                   # status -> (fields, body)
    cdef dict _pages                    # PathKind -> (status, fields, body): answers without a look-up
    cdef char* out                      # owned, OUT_BYTES
    cdef size_t out_size                # bytes to send for the connection whose callback is running
    cdef char* inbox                    # owned, IN_BYTES behind as much carry; of the connection that is read

    cdef int64_t read_clock(self) noexcept
    cdef int64_t begin(self) noexcept
    cdef Entry* lookup(self, uint64_t key_hash, const unsigned char* key, size_t key_size) noexcept
    cdef bint is_refresh_due(self, Entry* entry) noexcept
    cdef int refresh(self, uint64_t key_hash, const unsigned char* key, size_t key_size) except -1
    cdef int write_redirect(self, int status, const char* target, size_t size, uint32_t max_age_s, int place) except -1
    cdef int write_error(self, int status, bint is_head, int place) except -1
    cdef int write_page(self, int kind, bint is_head, int place) except -1      # gives the status

    cdef bint _is_trusted(self, Entry* entry) noexcept
    cdef int _write(self, const char* data, size_t size) noexcept
    cdef int _write_whole(self, bytes fields, bytes body, bint is_head, int place) except -1
