"""The compiled door: one request from the bytes read to the bytes written.

      listening socket ── accept ──▶ SocketConnection        TLS: asyncio's server ──▶ StreamConnection
                                            │                                                │
      epoll set of the door ── on_ready ────┤ recv(2) into the worker's inbox                │ data_received
                                            ▼                                                ▼
                                  Connection._serve          parse, look up, write into the worker's out buffer
                                            │                                      _connection.pyx, _front.pyx
                                            ▼
                                  _send: send(2)             once for all answers of the event
                                            │ what the socket does not take
                                            ▼
                                  unsent, until on_ready says that it is writable; nothing is read meanwhile

The epoll set is itself one descriptor in uvloop's: the loop calls on_ready once a turn for all plain connections, and no
Python object is made for a read, a request or an answer. Shards, timers, TLS and the origin are the loop's own.

Invariants:
- a connection is in the roster from its accept until its socket is closed, and its socket is closed just once;
- the set holds no closed socket, and every connection that ended in a turn outlives that turn's events.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, strerror

from edge._client cimport address_of_peer, address_of_sockaddr, sockaddr as client_sockaddr
from edge._counters cimport (
    ACCEPT_FAILURES, LIMIT_CONNECTIONS, LIMIT_LINGER_BYTES, LIMIT_UNSENT_BYTES, PROXY_HEADERS_REFUSED,
)
from edge._front cimport IN_BYTES
from edge._roster cimport LINGERING
from edge._stream cimport StreamConnection

from edge._base62 import CodePermutation, decode as base62_decode, encode as base62_encode
from edge._front import ORIGIN_SHARD
from edge._ring import Ring, xxh64

cdef extern from "<sys/epoll.h>" nogil:
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int maxevents, int timeout)
    enum:
        EPOLL_CLOEXEC
        EPOLL_CTL_ADD
        EPOLL_CTL_MOD
        EPOLLIN
        EPOLLOUT
        EPOLLERR
        EPOLLHUP

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    struct sockaddr_storage:
        unsigned short ss_family
    int accept4(int fd, sockaddr* name, socklen_t* size, int flags)
    ssize_t recv(int fd, void* data, size_t size, int flags)
    ssize_t send(int fd, const void* data, size_t size, int flags)
    int shutdown(int fd, int how)
    int AF_UNIX
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    int SHUT_WR
    int SOCK_CLOEXEC
    int SOCK_NONBLOCK

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

ACCEPT_PAUSE_S = 0.1        # when the process or the machine has no descriptors left


@cython.final
cdef class Door:

    def __cinit__(self, *args, **kwargs):
        self._epoll = -1

    def __dealloc__(self):
        if self._epoll >= 0:
            close(self._epoll)

    def __init__(self, loop, Roster roster not None):
        self.roster = roster
        self.front = roster.front
        self._loop = loop
        self._closed = []
        self._listeners = {}
        self._epoll = epoll_create1(EPOLL_CLOEXEC)
        if self._epoll < 0:
            raise OSError(errno, strerror(errno).decode())
        loop.add_reader(self._epoll, self._on_ready)

    def _on_ready(self):
        """Called by the loop when any connection has an event."""
        cdef SocketConnection connection
        cdef int count, i, rounds
        for rounds in range(ROUNDS_MAX):
            count = epoll_wait(self._epoll, self._events, EVENTS_MAX, 0)
            for i in range(count):
                connection = <SocketConnection>self._events[i].data.ptr
                try:
                    connection._on_events(self._events[i].events)
                except Exception as error:
                    self.roster.fail(connection, error)
            self._closed.clear()
            if count < EVENTS_MANY:
                return

    def _on_acceptable(self, int listener):
        """Called by the loop when clients wait to be accepted."""
        cdef int left = ACCEPTS_MAX
        self.front.read_clock()
        while left > 0 and self._accept_one(listener):
            left -= 1
        self._closed.clear()

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
        connection = SocketConnection.__new__(SocketConnection, self.roster)
        connection._door = self
        connection._fd = fd
        address_of_sockaddr(<client_sockaddr*>&name, size, &connection._client)
        self.roster.enter(connection)
        try:
            if self.roster.admit(connection, name.ss_family == AF_UNIX):
                connection._on_readable()
            else:
                connection._drop()
        except Exception as error:
            self.roster.fail(connection, error)
        return True

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

    def listen(self, socket):
        socket.setblocking(False)
        self._listeners[socket.fileno()] = socket
        self._resume_accepting(socket.fileno())

    def stop_listening(self):
        for listener in list(self._listeners):
            self._loop.remove_reader(listener)
            del self._listeners[listener]

    def stream(self):
        return StreamConnection.__new__(StreamConnection, self.roster)

    def close(self):
        self.stop_listening()
        self.roster.close()
        if self._epoll >= 0:
            self._loop.remove_reader(self._epoll)
            close(self._epoll)
            self._epoll = -1


@cython.final
cdef class SocketConnection(Connection):

    def __dealloc__(self):
        free(self._unsent)
        if self._fd >= 0:
            close(self._fd)

    cdef int _on_events(self, uint32_t events) except -1:
        if self._fd < 0:
            return 0
        if events & (EPOLLERR | EPOLLHUP):
            return self._drop()                 # reset, or closed in both directions
        if events & EPOLLOUT:
            self._on_writable()
        if events & EPOLLIN and self._fd >= 0:
            self._on_readable()
        return 0

    cdef int _on_readable(self) except -1:
        cdef char* inbox = self._front.inbox
        cdef size_t carried = self._carry_size
        cdef ssize_t got
        if self._phase == LINGERING:
            return self._linger()
        if not self._can_serve():
            self._is_held = True                # read when what is under way is answered
            return self._watch()
        # In bounds: the carry is a part of a head, and the inbox has IN_BYTES before those of one read.
        memcpy(inbox, self._carry, carried)
        got = recv(self._fd, inbox + carried, IN_BYTES, 0)
        if got < 0:
            return self._watch() if errno in (EAGAIN, EINTR) else self._drop()
        if got == 0:
            self._is_ended = True
            return self._enter_phase(False)
        free(self._carry)
        self._carry = NULL
        self._carry_size = 0
        return self._serve(inbox, carried + got)

    cdef int _on_writable(self) except -1:
        cdef ssize_t sent = send(
            self._fd, self._unsent + self._unsent_at, self._unsent_size - self._unsent_at, MSG_DONTWAIT | MSG_NOSIGNAL
        )
        if sent < 0:
            return 0 if errno in (EAGAIN, EINTR) else self._drop()
        self._unsent_at += sent
        self._since_ms = self._front.read_clock()
        if self._unsent_at == self._unsent_size:
            self._free_unsent()
            return self._go_on()
        return 0

    cdef int _free_unsent(self) noexcept:
        if self._unsent != NULL:
            self._roster.unsent_size -= self._unsent_size
            free(self._unsent)
            self._unsent = NULL
        self._is_unsent = False
        return 0

    cdef int _send(self, const char* data, size_t size) except -1:
        cdef ssize_t sent
        if self._is_unsent:                     # flushed twice within one callback
            return self._append(data, size)
        sent = send(self._fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent == <ssize_t>size:
            return 0
        if sent < 0:
            if errno not in (EAGAIN, EINTR):
                return self._drop()             # the client is gone
            sent = 0
        return self._append(data + sent, size - sent)

    cdef int _append(self, const char* data, size_t size) except -1:
        """Keep what the client does not take, or drop a client when all of them together leave too much."""
        cdef size_t left = self._unsent_size - self._unsent_at if self._is_unsent else 0
        cdef char* unsent
        if self._roster.unsent_size + size > self._roster.unsent_max:
            self._front.counters.count(LIMIT_UNSENT_BYTES)
            return self._drop()
        unsent = <char*>malloc(left + size)
        if unsent == NULL:
            raise MemoryError("no memory for bytes that a client does not take")
        memcpy(unsent, self._unsent + self._unsent_at, left)
        memcpy(unsent + left, data, size)
        self._free_unsent()
        self._unsent = unsent
        self._unsent_at = 0
        self._unsent_size = left + size
        self._roster.unsent_size += left + size
        self._is_unsent = True
        return 0

    cdef int _watch(self) except -1:
        """Have the epoll set say what the connection waits for."""
        cdef epoll_event event
        event.events = EPOLLOUT if self._is_unsent else 0
        if self._can_serve():
            self._is_held = False
        if not (self._is_ended or self._is_unsent or self._is_held):
            event.events |= EPOLLIN
        if self._fd < 0 or (self._is_watched and event.events == self._events):
            return 0
        event.data.ptr = <void*>self
        if epoll_ctl(self._door._epoll, EPOLL_CTL_MOD if self._is_watched else EPOLL_CTL_ADD, self._fd, &event) != 0:
            raise OSError(errno, strerror(errno).decode())
        self._is_watched = True
        self._events = event.events
        return 0

    cdef int _shut(self) except -1:
        """Close after the last answer.

        1. The client sends what nobody will read; 2. the socket is closed with it unread; 3. the kernel resets the
        connection; 4. the client loses the answer that it had not read yet. So such a socket is closed for writing
        only, and read until the client has seen the end (RFC 9112 section 9.6).
        """
        if self._fd < 0:
            return 0
        # Held: bytes came that were never read.
        if self._is_ended or not (self._is_more_due or self._is_held or self._carry_size > 0):
            return self._close()
        if self._phase != LINGERING:
            self._phase = LINGERING
            self._since_ms = self._front.now_ms
            shutdown(self._fd, SHUT_WR)
        self._is_closing = True
        self._is_held = False
        return self._watch()

    cdef int _linger(self) except -1:
        cdef ssize_t got = recv(self._fd, self._front.inbox, IN_BYTES, 0)
        if got < 0 and errno in (EAGAIN, EINTR):
            return 0
        self._lingered += max(got, <ssize_t>0)
        if got > 0 and self._lingered <= LINGER_BYTES_MAX:
            return 0
        if got > 0:
            self._front.counters.count(LIMIT_LINGER_BYTES)
        return self._close()

    cdef int _drop(self) except -1:
        return self._close()

    cdef int _close(self) except -1:
        """Close the socket, which also takes it out of the epoll set."""
        if self._fd < 0:
            return 0
        close(self._fd)
        self._fd = -1
        self._free_unsent()
        self._door._closed.append(self)
        return self._roster.leave(self)
