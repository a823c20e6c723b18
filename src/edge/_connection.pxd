"""One client's connection apart from how its bytes move, and the roster of all that are open. Cimports the leaves."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from edge._budget cimport Budgets, Tally
from edge._cache cimport Entry
from edge._client cimport Address, ClientKeys, Networks
from edge._forwarded cimport Forwarding
from edge._front cimport PREFIX_BYTES_MAX, Answer, Front
from edge._host cimport HOST_BYTES_MAX
from edge._http cimport Head

# What a connection does between two callbacks; each has its own limit in time.
cdef enum Phase:
    FRESH = 0                   # no byte came yet
    IN_HEAD = 1                 # a part of a head came, and nothing waits before it
    IDLE = 2                    # a request was answered, the next one has not begun
    WAITING = 3                 # for the resolver, which has limits of its own
    UNSENT = 4                  # for the client to take its bytes
    LINGERING = 5               # for the client to read the last answer before the connection is closed
    PHASES = 6


cdef class Roster:
    """The open connections of a worker, and their bounds in number and time."""
    cdef readonly Front front
    cdef list _connections              # each knows its place in it
    cdef size_t _cursor                 # the sweep goes on here
    cdef size_t _share                  # connections seen in one sweep of this round
    cdef list _deferred                 # served up to their share of this turn, with requests left
    cdef object loop
    cdef bint is_ending                 # whoever has no request under way is closed
    cdef int64_t[PHASES] _limits_ms     # 0: none
    cdef size_t _connections_max
    cdef int pipeline_max               # requests of one connection answered in one turn
    cdef uint32_t requests_max          # of one connection
    cdef size_t unsent_max              # bytes of all connections that clients do not take
    cdef size_t unsent_size             # bytes
    cdef int _client_connections_max
    cdef Tally _tally                   # open connections by client
    cdef Budgets budgets                # for unknown codes, by client
    cdef Networks trusted               # networks whose word for a client's address is taken
    cdef Forwarding forwarding          # the field of a request that is believed, from trusted networks
    cdef ClientKeys client_keys
    cdef bint is_proxied                # every connection begins with a PROXY header

    cdef bint is_full(self) noexcept
    cdef int enter(self, Connection connection) except -1
    cdef int leave(self, Connection connection) except -1
    cdef int defer(self, Connection connection) except -1
    cdef int fail(self, Connection connection, object error) except -1
    cdef bint admit(self, Connection connection, bint is_local) noexcept
    cdef bint count_client(self, Connection connection) noexcept

    cdef int64_t _limit_ms(self, int phase) noexcept


cdef class Connection:
    cdef Roster _roster
    cdef Front _front
    cdef Address _client                # the peer, or whom its PROXY header names
    cdef uint64_t _client_key           # of the client, for its connections and budget; 0: nobody known
    cdef uint64_t _asker_key            # of whoever sent the request that waits: differs behind a proxy
    cdef size_t _place                  # in the roster; valid while _is_open
    cdef int64_t _since_ms              # monotonic: when the phase began
    cdef int _phase                     # Phase
    cdef uint32_t _requests             # so far
    cdef bint _is_open
    cdef bint _is_tls
    cdef bint _is_counted               # in the roster's tally
    cdef bint _is_proxy_due             # the PROXY header has not come yet
    cdef bint _is_waiting               # for the resolver's answer to a request
    cdef bint _is_deferred              # to the next turn
    cdef bint _is_closing               # the last answer was written
    cdef bint _is_unsent                # the client does not take its bytes
    cdef bint _is_ended                 # the client will send no more
    cdef bint _is_head                  # of the request that is answered
    cdef int _ending                    # likewise
    cdef bint _is_more_due              # bytes of the client that nobody will read may be under way
    cdef char* _carry                   # owned: bytes of requests that are not answered yet
    cdef size_t _carry_size
    cdef size_t _scanned                # bytes of the carry that are known to be no whole head
    cdef int _domain                    # of the host below
    cdef uint64_t _hosts_revision       # of the table in which it was looked up
    cdef int _host_size                 # bytes; -1 before the first request
    cdef int _prefix_size               # bytes
    cdef char[HOST_BYTES_MAX] _host     # of the last request; the next one nearly always has the same
    cdef char[PREFIX_BYTES_MAX] _prefix  # "<domain-id>:"

    # What those do that move the bytes.
    cdef int _send(self, const char* data, size_t size) except -1
    cdef int _watch(self) except -1             # bring what the connection waits for in line with its state
    cdef int _shut(self) except -1              # after what is unsent; lingers if more is due
    cdef int _drop(self) except -1              # at once

    cdef bint _can_serve(self) noexcept
    cdef int _serve(self, const char* data, size_t size) except -1
    cdef int _take_proxy_header(self, const char* data, size_t size) except -2
    cdef int _answer_head(self, Head* head, const char* data, size_t size) except -1
    cdef int _answer_path(self, Head* head, const char* data, size_t size) except -1
    cdef int _answer_entry(self, Entry* entry) except -1
    cdef int _tail(self) noexcept
    cdef bint _has_budget(self, const char* data, size_t size) noexcept
    cdef int _answer_status(self, int status, int tier) except -1
    cdef int _refuse(self, int status) except -1
    cdef int _select_domain(self, Head* head) except -1
    cdef int _keep(self, const char* data, size_t size) except -1
    cdef int _enter_phase(self, bint was_answered) except -1
    cdef int _go_on(self) except -1
    cdef int _flush(self) except -1
    cdef int _on_limit(self) except -1
    cdef int _take_answer(self, Answer answer, int tier) except -1
