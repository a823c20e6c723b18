"""Plain connections: a socket that is read, written and watched for by itself, without a transport of the loop's.

Invariants:
- a connection is in the roster from its accept until its socket is closed, and its socket is closed just once;
- the set holds no closed socket, and every connection that ended in a turn outlives that turn's events.
"""

cimport cython
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, strerror

from edge._counters cimport LIMIT_LINGER_BYTES, LIMIT_UNSENT_BYTES
from edge._front cimport IN_BYTES
from edge._roster cimport LINGERING

cdef extern from "<sys/epoll.h>" nogil:
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int maxevents, int timeout)
    enum:
        EPOLL_CLOEXEC
        EPOLL_CTL_ADD
        EPOLL_CTL_MOD
        EPOLLERR
        EPOLLHUP

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void* data, size_t size, int flags)
    ssize_t send(int fd, const void* data, size_t size, int flags)
    int shutdown(int fd, int how)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    int SHUT_WR

cdef extern from "<unistd.h>" nogil:
    int close(int fd)


@cython.final
cdef class EpollSet:

    def __cinit__(self):
        self.closed = []
        self.descriptor = epoll_create1(EPOLL_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(errno, strerror(errno).decode())

    def __dealloc__(self):
        self.close()

    cdef int wait(self) noexcept:
        return epoll_wait(self.descriptor, self.events, EVENTS_MAX, 0)

    cdef int close(self) noexcept:
        if self.descriptor >= 0:
            close(self.descriptor)
            self.descriptor = -1
        return 0


cdef class SocketConnection(Connection):

    def __dealloc__(self):
        free(self._unsent)
        if self._fd >= 0:
            close(self._fd)

    cdef ssize_t _receive(self, char* data, size_t size) noexcept:
        return recv(self._fd, data, size, 0)

    cdef ssize_t _transmit(self, const char* data, size_t size) noexcept:
        return send(self._fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)

    cdef uint32_t _wanted(self) noexcept:
        if self._is_unsent:
            return EPOLLOUT
        return 0 if self._is_ended or self._is_held else EPOLLIN

    cdef int _take_leave(self) noexcept:
        return 0

    cdef int _begin(self) except -1:
        return self._on_readable()

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
        got = self._receive(inbox + carried, IN_BYTES)
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
        cdef ssize_t sent = self._transmit(self._unsent + self._unsent_at, self._unsent_size - self._unsent_at)
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
        sent = self._transmit(data, size)
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
        if self._can_serve():
            self._is_held = False
        event.events = self._wanted()
        if self._fd < 0 or (self._is_watched and event.events == self._events):
            return 0
        event.data.ptr = <void*>self
        if epoll_ctl(self._set.descriptor, EPOLL_CTL_MOD if self._is_watched else EPOLL_CTL_ADD, self._fd, &event) != 0:
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
            self._take_leave()
            return self._close()
        if self._phase != LINGERING:
            self._phase = LINGERING
            self._since_ms = self._front.now_ms
            self._take_leave()
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
        self._set.closed.append(self)
        return self._roster.leave(self)
