"""Addresses of shards: what is one, and how people are shown it: without its password; pure."""

import re
from typing import Final

from redis.exceptions import RedisError

from control.errors import Error
from control.shards.connection import raw_connection

HIDDEN: Final = "***"
# user:password@ ahead of the host. The last @ counts: a password may have one that nobody has escaped.
_CREDENTIALS: Final = re.compile(r"^([a-z+]+://[^:@/]*):.*@", re.IGNORECASE | re.DOTALL)
_PARAMETER: Final = re.compile(r"([?&]password=)[^&#]*", re.IGNORECASE)


def check(url: str, pointer: str | None = None) -> None:
    """Raise Error("topology_invalid") for what is no URL of a Redis."""
    try:
        raw_connection(url, protocol=3)
    except (ValueError, TypeError, RedisError):  # TypeError: a parameter that there is not
        # Nothing of the error: it quotes what stands where a port should: the beginning of a password that has a "/".
        raise Error(
            "topology_invalid",
            f"{redacted(url)} is no redis URL: it is like redis://user:password@host:6379/0; in a password, write "
            "/ ? # @ and % as %2F %3F %23 %40 and %25",
            pointer=pointer,
        ) from None


def redacted(url: str) -> str:
    """The URL with *** for its password, wherever a client would take one from."""
    return _PARAMETER.sub(rf"\g<1>{HIDDEN}", _CREDENTIALS.sub(rf"\g<1>:{HIDDEN}@", url))
