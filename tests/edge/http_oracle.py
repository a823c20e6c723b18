"""What the parser of heads is held against: h11, and an obvious way to read a path and a host.

Whatever the edge accepts, h11 accepts too and reads alike: where the head ends, method, target, host, whether a body
comes, whether the connection stays. The edge refuses more than h11 does (docs/http.md), and differs in two ways more:
- h11 never keeps a connection of HTTP/1.0; the edge does if asked to (RFC 9112 section 9.3);
- h11 keeps the connection of a CONNECT until it knows the answer; the edge, which answers 405, closes it.
"""

import re

import h11

from edge._http import head_end, parse
from edge._path import PathKind, code_of, kind_of

HEAD_BYTES_MAX = 8192
PLAIN_PATHS = {b"/": PathKind.ROOT, b"/robots.txt": PathKind.ROBOTS, b"/favicon.ico": PathKind.FAVICON}
ENCODED = re.compile(rb"%[0-9A-Fa-f]{2}")
UNRESERVED = re.compile(rb"[0-9A-Za-z._~-]")
CODE = re.compile(rb"/([0-9A-Za-z_-]{1,64})")
ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*)([^?]*)")
HOST = re.compile(rb"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?")


def check_head(data: bytes) -> None:
    """Raises AssertionError if h11 refuses what the edge accepts, or reads it otherwise."""
    parsed = parse(data)
    if isinstance(parsed, int):
        return
    taken, method, path, host, is_kept, has_body = parsed
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(data[:taken])
    request = peer.next_event()
    assert isinstance(request, h11.Request)
    assert peer.next_event() is h11.NEED_DATA if has_body else isinstance(peer.next_event(), h11.EndOfMessage)
    assert peer.trailing_data == (b"", False)
    assert method == (request.method.decode() if request.method in (b"GET", b"HEAD") else "OTHER")
    assert (path, host) == _path_and_host(request)
    assert is_kept == _is_kept(request)


def _path_and_host(request: h11.Request) -> tuple[bytes, bytes | None]:
    hosts = [value for name, value in request.headers if name == b"host"]
    host = trimmed(hosts[0]) if hosts else None
    if request.method == b"CONNECT" or request.target == b"*":
        return b"", host
    absolute = ABSOLUTE.match(request.target)
    if absolute:
        return absolute[2] or b"/", trimmed(absolute[1])
    return request.target.partition(b"?")[0], host


def _is_kept(request: h11.Request) -> bool:
    values = [value.lower().split(b",") for name, value in request.headers if name == b"connection"]
    options = {option.strip() for value in values for option in value}
    is_asked = request.http_version >= b"1.1" or b"keep-alive" in options
    return is_asked and b"close" not in options and request.method != b"CONNECT"


def trimmed(host: bytes) -> bytes:
    """A valid host without a default port and without a dot at its end."""
    parts = HOST.fullmatch(host)
    assert parts is not None, host
    return host if parts[2] and int(parts[2]) not in (80, 443) else parts[1].removesuffix(b".")


def check_path(path: bytes) -> None:
    """Raises AssertionError if the path is read otherwise than by decoding it whole."""
    decoded = ENCODED.sub(_decoded, path)
    code = CODE.fullmatch(decoded)
    assert code_of(path) == (code[1] if code else None)
    is_well_known = decoded.startswith(b"/.well-known/")
    other = PathKind.WELL_KNOWN if is_well_known else PLAIN_PATHS.get(decoded, PathKind.NO_CODE)
    assert kind_of(path) == (PathKind.CODE_PATH if code else other)


def _decoded(encoded: re.Match[bytes]) -> bytes:
    byte = bytes.fromhex(encoded[0][1:].decode())
    return byte if UNRESERVED.match(byte) else encoded[0]


def check_splits(data: bytes, cuts: list[int]) -> None:
    """Raises AssertionError if bytes that arrive in these parts get another answer than those that arrive at once."""
    whole = parse(data)
    scanned = 0
    for size in (*sorted(cuts), len(data)):
        answer = parse(data[:size], scanned)
        if answer != 0:
            assert answer == whole
            return
        scanned = size
    # Nothing was said: then the head has no end yet, and a fault in it may still be found there.
    assert isinstance(whole, int)
    assert head_end(data) == 0
    assert len(data) < HEAD_BYTES_MAX
