"""The answers that are no redirects of links: errors for people, and pages that cost no look-up. Pure."""

from typing import Final, Literal

from edge._http import REASONS, Status, status_line
from edge._path import PathKind

# What an error tells people.
SENTENCES: Final = {
    Status.BAD_REQUEST: "This request could not be understood.",
    Status.NOT_FOUND: "There is no link at this address.",
    Status.METHOD_NOT_ALLOWED: "Links answer GET and HEAD.",
    Status.REQUEST_TIMEOUT: "This request took too long to arrive.",
    Status.GONE: "This link is no longer in use.",
    Status.URI_TOO_LONG: "This address is too long for a link.",
    Status.TOO_MANY_REQUESTS: "Too many addresses without a link were tried from here. Please try again in a moment.",
    Status.HEAD_TOO_LARGE: "The head of this request is too large.",
    Status.NOT_IMPLEMENTED: "Links answer GET and HEAD.",
    Status.UNAVAILABLE: "This link cannot be looked up right now. Please try again in a moment.",
    Status.VERSION_NOT_SUPPORTED: "This server speaks HTTP/1.1.",
}
EXTRA_FIELDS: Final = {
    Status.METHOD_NOT_ALLOWED: "Allow: GET, HEAD\r\n",
    Status.TOO_MANY_REQUESTS: "Retry-After: 1\r\n",
    Status.UNAVAILABLE: "Retry-After: 1\r\n",
}
ROBOTS: Final = {"allow": b"User-agent: *\nDisallow:\n", "disallow": b"User-agent: *\nDisallow: /\n"}
DAY: Final = "Cache-Control: public, max-age=86400\r\n"

Whole = tuple[bytes, bytes]
"""Fields up to those that every answer has, and the body."""


def errors() -> dict[int, Whole]:
    """Status -> the answer of an error."""
    return {int(status): _error(status) for status in SENTENCES}


def pages(root_target: str, robots: Literal["allow", "disallow"]) -> dict[int, tuple[int, bytes, bytes]]:
    """Kind of path -> (status, fields, body) of what is answered there without a look-up."""
    not_found = (int(Status.NOT_FOUND), *_error(Status.NOT_FOUND))
    # Browsers ask for the icon with every link that shows a page; they need not ask again for a day.
    icon = (int(Status.NOT_FOUND), _fields(Status.NOT_FOUND, DAY, b""), b"")
    text = ROBOTS[robots]
    return {
        int(PathKind.ROOT): _root(root_target) if root_target else not_found,
        int(PathKind.ROBOTS): (
            int(Status.OK),
            _fields(Status.OK, f"Content-Type: text/plain; charset=utf-8\r\n{DAY}", text),
            text,
        ),
        int(PathKind.FAVICON): icon,
        int(PathKind.WELL_KNOWN): not_found,
        int(PathKind.NO_CODE): not_found,
    }


def policy_fields(referrer_policy: str, hsts: str) -> tuple[bytes, bytes]:
    """The fields that settings add to every answer: on plain connections, and on those with TLS (RFC 6797 7.2)."""
    plain = f"Referrer-Policy: {referrer_policy}\r\n" if referrer_policy else ""
    return plain.encode("ascii"), (plain + (f"Strict-Transport-Security: {hsts}\r\n" if hsts else "")).encode("ascii")


def _root(target: str) -> tuple[int, bytes, bytes]:
    return int(Status.FOUND), _fields(Status.FOUND, f"Location: {target}\r\nCache-Control: no-cache\r\n", b""), b""


def _error(status: Status) -> Whole:
    reason = REASONS[status]
    body = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{reason}</title><h1>{reason}</h1><p>{SENTENCES[status]}</p></html>\n"
    ).encode()
    about = f"Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\n{EXTRA_FIELDS.get(status, '')}"
    return _fields(status, about, body), body


def _fields(status: Status, about: str, body: bytes) -> bytes:
    return f"{status_line(status)}{about}Content-Length: {len(body)}\r\n".encode("ascii")
