"""The compiled door: the worker's sockets, and the connections whose bytes they carry."""

from libc.stdint cimport uint32_t

from edge._connection cimport Connection
from edge._front cimport Front
from edge._roster cimport Roster

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        void* ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data

cdef enum:
    EVENTS_MAX = 256            # handled in one turn of the loop, so that shards and timers have theirs
    EVENTS_MANY = 8             # so many say that more have come meanwhile
    ROUNDS_MAX = 4              # of events handled in one turn then: asking again costs less than a turn does
    ACCEPTS_MAX = 64            # of one listening socket in one turn
    LINGER_BYTES_MAX = 1024 * 1024  # read and thrown away before a connection is closed all the same


cdef class Door:
    cdef readonly Front front
    cdef readonly Roster roster
    cdef object _loop
    cdef int _epoll                     # owned; readable for the loop when any connection has an event
    cdef epoll_event[EVENTS_MAX] _events
    cdef list _closed                   # connections that ended in this turn, kept while events may point to them
    cdef dict _listeners                # descriptor -> socket

    cdef int _accept_one(self, int listener) except -1


cdef class SocketConnection(Connection):
    """A plain connection: its socket is read, written and watched by the door itself."""
    cdef Door _door
    cdef int _fd                        # owned; -1 once closed
    cdef uint32_t _events               # watched for
    cdef bint _is_watched               # the socket is in the epoll set
    cdef bint _is_held                  # bytes came while they could not be served: not watched for more
    cdef size_t _lingered               # bytes thrown away
    cdef char* _unsent                  # owned: bytes that the client does not take; NULL if there are none
    cdef size_t _unsent_at, _unsent_size

    cdef int _on_events(self, uint32_t events) except -1
    cdef int _on_readable(self) except -1
    cdef int _on_writable(self) except -1
    cdef int _linger(self) except -1
    cdef int _append(self, const char* data, size_t size) except -1
    cdef int _free_unsent(self) noexcept
    cdef int _close(self) except -1
