"""The fields in which proxies hand on the client's address.

All functions read from the right and stop at the first address that is not trusted: it is the client's. An element that
names no address (unknown, obfuscated, misspelt, empty) stops them too; then the client is the last good address to its
right, or the peer. If every address is trusted the client is the leftmost. At most 32 elements are looked at.
"""

import enum

from edge._client import Networks

class Forwarding(enum.IntEnum):
    """Which field of a request is believed, when a trusted peer sent it."""

    OFF = 0
    FORWARDED = 1
    X_FORWARDED_FOR = 2

def read_forwarded(value: bytes | memoryview, trusted: Networks, peer: str) -> tuple[str, bool]:
    """The client by one value of Forwarded (RFC 7239), and whether the line before may say more: all were trusted.

    Addresses with ports and IPv6 in brackets must be quoted, as the RFC says.
    """

def read_x_forwarded_for(value: bytes | memoryview, trusted: Networks, peer: str) -> tuple[str, bool]:
    """The same for X-Forwarded-For: IPv4, IPv6, IPv4 with a port, [IPv6] with a port or without."""

def client_of(field: Forwarding, head: bytes | memoryview, trusted: Networks, peer: str) -> str:
    """The client of a request: of the peer itself unless it is trusted and the head has the field.

    `head` is a whole one that _http.parse has taken. Several lines of the field are one list; the last is the nearest.
    """
