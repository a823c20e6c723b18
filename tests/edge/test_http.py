"""The parser of request heads: what it reads, what it refuses, and that no split of the bytes matters."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge._http import count_heads, head_end, parse, parse_notes
from tests.edge.http_oracle import check_head, check_splits

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
        (head(b"GET /c HTTP/1.0", b"Connection: keep-alive, close"), ("GET", b"/c", b"sho.rt", False, False)),
        (head(b"GET /c HTTP/1.9"), ("GET", b"/c", b"sho.rt", True, False)),
        (head(b"GET /c HTTP/1.1", b"Connection: close x"), ("GET", b"/c", b"sho.rt", True, False)),
        (head(b"GET /c HTTP/1.1", b"Connection: Upgrade", b"Upgrade: h2c"), ("GET", b"/c", b"sho.rt", True, False)),
        (head(b"GET /c HTTP/1.1", b"Content-Length: 1"), ("GET", b"/c", b"sho.rt", True, True)),
        (head(b"GET http://a.example/c HTTP/1.1"), ("GET", b"/c", b"a.example", True, False)),
        (head(b"GET HTTPS://a.example:443/c?d HTTP/1.1"), ("GET", b"/c", b"a.example", True, False)),
        (head(b"GET http://a.example HTTP/1.1"), ("GET", b"/", b"a.example", True, False)),
        (head(b"GET http://a.example?b/c HTTP/1.0", host=None), ("GET", b"/", b"a.example", False, False)),
        (head(b"OPTIONS * HTTP/1.1"), ("OTHER", b"", b"sho.rt", True, False)),
        (head(b"TRACE /c HTTP/1.1"), ("OTHER", b"/c", b"sho.rt", True, False)),
        (head(b"CONNECT a:1 HTTP/1.1", host=b"a:1"), ("OTHER", b"", b"a:1", False, False)),
        (head(b"CONNECT [::1]:1 HTTP/1.1"), ("OTHER", b"", b"sho.rt", False, False)),
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
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /c HTTP/0.9\r\n", 505),
        (b"GET /c\r\n", 400),
        (b"get /c HTTP/1.1\r\n", 501),
        (b"BREW /c HTTP/1.1\r\n", 501),
        (b"B" * 33, 501),
        (b"G@T /c HTTP/1.1\r\n", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET /c#d HTTP/1.1\r\n", 400),
        (b"GET a:1 HTTP/1.1\r\n", 400),
        (b"POST * HTTP/1.1\r\n", 400),
        (b"OPTIONS ** HTTP/1.1\r\n", 400),
        (b"CONNECT /c HTTP/1.1\r\n", 400),
        (b"CONNECT a HTTP/1.1\r\n", 400),
        (b"CONNECT a: HTTP/1.1\r\n", 400),
        (b"CONNECT :1 HTTP/1.1\r\n", 400),
        (b"CONNECT ::1 HTTP/1.1\r\n", 400),
        (b"CONNECT [::1] HTTP/1.1\r\n", 400),
        (b"GET ftp://a/c HTTP/1.1\r\n", 400),
        (b"GET http:/a/c HTTP/1.1\r\n", 400),
        (b"GET http:///c HTTP/1.1\r\n", 400),
        (b"GET https:// HTTP/1.1\r\n", 400),
        (b"GET http://u@a/c HTTP/1.1\r\n", 400),
        (b"GET http://u:p@a/c HTTP/1.1\r\n", 400),
        (head(b"GET http://a/c HTTP/1.1", host=None), 400),
        (head(b"GET http://a/c HTTP/1.1", host=b"b c"), 400),
        (head(b"GET http://a/c HTTP/1.1", b"Host: sho.rt"), 400),
        (head(b"GET /c HTTP/1.0", b"Host: sho.rt"), 400),
        (head(b"GET /c HTTP/1.2", host=None), 400),
        (head(host=b""), 400),
        (head(host=b"a:b"), 400),
        (head(host=b"a:65536"), 400),
        (head(host=b"[::1"), 400),
        (head(host=b"[a]"), 400),
        (head(host=None), 400),
        (head(b"GET /c HTTP/1.1", b"Host: other"), 400),
        (head(b"GET /c HTTP/1.1", b"Host: sho.rt"), 400),
        (head(host=b"a b"), 400),
        (head(host=b"a/b"), 400),
        (head(host=b"a@b"), 400),
        (head(host=b"a" * 261), 400),
        (head(b"GET /c HTTP/1.1", b"X : y"), 400),
        (head(b"GET /c HTTP/1.1", b" folded"), 400),
        (head(b"GET /c HTTP/1.1", b"X: y\r\n folded"), 400),
        (head(b"GET /c HTTP/1.1", b": y"), 400),
        (head(b"GET /c HTTP/1.1", b"X"), 400),
        (head(b"GET /c HTTP/1.1", b"X: a\x00b"), 400),
        (head(b"GET /c HTTP/1.1", b"X: a\x7fb"), 400),
        (head(b"GET /c HTTP/1.1", b"X: a\rb"), 400),
        (head(b"GET /c HTTP/1.1", b"X: a\x00\nY: b"), 400),
        (head(b"GET /c HTTP/1.1", b"X: a\n"), 400),
        (head(b"GET /c HTTP/1.1", b"X: a\nb"), 400),
        (head(b"GET /c HTTP/1.1", b"Content-Length: 1", b"Content-Length: 1"), 400),
        (head(b"GET /c HTTP/1.1", b"Content-Length: 1, 1"), 400),
        (head(b"GET /c HTTP/1.1", b"Content-Length: +1"), 400),
        (head(b"GET /c HTTP/1.1", b"Content-Length:"), 400),
        (head(b"GET /c HTTP/1.1", b"Content-Length: 9999999999999999999"), 400),
        (head(b"GET /c HTTP/1.1", b"Content-Length: 1", b"Transfer-Encoding: chunked"), 400),
        (head(b"GET /c HTTP/1.0", b"Transfer-Encoding: chunked"), 400),
        (head(b"GET /c HTTP/1.1", b"Content-Length: 0", b"Transfer-Encoding: gzip, chunked"), 400),
        (head(b"GET /c HTTP/1.1", b"Transfer-Encoding:"), 400),
        (head(b"GET /c HTTP/1.1", b"Transfer-Encoding: gzip"), 400),
        (head(b"GET /c HTTP/1.1", b"Transfer-Encoding: chunked, gzip"), 400),
        (head(b"GET /c HTTP/1.1", b"Transfer-Encoding: xchunked"), 400),
        (head(b"GET /c HTTP/1.1", b"Transfer-Encoding: chunked;q=1"), 400),
        (head(b"GET /c HTTP/1.1", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip"), 400),
        (head(b"GET /c HTTP/1.1", b"Transfer-Encoding: gzip, chunked"), 501),
        (head(b"GET /c HTTP/1.1", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"), 501),
        (head(b"GET /c HTTP/1.1", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 501),
        (b"GET /" + b"a" * 4096 + b" HTTP/1.1\r\n", 414),
        (b"GET /" + b"a" * 9000, 414),
        (head(b"GET /c HTTP/1.1", b"X: " + b"y" * 9000), 431),
        (b"GET /c HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 9000, 431),
        (head(b"GET /c HTTP/1.1", *[b"X: y"] * 101), 431),
    ],
)
def test_refuses(data: bytes, status: int) -> None:
    """Whatever two readers could read differently, with the status that says what is wrong."""
    assert -status == parse(data)


def sized(size: int) -> bytes:
    """A good head of so many bytes."""
    return head(b"GET /c HTTP/1.1", b"X: " + b"y" * (size - len(head(b"GET /c HTTP/1.1", b"X: "))))


def test_limits_are_reached_and_not_passed() -> None:
    """The largest target, host, head and number of fields are read; docs/http.md has the numbers."""
    target = b"/" + b"a" * 4095
    assert parse(head(b"GET " + target + b" HTTP/1.1"))[2] == target  # type: ignore[index]
    assert parse(head(host=b"a" * 260))[3] == b"a" * 260  # type: ignore[index]
    assert parse(head(b"GET /c HTTP/1.1", *[b"X: y"] * 99)) != -431
    assert parse(sized(8192))[0] == 8192  # type: ignore[index]
    assert parse(sized(8193)) == -431
    assert [parse(sized(9000)[:size]) for size in (8191, 8192)] == [0, -431]


@pytest.mark.parametrize("data", [GOOD, head(b"GET /c HTTP/1.1", b"X: y", b"Connection: close")])
def test_every_cut_of_a_good_head_is_incomplete(data: bytes) -> None:
    """A head that arrives byte by byte is neither refused nor taken before its end."""
    for size in range(len(data)):
        assert parse(data[:size]) == 0
        assert parse(data[:size], max(0, size - 1)) == 0
    assert parse(data, len(data) - 1) == parse(data)


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/1.1"])
def test_every_cut_of_a_preface_is_incomplete(version: bytes) -> None:
    """A version that is refused, and a method that is not known, are so once the line is whole and not before."""
    line = b"PRI * " + version + b"\r\n"
    assert [parse(line[:size]) for size in range(len(line))] == [0] * len(line)
    assert parse(line) == (-505 if version == b"HTTP/2.0" else -501)


@pytest.mark.parametrize(("data", "end"), [(GOOD, len(GOOD)), (b"a\n\nb", 3), (b"a\n\r\nb", 4), (b"a\r\n\rb", 0)])
def test_blank_line_is_found_wherever_the_search_was_cut(data: bytes, end: int) -> None:
    """Also one that ends in a bare LF: it is there to be refused."""
    assert head_end(data) == end
    for size in range(len(data)):
        if head_end(data[:size]) == 0:
            assert head_end(data, size) == end


def test_what_was_searched_is_not_searched_again() -> None:
    """But for two bytes, which may be half a blank line: so a head that comes byte by byte costs linear time."""
    data = b"a\n\n" + b"b" * 10
    assert [head_end(data, start) for start in (0, 3, 4, 5)] == [3, 3, 0, 0]


def test_bytes_that_come_one_by_one_are_scanned_once() -> None:
    """Of a head that has no end yet only the new bytes are looked at: a fault in the old ones is not found again."""
    faulty = b"GET /c HTTP/1.1\r\nX\x00" + b"y" * 4000
    assert parse(faulty) == -400
    for size in range(20, len(faulty)):
        assert parse(faulty[:size], size - 1) == 0
    assert parse(faulty + b"\r\n\r\n", len(faulty)) == -400
    assert parse(faulty + b"y" * 8192, len(faulty)) == -400


def test_notes_are_taken() -> None:
    """Names in any case, of each the last line; a preference only if it says 1."""
    fields = (b"FORWARDED: for=a", b"forwarded:for=b ", b"X-Forwarded-For: 192.0.2.1", b"x-request-id:7")
    people = (b"User-Agent: M/5.0 (X)", b"Referer: https://a.example/", b"Sec-GPC: 1", b"DNT: 0")
    assert parse_notes(head(b"GET /c?a=%20&b=?/ HTTP/1.1", *fields, *people)) == {
        "forwarded": b"for=b",
        "forwarded_for": b"192.0.2.1",
        "user_agent": b"M/5.0 (X)",
        "referer": b"https://a.example/",
        "request_id": b"7",
        "query": b"a=%20&b=?/",
        "has_gpc": True,
        "has_dnt": False,
    }


@pytest.mark.parametrize(
    ("target", "query"),
    [(b"/c", None), (b"/c?", None), (b"/?q", b"q"), (b"http://a.example/c?q=1", b"q=1"), (b"http://a.example?q", b"q")],
)
def test_query_stands_behind_the_path(target: bytes, query: bytes | None) -> None:
    """In both forms of a target that have a path; an empty one is none."""
    assert parse_notes(head(b"GET " + target + b" HTTP/1.1"))["query"] == query


def test_notes_of_names_that_are_nearly_those() -> None:
    """A name is compared whole: none of these is one that is noted."""
    names = (
        b"Forwardee",
        b"X-Forwarded-Fox",
        b"User-Agenz",
        b"Refere",
        b"Refererr",
        b"X_Request-Id",
        b"Sec-GPD",
        b"DNS",
    )
    notes = parse_notes(head(b"GET /c HTTP/1.1", *(name + b": 1" for name in names)))
    assert set(notes.values()) == {None, False}


def test_pipelined_heads_are_counted() -> None:
    """Each begins where the one before ended; what follows the last may be half of one."""
    assert count_heads(GOOD * 3 + GOOD[:-1]) == 3
    assert count_heads(GOOD + b"\r\n" + GOOD) == 1


LINES = st.sampled_from(
    [
        b"Host: sho.rt",
        b"host:sho.rt:80",
        b"Host: [::1]:8080",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Content-Length: 0",
        b"Content-Length: 12",
        b"Accept: */*",
        b"X-Long: " + b"v" * 60,
        b"Transfer-Encoding: chunked",
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
        b"X-Forwarded-For: 192.0.2.1, 192.0.2.2",
        b"Upgrade: h2c",
    ]
)
REQUEST_LINES = st.sampled_from(
    [
        b"GET /c HTTP/1.1",
        b"HEAD /a?b HTTP/1.1",
        b"GET /c HTTP/1.0",
        b"POST / HTTP/1.1",
        b"GET http://h/c HTTP/1.1",
        b"GET https://h:443?c HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"CONNECT h:443 HTTP/1.1",
        b"PRI * HTTP/2.0",
    ]
)
REQUESTS = st.builds(
    lambda line, host, fields: b"\r\n".join((line, *host, *fields, b"", b"")),
    REQUEST_LINES,
    st.sampled_from([(), (b"Host: sho.rt",), (b"Host: sho.rt",), (b"Host: SHO.rt.:443",)]),
    st.lists(LINES, max_size=5),
)
NOISE = st.one_of(
    st.binary(max_size=2), st.sampled_from([b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b"\r\n ", b",", b"#", b"@"])
)
MUTATIONS = st.lists(st.tuples(st.integers(0, 400), NOISE), max_size=3)
CUTS = st.lists(st.integers(0, 400), max_size=4)


def mutate(data: bytes, mutations: list[tuple[int, bytes]]) -> bytes:
    """Overwrite, insert or delete at a few places."""
    for place, noise in mutations:
        at = place % (len(data) + 1)
        data = data[:at] + noise + data[at + 1 :]
    return data


@settings(max_examples=2000)
@given(REQUESTS, MUTATIONS)
def test_accepts_nothing_that_h11_refuses(request: bytes, mutations: list[tuple[int, bytes]]) -> None:
    """Whatever is accepted, h11 accepts and reads alike; the oracle states where the two differ."""
    check_head(mutate(request, mutations))


@settings(max_examples=1000)
@given(st.binary(max_size=200))
def test_accepts_no_noise_that_h11_refuses(data: bytes) -> None:
    """The same for bytes that are no request."""
    check_head(b"GET /" + data)
    check_head(b"GET /c HTTP/1.1\r\nHost: a\r\n" + data + b"\r\n\r\n")


@settings(max_examples=1000)
@given(REQUESTS, MUTATIONS, CUTS)
def test_any_split_gives_the_same_answer(request: bytes, mutations: list[tuple[int, bytes]], cuts: list[int]) -> None:
    """However the bytes arrive, at the head's end the answer is that of all at once."""
    data = mutate(request, mutations)
    check_splits(data, [cut % (len(data) + 1) for cut in cuts])


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
