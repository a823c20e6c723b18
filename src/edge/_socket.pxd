"""Plain connections: a socket that is read, written and watched for by itself."""

from libc.stdint cimport uint32_t

from edge._connection cimport Connection
from edge._front cimport Front

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        void* ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    enum:
        EPOLLIN
        EPOLLOUT

cdef enum:
    EVENTS_MAX = 256            # handled in one turn of the loop, so that shards and timers have theirs
    LINGER_BYTES_MAX = 1024 * 1024  # read and thrown away before a connection is closed all the same


cdef class EpollSet:
    """The connections of a worker that wait for their sockets."""
    cdef readonly int descriptor        # owned; readable when any connection has an event; -1 once closed
    cdef epoll_event[EVENTS_MAX] events
    cdef list closed                    # connections that ended in this turn, kept while events may point to them

    cdef int wait(self) noexcept        # how many of `events` are filled; at once
    cdef int close(self) noexcept


cdef class SocketConnection(Connection):
    """A connection whose bytes go through its socket as they are."""
    cdef EpollSet _set
    cdef int _fd                        # owned; -1 once closed
    cdef uint32_t _events               # watched for
    cdef bint _is_watched               # the socket is in the epoll set
    cdef bint _is_held                  # bytes came while they could not be served: not watched for more
    cdef size_t _lingered               # bytes thrown away
    cdef char* _unsent                  # owned: bytes that the client does not take; NULL if there are none
    cdef size_t _unsent_at, _unsent_size

    # What a connection that is not plain does in another way; like recv(2) and send(2), errno included.
    cdef ssize_t _receive(self, char* data, size_t size) noexcept
    cdef ssize_t _transmit(self, const char* data, size_t size) noexcept
    cdef uint32_t _wanted(self) noexcept        # what to watch for
    cdef int _take_leave(self) noexcept         # nothing is sent after this

    cdef int _begin(self) except -1             # after the accept
    cdef int _on_events(self, uint32_t events) except -1
    cdef int _on_readable(self) except -1
    cdef int _on_writable(self) except -1
    cdef int _linger(self) except -1
    cdef int _append(self, const char* data, size_t size) except -1
    cdef int _free_unsent(self) noexcept
    cdef int _close(self) except -1
