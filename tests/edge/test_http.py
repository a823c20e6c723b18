"""The parser of request heads: what it reads, what it refuses, and that no split of the bytes matters."""

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge._http import parse

GOOD = b"GET /3kTMd9x HTTP/1.1\r\nHost: sho.rt\r\n\r\n"


def head(line: bytes = b"GET /c HTTP/1.1", *fields: bytes, host: bytes | None = b"sho.rt") -> bytes:
    """A request head of these lines."""
    hosts = () if host is None else (b"Host: " + host,)
    return b"\r\n".join((line, *hosts, *fields, b"", b""))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (GOOD, ("GET", b"/3kTMd9x", b"sho.rt", True, False)),
        (GOOD + b"GET /next", ("GET", b"/3kTMd9x", b"sho.rt", True, False)),
        (head(b"HEAD /c?x=1&y HTTP/1.1"), ("HEAD", b"/c", b"sho.rt", True, False)),
        (head(b"POST /c HTTP/1.1", b"Content-Length: 3"), ("OTHER", b"/c", b"sho.rt", True, True)),
        (head(b"POST /c HTTP/1.1", b"Content-Length: 0"), ("OTHER", b"/c", b"sho.rt", True, False)),
        (head(b"GET /c HTTP/1.1", b"transfer-encoding: chunked"), ("GET", b"/c", b"sho.rt", True, True)),
        (head(b"GET /c HTTP/1.1", b"Connection: a, CLOSE"), ("GET", b"/c", b"sho.rt", False, False)),
        (head(b"GET /c HTTP/1.1", b"Connection: closed"), ("GET", b"/c", b"sho.rt", True, False)),
        (head(b"GET /c HTTP/1.0", host=None), ("GET", b"/c", None, False, False)),
        (head(b"GET /c HTTP/1.0", b"Connection: Keep-Alive", host=None), ("GET", b"/c", None, True, False)),
        (head(b"GET http://a.example/c HTTP/1.1"), ("GET", b"/c", b"a.example", True, False)),
        (head(b"GET /c HTTP/1.1", host=b"[::1]:8080"), ("GET", b"/c", b"[::1]:8080", True, False)),
        (head(b"GET /c HTTP/1.1", host=b" \t sho.rt \t"), ("GET", b"/c", b"sho.rt", True, False)),
        (head(b"GET /c HTTP/1.1", b"X: \xff\x80 ok\t"), ("GET", b"/c", b"sho.rt", True, False)),
    ],
)
def test_reads_heads(data: bytes, expected: tuple[str, bytes, bytes | None, bool, bool]) -> None:
    """Method, path without query, host, whether the connection stays, whether a body comes."""
    assert (data.index(b"\r\n\r\n") + 4, *expected) == parse(data)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\r\n" + GOOD, 400),
        (b" GET /c HTTP/1.1\r\n", 400),
        (b"GET  /c HTTP/1.1\r\n", 400),
        (b"GET /c  HTTP/1.1\r\n", 400),
        (b"GET /c HTTP/1.1 \r\n", 400),
        (b"GET /c HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /c\x00d HTTP/1.1\r\n", 400),
        (b"GET /\xc3\xbc HTTP/1.1\r\n", 400),
        (b"GET c HTTP/1.1\r\n", 400),
        (b"GET * HTTP/1.1\r\n", 400),
        (b"GET /c http/1.1\r\nH", 400),
        (b"GET /c HTTP/1.x\r\nH", 400),
        (b"GET /c HTTP/11.1\r\n", 400),
        (b"GET /c HTTP/2.0\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 501),
        (b"get /c HTTP/1.1\r\n", 501),
        (b"CONNECT a:1 HTTP/1.1\r\n", 501),
        (b"BREW /c HTTP/1.1\r\n", 501),
        (head(host=None), 400),
        (head(b"GET /c HTTP/1.1", b"Host: other"), 400),
        (head(b"GET /c HTTP/1.1", b"Host: sho.rt"), 400),
        (head(host=b"a b"), 400),
        (head(host=b"a/b"), 400),
        (head(host=b"a@b"), 400),
        (head(host=b"a" * 256), 400),
        (head(b"GET /c HTTP/1.1", b"X : y"), 400),
        (head(b"GET /c HTTP/1.1", b" folded"), 400),
        (head(b"GET /c HTTP/1.1", b"X: y\r\n folded"), 400),
        (head(b"GET /c HTTP/1.1", b": y"), 400),
        (head(b"GET /c HTTP/1.1", b"X"), 400),
        (head(b"GET /c HTTP/1.1", b"X: a\x00b"), 400),
        (head(b"GET /c HTTP/1.1", b"X: a\x7fb"), 400),
        (head(b"GET /c HTTP/1.1", b"X: a\rb"), 400),
        (head(b"GET /c HTTP/1.1", b"X: a\nb"), 400),
        (head(b"GET /c HTTP/1.1", b"Content-Length: 1", b"Content-Length: 1"), 400),
        (head(b"GET /c HTTP/1.1", b"Content-Length: 1, 1"), 400),
        (head(b"GET /c HTTP/1.1", b"Content-Length: +1"), 400),
        (head(b"GET /c HTTP/1.1", b"Content-Length:"), 400),
        (head(b"GET /c HTTP/1.1", b"Content-Length: 9999999999999999999"), 400),
        (head(b"GET /c HTTP/1.1", b"Content-Length: 1", b"Transfer-Encoding: chunked"), 400),
        (head(b"GET /c HTTP/1.0", b"Transfer-Encoding: chunked"), 400),
        (head(b"GET /c HTTP/1.1", b"Transfer-Encoding: gzip, chunked"), 501),
        (head(b"GET /c HTTP/1.1", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 501),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n", 414),
        (b"GET /" + b"a" * 9000, 414),
        (head(b"GET /c HTTP/1.1", b"X: " + b"y" * 9000), 431),
        (b"GET /c HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 9000, 431),
        (head(b"GET /c HTTP/1.1", *[b"X: y"] * 101), 431),
    ],
)
def test_refuses(data: bytes, status: int) -> None:
    """Whatever two readers could read differently, with the status that says what is wrong."""
    assert -status == parse(data)


@pytest.mark.parametrize("data", [GOOD, head(b"GET /c HTTP/1.1", b"X: y", b"Connection: close")])
def test_every_cut_of_a_good_head_is_incomplete(data: bytes) -> None:
    """A head that arrives byte by byte is neither refused nor taken before its end."""
    for size in range(len(data)):
        assert parse(data[:size]) == 0


LINES = st.sampled_from(
    [
        b"Host: sho.rt",
        b"host:sho.rt:80",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Content-Length: 0",
        b"Content-Length: 12",
        b"Accept: */*",
        b"X-Long: " + b"v" * 60,
        b"Transfer-Encoding: chunked",
    ]
)
REQUESTS = st.builds(
    lambda line, fields: b"\r\n".join((line, *fields, b"", b"")),
    st.sampled_from(
        [b"GET /c HTTP/1.1", b"HEAD /a?b HTTP/1.1", b"GET /c HTTP/1.0", b"POST / HTTP/1.1", b"GET http://h/c HTTP/1.1"]
    ),
    st.lists(LINES, max_size=5),
)
MUTATIONS = st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=0, max_size=2)), max_size=3)


def mutate(data: bytes, mutations: list[tuple[int, bytes]]) -> bytes:
    """Overwrite, insert or delete at a few places."""
    for place, noise in mutations:
        at = place % (len(data) + 1)
        data = data[:at] + noise + data[at + 1 :]
    return data


@settings(max_examples=1000)
@given(REQUESTS, MUTATIONS)
def test_accepts_nothing_that_h11_refuses(request: bytes, mutations: list[tuple[int, bytes]]) -> None:
    """Whatever is accepted, h11 accepts with the same method, target, host and keep-alive."""
    data = mutate(request, mutations)
    parsed = parse(data)
    if isinstance(parsed, int):
        return
    taken, method, path, host, is_kept, _ = parsed
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(data[:taken])
    event = peer.next_event()
    assert isinstance(event, h11.Request)
    if method != "OTHER":
        assert method == event.method.decode()
    target = event.target
    if target.lower().startswith(b"http://"):
        authority, _, rest = target[7:].partition(b"/")
        assert host == authority
        target = b"/" + rest
    else:
        hosts = [value for name, value in event.headers if name == b"host"]
        assert hosts == ([] if host is None else [host])
    assert target.partition(b"?")[0] == path
    options = [value.lower() for name, value in event.headers if name == b"connection"]
    closes = any(b"close" in [option.strip() for option in value.split(b",")] for value in options)
    if event.http_version == b"1.1":
        assert (not closes) == is_kept


@settings(max_examples=300)
@given(REQUESTS, MUTATIONS, st.data())
def test_no_prefix_contradicts_the_whole(
    request: bytes, mutations: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    """Any part of the bytes gives the whole's verdict or "not whole yet", and a refusal once given stays."""
    whole = mutate(request, mutations)
    verdict = parse(whole)
    part = parse(whole[: data.draw(st.integers(0, len(whole)))])
    assert part in (0, verdict)
