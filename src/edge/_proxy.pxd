"""The PROXY protocol, versions 1 and 2. A leaf: cimports libc and the addresses of _client."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t

from edge._client cimport Address

cdef enum:
    PROXY_LINE_BYTES_MAX = 107      # of version 1 with its CRLF, by the specification
    PROXY_BYTES_MAX = 4096          # of version 2 with its TLVs, as nginx; a client's certificate can be among them


# Bytes of the header (positive); 0 if more bytes are needed; -1 if it is none, and the connection is to be closed at
# once without an answer. `is_known`: `client` was set from the header; else the connection's own address holds (LOCAL,
# UNKNOWN, UNSPEC) and `client` is as it was. `data` is borrowed for the call.
cdef int parse_proxy(const char* data, size_t size, Address* client, bint* is_known) noexcept nogil
