"""The host that a request names. A leaf: cimports only libc and cpython."""

from libc.stddef cimport size_t

cdef enum:
    HOST_BYTES_MAX = 260        # a name of DNS (253), a trailing dot, and ":65535"

# Bytes of the host at `at` without a default or empty port, and without the dot that only says that the name is whole;
# -1 if it is no host (RFC 3986 section 3.2.2, uri-host [ ":" port ]), empty, or above HOST_BYTES_MAX.
cdef int trim_host(const char* at, size_t size) noexcept nogil
# Bytes of the host of an absolute http or https URI, trimmed like that; -1 if it is none, or names a user. `host` is where
# it begins, `path` where its authority ends; both are borrowed from the URI.
cdef int split_uri(const char* at, size_t size, const char** host, const char** path) noexcept nogil
# Whether it is a host with a port, as CONNECT has it (RFC 9112 section 3.2.3).
cdef bint is_authority(const char* at, size_t size) noexcept nogil
