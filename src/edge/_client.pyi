"""Who the client is: its address, the networks whose peers may name it, and what the budgets know it by.

The door calls these at C level (see the .pxd). Here addresses are texts: IPv4 dotted, also where it came as
::ffff:a.b.c.d; "::" for a peer on a unix socket.
"""

class Networks:
    """An immutable set of at most 64 networks, from a text such as "10.0.0.0/8,fd00::/8,127.0.0.1".

    Spaces around a network and empty places between commas do not matter; an empty text is the empty set. ValueError
    names what is no network: a prefix that is out of range, a netmask, a zone, bits set behind the prefix. `::/0` is
    all of IPv6 and not of IPv4; `::/128` is a peer on a unix socket.
    """

    def __init__(self, text: str) -> None: ...
    def __contains__(self, address: str) -> bool:
        """Whether the address is in one of the networks; ValueError for a text that is no address."""

    def __len__(self) -> int:
        """The number of networks."""

class ClientKeys:
    """The keys of clients, under a secret of 16 bytes that no client may know: os.urandom(16), once a process."""

    def __init__(self, secret: bytes) -> None: ...
    def key(self, address: str) -> int:
        """The key of the client that an address belongs to: an IPv4 address whole, an IPv6 address by its /64."""

def canonical(text: str) -> str:
    """An address in the one form that all functions here give it; ValueError for a text that is no address."""

def peer(fd: int) -> str | None:
    """The address at the other end of a connected socket; None if it has none, or one of another family."""
