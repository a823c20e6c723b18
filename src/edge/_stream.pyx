"""A connection behind an asyncio transport, which does the TLS: bytes in and out as the loop calls.

Invariant: a transport may call back from within its own write; nothing is served there, but in a turn of its own.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free

from edge._client cimport address_of_peer
from edge._counters cimport LIMIT_CONNECTIONS, LIMIT_UNSENT_BYTES
from edge._roster cimport LINGERING, UNSENT

cdef extern from "<sys/socket.h>" nogil:
    int AF_UNIX


@cython.final
cdef class StreamConnection(Connection):

    cdef int _send(self, const char* data, size_t size) except -1:
        self._transport.write(PyBytes_FromStringAndSize(data, size))
        return 0

    cdef int _watch(self) except -1:
        cdef bint is_held = not self._can_serve() and self._carry_size > 0
        if is_held != self._is_paused:
            self._is_paused = is_held
            if is_held:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
        return 0

    cdef int _shut(self) except -1:
        if self._is_open and self._phase != LINGERING:
            self._phase = LINGERING
            self._since_ms = self._front.now_ms
            self._is_closing = True
            self._transport.close()             # after what waits in it was sent; connection_lost follows
        return 0

    cdef int _drop(self) except -1:
        if self._is_open:
            self._is_closing = True
            self._transport.abort()
        return 0

    # ------------------------------------------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport):
        self._transport = transport
        self._is_tls = transport.get_extra_info("sslcontext") is not None
        self._front.begin()
        if self._roster.is_full():
            self._front.counters.count(LIMIT_CONNECTIONS)
            transport.abort()
            return
        self._roster.enter(self)
        # pause_writing as soon as the client does not take everything. Not 0: uvloop's TLS would pause and resume at
        # every write, as no bytes are no fewer than 0.
        transport.set_write_buffer_limits(1, 0)
        socket = transport.get_extra_info("socket")
        address_of_peer(socket.fileno(), &self._client)
        if not self._roster.admit(self, <int>socket.family == AF_UNIX):
            self._drop()

    def data_received(self, bytes data not None):
        cdef size_t carried = self._carry_size
        cdef bytes whole = data
        if self._is_closing or not self._is_open:
            return
        try:
            if carried > 0:
                whole = PyBytes_FromStringAndSize(self._carry, carried) + data
                free(self._carry)
                self._carry = NULL
                self._carry_size = 0
            if self._can_serve():
                self._serve(PyBytes_AS_STRING(whole), PyBytes_GET_SIZE(whole))
            else:
                self._keep(PyBytes_AS_STRING(whole), PyBytes_GET_SIZE(whole))
                self._watch()
        except Exception as error:
            self._roster.fail(self, error)

    def eof_received(self):
        """Over TLS the end of one direction is the end of both: the loop's transport closes, whatever is said here."""
        self._is_ended = True

    def pause_writing(self):
        self._is_unsent = True
        self._phase = UNSENT
        self._since_ms = self._front.read_clock()
        self._count_unsent(self._transport.get_write_buffer_size())
        if self._roster.unsent_size > self._roster.unsent_max:
            self._front.counters.count(LIMIT_UNSENT_BYTES)
            self._drop()

    cdef int _count_unsent(self, size_t size) noexcept:
        self._roster.unsent_size += size - self._unsent_size
        self._unsent_size = size
        return 0

    def resume_writing(self):
        """The transport may call this from within its write: the next requests are served in a turn of their own."""
        self._is_unsent = False
        self._count_unsent(0)
        self._roster.loop.call_soon(self._resume)

    def _resume(self):
        self._front.begin()
        try:
            self._go_on()
        except Exception as error:
            self._roster.fail(self, error)

    def connection_lost(self, error):
        self._count_unsent(0)
        if self._is_open:
            self._roster.leave(self)
