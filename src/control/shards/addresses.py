"""Addresses of shards: what is one, and how people are shown it: without its password; pure."""

import re
from typing import Final
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from control.errors import Error
from control.shards.connection import raw_connection

HIDDEN: Final = "***"
_DATABASE: Final = re.compile(r"(/([0-9]{1,4})?)?")
_PARAMETER: Final = re.compile(r"([?&]password=)[^&#]*", re.IGNORECASE)


def check(url: str, pointer: str | None = None) -> None:
    """Raise Error("topology_invalid") for what is no URL of a Redis."""
    _check_form(url, pointer)
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
    """The URL with *** for its password, wherever a client would take one from, and if it is no URL."""
    # The last @ counts: a password may have one that nobody has escaped.
    head, _, host = url.rpartition("@")
    scheme, separator, credentials = _split_scheme(head)
    user, colon, _ = credentials.partition(":")
    if colon:
        url = f"{scheme}{separator}{user}:{HIDDEN}@{host}"
    return _PARAMETER.sub(rf"\g<1>{HIDDEN}", url)


def _split_scheme(text: str) -> tuple[str, str, str]:
    scheme, separator, rest = text.partition("://")
    return (scheme, separator, rest) if separator else ("", "", text)


def _check_form(url: str, pointer: str | None) -> None:
    """Refuse what control and edges would understand differently: they would use two databases, or two passwords."""
    reason = None
    try:
        parts = urlsplit(url)
    except ValueError:
        return  # what comes next says so
    if not url.isprintable() or " " in url:
        reason = "it has a space or a character that cannot be seen"
    elif parts.query or parts.fragment:
        reason = "it has parameters; give the database as its path, and user and password before the host"
    elif parts.scheme in ("redis", "rediss") and not (parts.hostname and _DATABASE.fullmatch(parts.path)):
        reason = "it needs a host, and may have the number of a database as its path"
    if reason is not None:
        raise Error("topology_invalid", f"{_shown(url)} is no redis URL of a shard: {reason}", pointer=pointer)


def _shown(url: str) -> str:
    """Without parameters, whose names may be written in many ways."""
    return redacted(url).partition("?")[0]
