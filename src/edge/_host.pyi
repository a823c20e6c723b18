"""The host that a request names."""

def trim(host: bytes) -> bytes | None:
    """The host as the table of domains has it, but for its case; None if it is none.

    A name, an IPv4 address or an IPv6 address in brackets, and a port. The ports 80 and 443 are left away, and so is a
    dot at the end of a name: "sho.rt.:443" is "sho.rt". Before another port the dot stays.
    """
