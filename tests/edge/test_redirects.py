"""What a client gets from a running edge, out of a real shard."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge.stand import Edge, Shards, eventually, running_edge
from tests.stack.fixtures import RedisFactory


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """Three whole shards."""
    return Shards([redis_factory() for _ in range(3)])


@pytest.fixture
def edge(shards: Shards, tmp_path: Path) -> Iterator[Edge]:
    """An edge with one worker in front of them."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as running:
        yield running


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_link_redirects_with_its_status(edge: Edge, shards: Shards, status: int) -> None:
    """First out of the shard, then out of L1, byte for byte the same."""
    shards.put("abc", "https://example.com/a?b=c#d", status=status)
    answers = [edge.get("/abc?ignored=1") for _ in range(2)]
    for answer in answers:
        assert (answer.status, answer.location) == (status, "https://example.com/a?b=c#d")
        assert answer.headers["Content-Length"] == "0"
        assert answer.headers["Date"].endswith(" GMT")
        # A permanent redirect without a lifetime would be kept for ever.
        assert answer.headers["Cache-Control"] == f"private, max-age={90 if status in (301, 308) else 0}"
    assert edge.metric("answers_by_tier_total", '{tier="shard"}') == 1
    assert edge.metric("answers_by_tier_total", '{tier="l1"}') == 1


def test_head_is_answered_without_a_body(edge: Edge, shards: Shards) -> None:
    """The same fields as GET, also for an error."""
    shards.put("abc", "https://example.com/")
    assert edge.get("/abc", method="HEAD").location == "https://example.com/"
    answer = edge.get("/none", method="HEAD")
    assert (answer.status, answer.body) == (404, b"")
    assert int(answer.headers["Content-Length"]) == len(edge.get("/none").body)


@pytest.mark.parametrize("path", ["/", "/a/b", "/a.b", "/a%2Fb", "/" + "a" * 65, "//abc", "/abc/"])
def test_path_that_is_no_code_is_404_without_a_lookup(edge: Edge, path: str) -> None:
    """No shard is asked for what cannot be a code."""
    assert edge.get(path).status == 404
    assert edge.metric("answers_by_tier_total", '{tier="none"}') == 1


def test_code_may_be_percent_encoded(edge: Edge, shards: Shards) -> None:
    """Every spelling is the same link, and the same entry of L1."""
    shards.put("abc", "https://example.com/")
    assert [edge.get(path).location for path in ("/abc", "/%61bc", "/a%62%63")] == ["https://example.com/"] * 3
    assert edge.metric("answers_by_tier_total", '{tier="l1"}') == 2


def test_other_methods_are_refused_with_allow(edge: Edge) -> None:
    """405 names the methods; the connection closes, for a body may follow."""
    answer = edge.get("/abc", method="DELETE")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_host_selects_the_domain(edge: Edge, shards: Shards) -> None:
    """Each domain has codes of its own; an unknown host gets the default domain."""
    shards.put("abc", "https://one.example/")
    shards.put("abc", "https://two.example/", domain_id=2)
    assert edge.get("/abc", host="sho.rt").location == "https://one.example/"
    for host in ("OTHER.example", "other.example:80", "other.example.", "other.example.:443"):
        assert edge.get("/abc", host=host).location == "https://two.example/"
    assert edge.get("/abc", host="unknown.example").location == "https://one.example/"


def test_unknown_host_can_be_refused(shards: Shards, tmp_path: Path) -> None:
    """With unknown_host=not-found a foreign name pointed here serves nothing."""
    shards.put("abc", "https://one.example/")
    with running_edge(tmp_path / "edge", [shards.servers[0].url], unknown_host="not-found") as edge:
        assert edge.get("/abc", host="unknown.example").status == 404
        assert edge.get("/abc", host="sho.rt").status == 302


def test_disabled_and_expired_links_are_gone(edge: Edge, shards: Shards) -> None:
    """410, not 404: the link exists."""
    shards.put("off", "https://example.com/", is_disabled=True)
    shards.put("old", "https://example.com/", not_after_ms=1)
    assert [edge.get("/off").status, edge.get("/old").status] == [410, 410]
    assert [edge.get("/off").status, edge.get("/old").status] == [410, 410]


def test_link_starts_and_ends_at_its_instants(edge: Edge, shards: Shards) -> None:
    """404 before not-before, redirect between, 410 from not-after on, without any push at those instants."""
    now_ms = time.time_ns() // 1_000_000
    shards.put("later", "https://example.com/", not_before_ms=now_ms + 400, not_after_ms=now_ms + 1200)
    assert edge.get("/later").status == 404
    eventually(lambda: edge.get("/later").status == 302, "the link has started")
    assert time.time_ns() // 1_000_000 >= now_ms + 400
    eventually(lambda: edge.get("/later").status == 410, "the link has ended")
    assert time.time_ns() // 1_000_000 >= now_ms + 1200


def test_pipelined_requests_are_answered_in_order(edge: Edge, shards: Shards) -> None:
    """Hits, misses and errors behind each other on one connection, then a close that was asked for."""
    codes = [f"p{n}" for n in range(50)]
    for code in codes[::2]:
        shards.put(code, f"https://example.com/{code}")
    edge.get(f"/{codes[0]}")
    requests = [f"GET /{code} HTTP/1.1\r\nHost: sho.rt\r\n\r\n" for code in codes]
    requests.append("GET /last HTTP/1.1\r\nHost: sho.rt\r\nConnection: close\r\n\r\n")
    with socket.create_connection(("127.0.0.1", edge.port), 5) as connection:
        connection.sendall("".join(requests).encode())
        received = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    answers = received.split("HTTP/1.1 ")[1:]
    assert len(answers) == 51
    for code, answer in zip(codes, answers, strict=False):
        expected = f"Location: https://example.com/{code}\r\n" if int(code[1:]) % 2 == 0 else "404 Not Found"
        assert expected in answer
    assert "Connection: close" in answers[-1]


def test_request_in_single_bytes_is_answered(edge: Edge, shards: Shards) -> None:
    """A head that trickles in is put together."""
    shards.put("abc", "https://example.com/")
    with socket.create_connection(("127.0.0.1", edge.port), 5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /abc HTTP/1.0\r\n\r\n":
            connection.sendall(bytes([byte]))
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 302 Found\r\nLocation: https://example.com/\r\n")


def test_client_that_does_not_read_costs_bounded_memory_and_loses_nothing(edge: Edge, shards: Shards) -> None:
    """9,000 answers of 8 KB wait for a client that reads late: it gets every one; meanwhile others are served."""
    target = "https://example.com/" + "a" * 8000
    shards.put("big", target)
    edge.get("/big")
    request = b"GET /big HTTP/1.1\r\nHost: sho.rt\r\n\r\n"
    with socket.create_connection(("127.0.0.1", edge.port), 5) as connection:
        connection.setblocking(False)
        sent = 0
        while sent < 9000:
            try:
                assert connection.send(request) == len(request)
            except BlockingIOError:
                break
            sent += 1
        assert edge.get("/big").status == 302
        connection.settimeout(5)
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(1 << 20), b""))
    assert received.count(b"Location: " + target.encode()) == sent


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /abc HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /abc HTTP/1.1\nHost: a\n\n", b"400"),
        (b"BREW /abc HTTP/1.1\r\n\r\n", b"501"),
        (b"GET /" + b"a" * 5000, b"414"),
        (b"GET /a HTTP/1.1\r\nX: " + b"a" * 9000, b"431"),
        (b"GET /a HTTP/3.0\r\n\r\n", b"505"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", b"405"),
    ],
)
def test_bad_requests_are_answered_and_closed(edge: Edge, request_bytes: bytes, status: bytes) -> None:
    """Each gets its status and nothing behind it is read (I7)."""
    with socket.create_connection(("127.0.0.1", edge.port), 5) as connection:
        connection.sendall(request_bytes)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close\r\n" in received


def test_body_is_never_parsed_as_a_request(edge: Edge, shards: Shards) -> None:
    """A request that announces a body is answered and the connection closed."""
    shards.put("abc", "https://example.com/")
    smuggled = b"GET /abc HTTP/1.1\r\nHost: sho.rt\r\n\r\n"
    with socket.create_connection(("127.0.0.1", edge.port), 5) as connection:
        connection.sendall(
            b"GET /none HTTP/1.1\r\nHost: sho.rt\r\nContent-Length: %d\r\n\r\n" % len(smuggled) + smuggled
        )
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.count(b"HTTP/1.1 ") == 1
    assert received.startswith(b"HTTP/1.1 404")
