"""The compiled door: the worker's sockets, and the connections whose bytes they carry."""

from edge._front cimport Front
from edge._roster cimport Roster
from edge._socket cimport EpollSet, SocketConnection

cdef enum:
    EVENTS_MANY = 8             # so many say that more have come meanwhile
    ROUNDS_MAX = 4              # of events handled in one turn then: asking again costs less than a turn does
    ACCEPTS_MAX = 64            # of one listening socket in one turn
    HANDSHAKES_MS = 10          # of TLS likewise, and of those under way; a signature by RSA 4096 takes some 5


cdef class Door:
    cdef readonly Front front
    cdef readonly Roster roster
    cdef object _loop
    cdef EpollSet _set
    cdef dict _listeners                # descriptor -> socket
    cdef dict _contexts                 # descriptor -> Contexts, of those where clients speak TLS

    cdef int _accept_one(self, int listener) except -1
    cdef SocketConnection _make(self, int listener)
