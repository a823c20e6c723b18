"""A connection behind an asyncio transport, which does the TLS."""

from edge._connection cimport Connection


cdef class StreamConnection(Connection):
    cdef object _transport
    cdef bint _is_paused                # reading
    cdef size_t _unsent_size            # bytes that the transport held when it last paused

    cdef int _count_unsent(self, size_t size) noexcept
