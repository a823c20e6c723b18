"""Where a visitor came from: the host of a Referer, and nothing of its path."""

import re
from typing import Final

import ada_url

from control.clicks.values import VALUE_BYTES_MAX

# Up to the end of the authority (RFC 3986, 3.2; browsers read a backslash as a slash). The rest is never looked at: it
# is of no use here and may be of any encoding, and cut.
_ORIGIN: Final = re.compile(rb"\s*(https?|android-app)://([^/?#\\]+)", re.IGNORECASE)
# Links in Android's apps: https://developer.android.com/training/app-links/app-indexing, the package instead of a host.
_PACKAGE: Final = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+)+")


def origin_of(referrer: bytes) -> bytes:
    """What `host_of` looks at; b"" for a referrer that names no host. A site's pages share it."""
    found = _ORIGIN.match(referrer)
    return found[0] if found else b""


def host_of(referrer: bytes) -> str:
    """The host in lower case, internationalised names as ASCII, without "www."; "" for what has no valid one."""
    found = _ORIGIN.match(referrer)
    if not found:
        return ""
    scheme, authority = found[1].lower(), found[2].decode("utf-8", "replace")
    if scheme == b"android-app":
        package = authority.lower()
        return _cut(package) if _PACKAGE.fullmatch(package) else ""
    return _hostname(authority)


def plain_host(host: str) -> str:
    """A domain's host, as `host_of` would answer it: without its port and "www."."""
    return _hostname(host)


def _hostname(authority: str) -> str:
    try:
        hostname = ada_url.URL(f"https://{authority}/").hostname
    except ValueError:
        return ""
    hostname = hostname.removesuffix(".")
    rest = hostname.removeprefix("www.")
    return _cut(rest if "." in rest else hostname)


def _cut(host: str) -> str:
    """The last labels that fit: who owns a name stands at its end."""
    if len(host) <= VALUE_BYTES_MAX:
        return host
    tail = host[-VALUE_BYTES_MAX:]
    return tail.partition(".")[2] or tail
