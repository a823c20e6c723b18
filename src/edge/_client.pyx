"""Who the client is: its address, the networks whose peers may name it, and what the budgets know it by.

    getpeername ─▶ address_of_peer ─────┐
    PROXY header ─▶ _proxy.parse_proxy ─┴▶ the peer's Address ─▶ _forwarded.find_client ─▶ the client's Address
                                                                                             │
                                          Budgets, Tally of _budget ◀─ ClientKeys.client_key ┘
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memchr, memcpy

from edge._base62 cimport siphash_of

cdef extern from "<sys/socket.h>" nogil:
    int AF_INET, AF_INET6, AF_UNIX
    cdef struct sockaddr_storage:
        pass
    int getpeername(int fd, sockaddr* name, socklen_t* size)

cdef extern from "<netinet/in.h>" nogil:
    cdef struct in_addr:
        pass
    cdef struct in6_addr:
        pass
    cdef struct sockaddr_in:
        in_addr sin_addr
    cdef struct sockaddr_in6:
        in6_addr sin6_addr

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* octets)
    const char* inet_ntop(int family, const void* octets, char* text, socklen_t size)


cdef inline uint64_t _read64(const uint8_t* octets) noexcept nogil:
    """Eight bytes in network order as a number."""
    cdef uint64_t number = 0
    cdef int i
    for i in range(8):
        number = number << 8 | octets[i]
    return number


# ---- addresses


cdef int address_of_sockaddr(const sockaddr* name, size_t size, Address* address) noexcept nogil:
    if size < sizeof(name.sa_family):
        return -1
    if name.sa_family == AF_INET and size >= sizeof(sockaddr_in):
        set_ipv4(address, &(<const sockaddr_in*>name).sin_addr)
    elif name.sa_family == AF_INET6 and size >= sizeof(sockaddr_in6):
        memcpy(address.octets, &(<const sockaddr_in6*>name).sin6_addr, 16)
    elif name.sa_family == AF_UNIX:
        address.octets = [0] * 16
    else:
        return -1
    return 0


cdef int address_of_peer(int fd, Address* address) noexcept nogil:
    cdef sockaddr_storage name
    cdef socklen_t size = sizeof(name)
    if getpeername(fd, <sockaddr*>&name, &size) != 0:
        return -1
    return address_of_sockaddr(<const sockaddr*>&name, min(<size_t>size, sizeof(name)), address)


cdef int _parse(int family, const char* text, size_t size, void* octets) noexcept nogil:
    """inet_pton of text that no NUL ends: 0 or -1. It takes no leading zeros and no zones."""
    cdef char[ADDRESS_TEXT_MAX] copy
    if size >= ADDRESS_TEXT_MAX or memchr(text, 0, size) != NULL:
        return -1
    memcpy(copy, text, size)
    copy[size] = 0
    return 0 if inet_pton(family, copy, octets) == 1 else -1


cdef int parse_ipv4(const char* text, size_t size, Address* address) noexcept nogil:
    cdef uint8_t[4] octets
    if _parse(AF_INET, text, size, octets) != 0:
        return -1
    set_ipv4(address, octets)
    return 0


cdef int parse_ipv6(const char* text, size_t size, Address* address) noexcept nogil:
    cdef uint8_t[16] octets
    if _parse(AF_INET6, text, size, octets) != 0:
        return -1
    memcpy(address.octets, octets, 16)
    return 0


cdef int parse_address(const char* text, size_t size, Address* address) noexcept nogil:
    if memchr(text, c":", size) != NULL:
        return parse_ipv6(text, size, address)
    return parse_ipv4(text, size, address)


cdef size_t format_address(const Address* address, char* text) noexcept nogil:
    if is_ipv4(address):
        inet_ntop(AF_INET, address.octets + 12, text, ADDRESS_TEXT_MAX)
    else:
        inet_ntop(AF_INET6, address.octets, text, ADDRESS_TEXT_MAX)
    return <const char*>memchr(text, 0, ADDRESS_TEXT_MAX) - text


# ---------------------------------------------------------------------------------------------------- public API


cdef int set_address(str text, Address* address) except -1:
    cdef bytes encoded = text.encode()
    if parse_address(PyBytes_AS_STRING(encoded), len(encoded), address) != 0:
        raise ValueError(f"{text!r} is no IP address")
    return 0


cdef str address_text(const Address* address):
    cdef char[ADDRESS_TEXT_MAX] text
    return text[: format_address(address, text)].decode("ascii")


@cython.final
@cython.no_gc
cdef class Networks:

    def __cinit__(self, str text not None):
        cdef list networks = [network.strip() for network in text.split(",") if network.strip()]
        if len(networks) > NETWORKS_MAX:
            raise ValueError(f"{len(networks)} networks; at most {NETWORKS_MAX} are compared")
        for network in networks:
            self._add(network)

    def __init__(self, text):
        pass

    cdef int _add(self, str network) except -1:
        cdef Network added
        cdef Address address
        cdef int bits
        cdef str text = network.partition("/")[0]
        try:
            set_address(text, &address)
            bits = _read_prefix(network, 32 if ":" not in text else 128)
        except ValueError as error:
            raise ValueError(f"{network!r} is no network such as 10.0.0.0/8, fd00::/8 or 127.0.0.1") from error
        if ":" not in text:
            bits += 96
        added.high_mask = _mask(bits)
        added.low_mask = _mask(bits - 64)
        added.high = _read64(address.octets)
        added.low = _read64(address.octets + 8)
        added.is_ipv4 = bits >= 96 and is_ipv4(&address)
        if added.high & ~added.high_mask or added.low & ~added.low_mask:
            raise ValueError(f"{network!r} has bits set behind its prefix: give the network's own address")
        self._networks[self._count] = added     # in bounds: __cinit__ adds at most NETWORKS_MAX
        self._count += 1
        return 0

    cdef bint contains(self, const Address* address) noexcept nogil:
        cdef uint64_t high = _read64(address.octets), low = _read64(address.octets + 8)
        cdef bint is_four = is_ipv4(address)
        cdef const Network* network
        cdef int i
        for i in range(self._count):
            network = &self._networks[i]
            # ::/0 is all of IPv6, and not of IPv4.
            if (
                high & network.high_mask == network.high
                and low & network.low_mask == network.low
                and is_four == network.is_ipv4
            ):
                return True
        return False

    def __contains__(self, str address not None):
        cdef Address parsed
        set_address(address, &parsed)
        return self.contains(&parsed)

    def __len__(self):
        return self._count


cdef uint64_t _mask(int bits) noexcept nogil:
    """The upper `bits` of 64; a shift by 64 is undefined in C."""
    if bits <= 0:
        return 0
    return ~<uint64_t>0 if bits >= 64 else ~(~<uint64_t>0 >> bits)


cdef int _read_prefix(str network, int bits_max) except -1:
    """The bits behind the slash; a network without a slash is one address."""
    _, slash, prefix = network.partition("/")
    if not slash:
        return bits_max
    if not (prefix.isascii() and prefix.isdecimal()) or str(int(prefix)) != prefix or int(prefix) > bits_max:
        raise ValueError(f"{prefix!r} is no prefix of 0..{bits_max} bits")
    return int(prefix)


@cython.final
@cython.no_gc
cdef class ClientKeys:

    def __cinit__(self, bytes secret not None):
        if len(secret) != 16:
            raise ValueError("the secret of the clients' keys has 16 bytes")
        memcpy(&self._secret0, PyBytes_AS_STRING(secret), 8)
        memcpy(&self._secret1, PyBytes_AS_STRING(secret) + 8, 8)

    def __init__(self, secret):
        pass

    cdef uint64_t client_key(self, const Address* address) noexcept nogil:
        # All 16 bytes are hashed, so that no /64, filled with zeros, is like an IPv4 address: that one's lower half has
        # bits set. XXH64 with a secret seed would not do: on so short an input it is a chain of invertible steps that
        # nobody has claimed to be unpredictable, and who can make keys collide can spend another client's tokens.
        cdef Address block = address[0]
        cdef int i
        if not is_ipv4(address):
            for i in range(8, 16):
                block.octets[i] = 0
        return siphash_of(block.octets, sizeof(block), self._secret0, self._secret1)

    def key(self, str address not None):
        cdef Address parsed
        set_address(address, &parsed)
        return self.client_key(&parsed)


def canonical(str text not None):
    cdef Address address
    set_address(text, &address)
    return address_text(&address)


def peer(int fd):
    cdef Address address
    return None if address_of_peer(fd, &address) != 0 else address_text(&address)
