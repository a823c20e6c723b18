"""The parser of request heads, and the statuses of the edge."""

import enum
from typing import Final, TypedDict

class Status(enum.IntEnum):
    """The statuses that the edge answers with; the links have redirects of their own beside these."""

    OK = 200
    FOUND = 302
    BAD_REQUEST = 400
    NOT_FOUND = 404
    METHOD_NOT_ALLOWED = 405
    REQUEST_TIMEOUT = 408
    GONE = 410
    URI_TOO_LONG = 414
    TOO_MANY_REQUESTS = 429
    HEAD_TOO_LARGE = 431
    NOT_IMPLEMENTED = 501
    UNAVAILABLE = 503
    VERSION_NOT_SUPPORTED = 505

class Notes(TypedDict):
    """What a head says beside the request itself; None for what is absent or empty."""

    forwarded: bytes | None
    forwarded_for: bytes | None
    user_agent: bytes | None
    referer: bytes | None
    request_id: bytes | None
    query: bytes | None
    has_gpc: bool
    has_dnt: bool

REASONS: Final[dict[int, str]]
"""Status -> reason phrase."""

def status_line(status: int) -> str:
    """The first line of an answer, with its CRLF; KeyError for a status that the edge does not use."""

def parse(data: bytes | memoryview, scanned: int = 0) -> int | tuple[int, str, bytes, bytes | None, bool, bool]:
    """Parse the request head at the start of `data`.

    0: not whole yet. A negative number: refused, with the status that is its absolute value. Otherwise (bytes of the
    head, method as "GET", "HEAD" or "OTHER", path without query, host without a default port, whether the connection
    may be kept, whether a body is announced). With `scanned`, the size of `data` for which the answer was 0 before,
    only what has come since is looked at until the head ends.
    """

def parse_notes(data: bytes) -> Notes:
    """The rest of what is taken from the head at the start of `data`; ValueError if there is none."""

def count_heads(data: bytes) -> int:
    """How many whole heads stand one behind the other at the start of `data`, as pipelined requests do."""

def head_end(data: bytes, start: int = 0) -> int:
    """Bytes up to and with the first blank line, of which the earlier call for `start` bytes found none; 0: none."""
