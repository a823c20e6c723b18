"""The compiled door: one request from the bytes read to the bytes written.

      listening socket ── accept ──▶ SocketConnection, or SecureConnection: its handshake first
                                            │
      epoll set of the door ── on_ready ────┤ recv(2), or SSL_read, into the worker's inbox
                                            ▼
                                  Connection._serve          parse, look up, write into the worker's out buffer
                                            │                                      _connection.pyx, _front.pyx
                                            ▼
                                  _send: send(2), SSL_write  once for all answers of the event
                                            │ what the socket does not take
                                            ▼
                                  unsent, until on_ready says that it is writable; nothing is read meanwhile

The epoll set is itself one descriptor in uvloop's: the loop calls on_ready once a turn for all connections, and no
Python object is made for a read, a request or an answer. Shards, timers and the origin are the loop's own.
"""

cimport cython
from libc.errno cimport ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport int64_t

from edge._client cimport address_of_sockaddr, sockaddr as client_sockaddr
from edge._counters cimport ACCEPT_FAILURES, LIMIT_CONNECTIONS
from edge._roster cimport SHAKING
from edge._secure cimport SecureConnection
from edge._socket cimport SocketConnection
from edge._tls cimport Contexts

from edge._base62 import CodePermutation, decode as base62_decode, encode as base62_encode
from edge._front import ORIGIN_SHARD
from edge._ring import Ring, xxh64

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    struct sockaddr_storage:
        unsigned short ss_family
    int accept4(int fd, sockaddr* name, socklen_t* size, int flags)
    int AF_UNIX
    int SOCK_CLOEXEC
    int SOCK_NONBLOCK

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

ACCEPT_PAUSE_S = 0.1        # when the process or the machine has no descriptors left


@cython.final
cdef class Door:

    def __init__(self, loop, Roster roster not None):
        self.roster = roster
        self.front = roster.front
        self._loop = loop
        self._listeners = {}
        self._contexts = {}
        self._set = EpollSet()
        loop.add_reader(self._set.descriptor, self._on_ready)

    def _on_ready(self):
        """Called by the loop when any connection has an event."""
        cdef SocketConnection connection
        cdef int count, i, rounds
        cdef int64_t late_ms = self.front.read_clock() + HANDSHAKES_MS
        for rounds in range(ROUNDS_MAX):
            count = self._set.wait()
            for i in range(count):
                connection = <SocketConnection>self._set.events[i].data.ptr
                # A handshake costs what a hundred answers do, so it waits for the next turn: the set tells of it again.
                if connection._phase == SHAKING and self.front.read_clock() >= late_ms:
                    continue
                try:
                    connection._on_events(self._set.events[i].events)
                except Exception as error:
                    self.roster.fail(connection, error)
            self._set.closed.clear()
            if count < EVENTS_MANY:
                return

    def _on_acceptable(self, int listener):
        """Called by the loop when clients wait to be accepted."""
        cdef int left = ACCEPTS_MAX
        cdef int64_t late_ms = self.front.read_clock() + HANDSHAKES_MS
        while left > 0 and self._accept_one(listener) and self.front.read_clock() < late_ms:
            left -= 1
        self._set.closed.clear()

    cdef int _accept_one(self, int listener) except -1:
        """Accept a client and serve what it has sent already; whether another may wait."""
        cdef sockaddr_storage name
        cdef socklen_t size = sizeof(name)
        cdef int fd = accept4(listener, <sockaddr*>&name, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
        cdef SocketConnection connection
        if fd < 0:
            if errno in (EMFILE, ENFILE, ENOBUFS, ENOMEM):
                self._pause_accepting(listener)
            return errno in (EINTR, ECONNABORTED)
        if self.roster.is_full():
            self.front.counters.count(LIMIT_CONNECTIONS)
            close(fd)
            return True
        connection = self._make(listener)
        connection._set = self._set
        connection._fd = fd
        address_of_sockaddr(<client_sockaddr*>&name, size, &connection._client)
        self.roster.enter(connection)
        try:
            if self.roster.admit(connection, name.ss_family == AF_UNIX):
                connection._begin()
            else:
                connection._drop()
        except Exception as error:
            self.roster.fail(connection, error)
        return True

    cdef SocketConnection _make(self, int listener):
        cdef SecureConnection secure
        if listener not in self._contexts:
            return SocketConnection.__new__(SocketConnection, self.roster)
        secure = SecureConnection.__new__(SecureConnection, self.roster)
        secure._contexts = <Contexts>self._contexts[listener]
        return secure

    def _pause_accepting(self, int listener):
        """Let the clients wait in the socket's queue: it stays readable, and accepting fails until something closes."""
        self.front.counters.count(ACCEPT_FAILURES)
        if listener in self._listeners:
            self._loop.remove_reader(listener)
            self._loop.call_later(ACCEPT_PAUSE_S, self._resume_accepting, listener)

    def _resume_accepting(self, int listener):
        if listener in self._listeners:
            self._loop.add_reader(listener, self._on_acceptable, listener)

    # ------------------------------------------------------------------------------------------------ public API

    def listen(self, socket, Contexts contexts=None):
        socket.setblocking(False)
        self._listeners[socket.fileno()] = socket
        if contexts is not None:
            self._contexts[socket.fileno()] = contexts
        self._resume_accepting(socket.fileno())

    def stop_listening(self):
        for listener in list(self._listeners):
            self._loop.remove_reader(listener)
            del self._listeners[listener]
        self._contexts.clear()

    def close(self):
        self.stop_listening()
        self.roster.close()
        if self._set.descriptor >= 0:
            self._loop.remove_reader(self._set.descriptor)
            self._set.close()
