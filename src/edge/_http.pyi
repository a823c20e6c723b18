"""The parser of request heads."""

def parse(data: bytes) -> int | tuple[int, str, bytes, bytes | None, bool, bool]:
    """Parse the request head at the start of `data`.

    0: not whole yet. A negative number: refused, with the status that is its absolute value. Otherwise (bytes of the
    head, method as "GET", "HEAD" or "OTHER", path without query, host, whether the connection may be kept, whether a
    body is announced).
    """
