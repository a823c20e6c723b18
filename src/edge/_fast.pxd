"""The compiled door: what all connections of a worker share, and one connection."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from edge._cache cimport Cache, Entry
from edge._counters cimport Counters
from edge._host cimport HOST_BYTES_MAX
from edge._http cimport Head

cdef enum:
    SHARDS_MAX = 256            # wire.topology's
    ORIGIN = 0xFFFF             # in place of a shard: filled from PostgreSQL, covered by no push, short-lived
    PREFIX_BYTES_MAX = 12       # "<domain-id>:", the id below 2^31
    OUT_BYTES = 128 * 1024      # answers to one read of pipelined requests leave with one send
    ANSWER_BYTES_MAX = 9 * 1024  # a target of 8,192 bytes and the fields around it
    CARRY_BYTES_MAX = 64 * 1024  # bytes kept while an answer is awaited or cannot be sent; then reading stops

cdef enum AnswerKind:
    REDIRECT = 1
    ABSENT = 2
    GONE_LINK = 3               # disabled or expired
    UNRESOLVED = 4              # nobody who would know could be asked

# How an answer ends: what becomes of the connection. The order of Front._tails.
cdef enum Ending:
    KEEP = 0
    CLOSE = 1
    KEEP_EXPLICIT = 2           # HTTP/1.0 with keep-alive: the answer must say so (RFC 9112 section 9.3)


cdef class Answer:
    """What a record means at one instant. Immutable; shared by all requests that waited for it."""
    cdef readonly int kind              # AnswerKind
    cdef readonly int status            # of a redirect
    cdef readonly bytes target          # of a redirect
    cdef readonly int64_t valid_ms      # until a not-before or not-after changes it, from when it was made; -1: ever
    cdef readonly uint64_t link_id
    cdef readonly uint32_t version

    @staticmethod
    cdef Answer new(int kind)


cdef class Front:
    cdef readonly Cache links           # redirects and gone links
    cdef readonly Cache absences        # "not found", in a budget of their own: a scan of codes evicts no link
    cdef readonly Counters counters
    cdef readonly set connections       # open ones
    cdef readonly bint is_draining      # every answer closes its connection
    cdef object _resolve                # called with (key, key hash, connection) on a miss
    cdef dict _hosts                    # host bytes -> domain id
    cdef int _default_domain            # for hosts that are not in _hosts; 0: they get 404
    cdef uint64_t _hosts_revision       # rises with each table, so that connections forget what they looked up
    cdef int64_t now_ms                 # monotonic; read anew at the start of every callback
    cdef uint32_t[SHARDS_MAX] _generations      # raised when a shard's push channel breaks
    cdef int64_t[SHARDS_MAX] _trusted_until_ms  # monotonic
    cdef list _tails                    # bytes by Ending: behind a redirect's target
    cdef list _error_tails              # bytes by Ending: behind an error's own fields
    cdef dict _errors                   # status -> (fields, body)
    cdef char* _out                     # owned, OUT_BYTES
    cdef size_t _out_size               # bytes to send for the connection whose callback is running

    cdef int64_t _read_clock(self) noexcept
    cdef bint _is_trusted(self, Entry* entry) noexcept
    cdef Entry* _lookup(self, uint64_t key_hash, const unsigned char* key, size_t key_size) noexcept
    cdef int _write(self, const char* data, size_t size) noexcept
    cdef int _write_redirect(self, int status, const char* target, size_t size, int ending) except -1
    cdef int _write_error(self, int status, bint is_head, int ending) except -1


cdef class Connection:
    cdef Front _front
    cdef object _transport
    cdef int _fd                        # borrowed from the transport; -1 once that is closed
    cdef bint _is_plain                 # no TLS: answers go to the socket itself
    cdef bint _is_waiting               # for the resolver's answer to a request
    cdef bint _is_closing               # the last answer was written
    cdef bint _is_backlogged            # the transport holds bytes that the client does not take
    cdef bint _has_written              # through the transport, once or more
    cdef bint _is_paused                # reading
    cdef bint _is_ended                 # the client will send no more
    cdef bint _is_head                  # of the request that waits
    cdef int _ending                    # likewise
    cdef bytes _carry                   # bytes of requests that are not answered yet
    cdef int _domain                    # of the host below
    cdef uint64_t _hosts_revision       # of the table in which it was looked up
    cdef int _host_size                 # bytes; -1 before the first request
    cdef int _prefix_size               # bytes
    cdef char[HOST_BYTES_MAX] _host     # of the last request; the next one nearly always has the same
    cdef char[PREFIX_BYTES_MAX] _prefix  # "<domain-id>:"

    cdef int _serve(self, bytes data) except -1
    cdef int _answer_head(self, Head* head) except -1
    cdef int _answer_path(self, Head* head) except -1
    cdef int _answer_entry(self, Entry* entry) except -1
    cdef int _answer_status(self, int status, int tier) except -1
    cdef int _select_domain(self, Head* head) except -1
    cdef int _keep(self, bytes data, size_t at) except -1
    cdef int _go_on(self) except -1
    cdef int _flush(self) except -1
    cdef int _finish(self) except -1
