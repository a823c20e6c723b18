"""The open connections of a worker, and their bounds in number and time.

Each member says in which phase it is and since when; the sweep looks at all of them in the course of a second and ends
what has lasted too long. So a request costs no timer, only the noting of an instant.

Invariants:
- a member knows its place, so that it leaves in O(1): the last one takes the place;
- whoever entered leaves just once, and is counted to its client just as long.
"""

cimport cython

from edge._counters cimport (
    CONNECTION_FAILURES, CONNECTIONS_CLOSED, CONNECTIONS_OPENED, LIMIT_CLIENT_CONNECTIONS, LIMIT_PIPELINE,
    PROXY_HEADERS_REFUSED,
)
from edge._forwarded cimport FORWARDED, OFF, X_FORWARDED_FOR

import os

cdef enum:
    SWEEP_SHARES = 20           # of all connections are looked at in one sweep

_FORWARDING = {"off": OFF, "forwarded": FORWARDED, "x-forwarded-for": X_FORWARDED_FOR}


cdef class Member:

    def __cinit__(self, Roster roster not None):
        self._roster = roster
        self._front = roster.front

    def __init__(self, *args, **kwargs):
        raise TypeError("connections are made by the door")

    cdef int _go_on(self) except -1:
        raise NotImplementedError

    cdef int _on_limit(self) except -1:
        raise NotImplementedError

    cdef int _shut(self) except -1:
        raise NotImplementedError

    cdef int _drop(self) except -1:
        raise NotImplementedError


@cython.final
cdef class Roster:

    def __init__(self, Front front not None, loop, config):
        self.front = front
        self._connections = []
        self._deferred = []
        self.loop = loop
        self._limits_ms[<int>FRESH] = config.first_byte_timeout_ms
        self._limits_ms[<int>IN_HEAD] = config.head_timeout_ms
        self._limits_ms[<int>IDLE] = config.idle_timeout_ms
        self._limits_ms[<int>UNSENT] = config.unsent_timeout_ms
        self._limits_ms[<int>LINGERING] = config.linger_timeout_ms
        self._limits_ms[<int>SHAKING] = config.tls_handshake_timeout_ms
        self._connections_max = config.connections_max
        self.pipeline_max = config.pipeline_max
        self.requests_max = config.connection_requests_max
        self.unsent_max = config.unsent_bytes_max
        self._client_connections_max = config.client_connections_max
        self._tally = Tally(config.connections_max)
        self.budgets = Budgets(
            config.budget_clients_max, config.unknown_codes_per_s, config.unknown_codes_burst
        )
        self.trusted = Networks(config.trusted_networks)
        self.forwarding = _FORWARDING[config.forwarded]
        self.client_keys = ClientKeys(os.urandom(16))
        self.is_proxied = config.proxy_protocol == "required"

    cdef bint is_full(self) noexcept:
        return <size_t>len(self._connections) >= self._connections_max

    cdef int enter(self, Member member) except -1:
        member._place = len(self._connections)
        self._connections.append(member)
        member._is_open = True
        member._since_ms = self.front.now_ms
        self.front.counters.count(CONNECTIONS_OPENED)
        return 0

    cdef int leave(self, Member member) except -1:
        """Strike the connection off; the last one takes its place."""
        cdef Member last = <Member>self._connections.pop()
        if last is not member:
            self._connections[member._place] = last
            last._place = member._place
        member._is_open = False
        if member._is_counted:
            self._tally.leave(member._client_key)
        self.front.counters.count(CONNECTIONS_CLOSED)
        return 0

    cdef bint admit(self, Member member, bint is_local) noexcept:
        """Whether the connection may go on; a local one comes over a unix socket, from nobody known."""
        if not self.is_proxied:
            if is_local or (self.forwarding != OFF and self.trusted.contains(&member._client)):
                return True                     # it speaks for many: only the worker's limit holds
            return self.count_client(member)
        if not is_local and not self.trusted.contains(&member._client):
            self.front.counters.count(PROXY_HEADERS_REFUSED)
            return False
        member._is_proxy_due = True
        return True

    cdef bint count_client(self, Member member) noexcept:
        """Count the connection to its client; False if that has as many as it may."""
        member._client_key = self.client_keys.client_key(&member._client)
        if self._tally.enter(member._client_key, self._client_connections_max) < 0:
            self.front.counters.count(LIMIT_CLIENT_CONNECTIONS)
            return False
        member._is_counted = True
        return True

    cdef int defer(self, Member member) except -1:
        """Let the others have their turn before more of the connection's requests are answered."""
        self.front.counters.count(LIMIT_PIPELINE)
        member._is_deferred = True
        if not self._deferred:
            self.loop.call_soon(self._serve_deferred)
        self._deferred.append(member)
        return 0

    def _serve_deferred(self):
        """Called by the loop in the turn after `defer`."""
        cdef Member member
        deferred, self._deferred = self._deferred, []
        for member in deferred:
            member._is_deferred = False
            try:
                member._go_on()
            except Exception as error:
                self.fail(member, error)

    cdef int fail(self, Member member, object error) except -1:
        """A defect, or no memory: it costs the one connection, and everybody hears of it."""
        self.front.out_size = 0
        self.front.counters.count(CONNECTION_FAILURES)
        member._drop()
        self.loop.call_exception_handler({"message": "connection dropped", "exception": error})
        return 0

    cdef int64_t _limit_ms(self, int phase) noexcept:
        """The phase's limit; while places are scarce, in proportion to those that are free.

        Whoever holds connections without using them loses them sooner, the more they are: full never means closed
        for everybody else.
        """
        cdef int64_t scarce = self._connections_max // 4
        cdef int64_t free = <int64_t>self._connections_max - len(self._connections)
        if free >= scarce or phase in (UNSENT, LINGERING):
            return self._limits_ms[phase]
        return self._limits_ms[phase] * max(free, <int64_t>0) // scarce

    # ------------------------------------------------------------------------------------------------ public API

    def sweep(self):
        """End what takes longer than it may; called some twenty times a second, sees each connection once a second."""
        cdef Member member
        cdef size_t left
        self.front.begin()
        if self._cursor >= <size_t>len(self._connections):
            self._cursor = 0
            self._share = 0
        # Within a round the shares grow with what comes, but do not shrink as clients leave.
        left = self._share = max(self._share, <size_t>(len(self._connections) // SWEEP_SHARES + 1))
        while left > 0 and self._cursor < <size_t>len(self._connections):
            left -= 1
            member = <Member>self._connections[self._cursor]
            if member._phase != WAITING and self.front.now_ms - member._since_ms >= self._limit_ms(member._phase):
                try:
                    member._on_limit()
                except Exception as error:
                    self.fail(member, error)
            # Where one has left, the last has taken its place: it is seen next.
            if self._cursor < <size_t>len(self._connections) and self._connections[self._cursor] is member:
                self._cursor += 1

    def close_idle(self):
        cdef Member member
        self.front.begin()
        self.is_ending = True
        for member in list(self._connections):
            if member._phase == IDLE or member._phase == FRESH:
                member._shut()
        return len(self._connections)

    def close(self):
        """Close all connections at once."""
        cdef Member member
        for member in list(self._connections):
            member._drop()

    def __len__(self):
        return len(self._connections)

    @property
    def unsent_bytes(self):
        return self.unsent_size

    @property
    def budget_evictions(self):
        return self.budgets.evictions
