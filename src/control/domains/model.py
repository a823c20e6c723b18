"""A domain, and how hosts are compared; pure."""

from dataclasses import dataclass
from typing import Final

import ada_url

# A DNS name has at most 253 characters; a port and its colon are six more.
HOST_LENGTH_MAX: Final = 259
# A domain on one of these is reachable on both: the other port redirects to it almost everywhere.
_DEFAULT_PORTS: Final = ("80", "443")
_PORT_OF: Final = {"http:": "80", "https:": "443"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """`host` is what a Host header says, with the port where it is not the scheme's default."""

    id: int
    host: str
    base_url: str
    is_default: bool

    def short_url(self, code: str) -> str:
        """Where the code is redirected."""
        return f"{self.base_url}/{code}"


def could_be_host(text: str) -> bool:
    """Whether `text` can be a host at all; what cannot, is not looked up."""
    return 0 < len(text) <= HOST_LENGTH_MAX and text.isascii() and text.isprintable()


def host_of(url: ada_url.URL) -> str:
    """The Host header that a client sends for `url`."""
    return url.host


def hosts_reached(url: ada_url.URL) -> list[str]:
    """Every spelling of a domain's host under which `url` would come back to it, for the check against loops."""
    hostname = url.hostname.removesuffix(".")
    port = url.port or _PORT_OF[url.protocol]
    if port in _DEFAULT_PORTS:
        return [hostname, *(f"{hostname}:{default}" for default in _DEFAULT_PORTS)]
    return [f"{hostname}:{port}"]
