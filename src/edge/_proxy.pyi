"""The PROXY protocol, versions 1 and 2."""

def read_proxy(data: bytes | memoryview) -> int | tuple[int, str | None]:
    """Parse the header at the start of `data`.

    0: more bytes are needed. -1: it is none, or not valid: the connection is to be closed at once without an answer.
    Otherwise (bytes of the header, the client's address). None in place of the address: the proxy speaks for itself or
    does not know (LOCAL, UNKNOWN, UNSPEC), and the connection's own address holds. Only streams are taken; a checksum,
    if there is one, must be right.
    """
