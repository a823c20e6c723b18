"""The parser of request heads, and the statuses of the edge."""

from typing import Final

OK: Final[int]
NOT_FOUND: Final[int]
METHOD_NOT_ALLOWED: Final[int]
UNAVAILABLE: Final[int]
REASONS: Final[dict[int, str]]
"""Status -> reason phrase."""

def status_line(status: int) -> str:
    """The first line of an answer, with its CRLF; KeyError for a status that the edge does not use."""

def parse(data: bytes) -> int | tuple[int, str, bytes, bytes | None, bool, bool]:
    """Parse the request head at the start of `data`.

    0: not whole yet. A negative number: refused, with the status that is its absolute value. Otherwise (bytes of the
    head, method as "GET", "HEAD" or "OTHER", path without query, host, whether the connection may be kept, whether a
    body is announced).
    """
