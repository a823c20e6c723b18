"""The parser of request heads, and the statuses of the edge."""

import enum
from typing import Final

class Status(enum.IntEnum):
    """The statuses that the edge answers with, but for the redirects, which are the links' own."""

    OK = 200
    BAD_REQUEST = 400
    NOT_FOUND = 404
    METHOD_NOT_ALLOWED = 405
    GONE = 410
    URI_TOO_LONG = 414
    HEAD_TOO_LARGE = 431
    NOT_IMPLEMENTED = 501
    UNAVAILABLE = 503
    VERSION_NOT_SUPPORTED = 505

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
