"""The open connections of a worker, and their bounds in number and time. Cimports the leaves."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from edge._budget cimport Budgets, Tally
from edge._client cimport Address, ClientKeys, Networks
from edge._forwarded cimport Forwarding
from edge._front cimport Front

# What a connection does between two callbacks; each has its own limit in time.
cdef enum Phase:
    FRESH = 0                   # no byte came yet
    IN_HEAD = 1                 # a part of a head came, and nothing waits before it
    IDLE = 2                    # a request was answered, the next one has not begun
    WAITING = 3                 # for the resolver, which has limits of its own
    UNSENT = 4                  # for the client to take its bytes
    LINGERING = 5               # for the client to read the last answer before the connection is closed
    SHAKING = 6                 # hands, for TLS: before FRESH
    PHASES = 7


cdef class Member


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
    cdef int enter(self, Member member) except -1
    cdef int leave(self, Member member) except -1
    cdef int defer(self, Member member) except -1
    cdef int fail(self, Member member, object error) except -1
    cdef bint admit(self, Member member, bint is_local) noexcept
    cdef bint count_client(self, Member member) noexcept

    cdef int64_t _limit_ms(self, int phase) noexcept


cdef class Member:
    """What a roster knows of a connection."""
    cdef Roster _roster
    cdef Front _front
    cdef Address _client                # the peer, or whom its PROXY header names
    cdef uint64_t _client_key           # of the client, for its connections and budget; 0: nobody known
    cdef size_t _place                  # in the roster; valid while _is_open
    cdef int64_t _since_ms              # monotonic: when the phase began
    cdef int _phase                     # Phase
    cdef bint _is_open
    cdef bint _is_counted               # in the roster's tally
    cdef bint _is_proxy_due             # the PROXY header has not come yet
    cdef bint _is_deferred              # to the next turn

    cdef int _go_on(self) except -1
    cdef int _on_limit(self) except -1          # the phase has lasted too long
    cdef int _shut(self) except -1              # after what is unsent; lingers if more is due
    cdef int _drop(self) except -1              # at once
