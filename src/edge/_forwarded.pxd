"""The fields in which proxies hand on the client's address. A leaf: cimports only libc and the addresses of _client."""

from libc.stddef cimport size_t

from edge._client cimport Address, Networks

cdef enum:
    HOPS_MAX = 32               # elements of a chain that are looked at; real ones have under ten


# Which field of a request is believed, when a trusted peer sent it.
cpdef enum Forwarding:
    OFF = 0
    FORWARDED = 1               # RFC 7239
    X_FORWARDED_FOR = 2


# Walk one field value from the right. `client` is set to the first address that is not trusted; or to the leftmost, if
# all are; or to the one right of an element that names no address, and is as it was if there is none. Whether the walk
# may go on in the field line before this one: all elements were trusted hops.
cdef bint forwarded_client(const char* value, size_t size, Networks trusted, Address* client) noexcept nogil
cdef bint x_forwarded_for_client(const char* value, size_t size, Networks trusted, Address* client) noexcept nogil

# The client of a request. `client` holds the peer's address (of the socket, or of its PROXY header) and stays as it is
# unless that is trusted. `head` is a whole head that parse_head has taken, with its last CRLF; borrowed for the call.
cdef void find_client(
    Forwarding field, const char* head, size_t size, Networks trusted, Address* client
) noexcept nogil
