"""Addresses of clients, trusted networks, keys. A leaf: cimports only libc, cpython and the SipHash of _base62."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        unsigned short sa_family

cdef enum:
    ADDRESS_TEXT_MAX = 46       # INET6_ADDRSTRLEN: the longest text of an address and its NUL
    NETWORKS_MAX = 64           # each address is compared with all of them; a proxy tier has a handful


# An IPv6 address in network order; IPv4 as ::ffff:a.b.c.d; a peer on a unix socket as "::".
cdef struct Address:
    uint8_t[16] octets


cdef struct Network:
    uint64_t high, low          # of the network's address, in host order; bits behind the prefix are 0
    uint64_t high_mask, low_mask
    bint is_ipv4                # inside ::ffff:0:0/96


cdef inline bint is_ipv4(const Address* address) noexcept nogil:
    cdef int i
    for i in range(10):
        if address.octets[i] != 0:
            return False
    return address.octets[10] == 0xff and address.octets[11] == 0xff


cdef inline void set_ipv4(Address* address, const void* octets) noexcept nogil:
    """Set to the four bytes at `octets`, which are in network order and borrowed for the call."""
    cdef int i
    for i in range(10):
        address.octets[i] = 0
    address.octets[10] = address.octets[11] = 0xff
    for i in range(4):
        address.octets[12 + i] = (<const uint8_t*>octets)[i]


# 0, or -1 for another family than AF_INET, AF_INET6, AF_UNIX, or too few bytes; then `address` is as it was. `name` is
# borrowed for the call.
cdef int address_of_sockaddr(const sockaddr* name, size_t size, Address* address) noexcept nogil
# The address at the other end of a connected socket; 0 or -1 as above.
cdef int address_of_peer(int fd, Address* address) noexcept nogil
# Dotted IPv4, or IPv6 without brackets and zone; nothing before or after. 0, or -1 and `address` is as it was.
cdef int parse_ipv4(const char* text, size_t size, Address* address) noexcept nogil
cdef int parse_ipv6(const char* text, size_t size, Address* address) noexcept nogil
cdef int parse_address(const char* text, size_t size, Address* address) noexcept nogil
# The text with its NUL, in at most ADDRESS_TEXT_MAX bytes; IPv4 dotted. Gives its length without the NUL.
cdef size_t format_address(const Address* address, char* text) noexcept nogil
# The same for Python. set_address raises ValueError.
cdef str address_text(const Address* address)
cdef int set_address(str text, Address* address) except -1


cdef class Networks:
    cdef Network[NETWORKS_MAX] _networks
    cdef int _count

    cdef bint contains(self, const Address* address) noexcept nogil
    cdef int _add(self, str network) except -1


cdef class ClientKeys:
    cdef uint64_t _secret0, _secret1

    # What the budgets know a client by: IPv4 whole, IPv6 by its /64.
    cdef uint64_t client_key(self, const Address* address) noexcept nogil
