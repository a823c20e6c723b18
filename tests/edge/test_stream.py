"""Connections over TLS keep the door's order and limits: what a transport does differently must not show."""

import contextlib
import ssl
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.edge.stand import HOST, Shards, eventually
from tests.edge.test_bounds import hits
from tests.edge.test_tls import folder, shards, tls_edge, trusting

__all__ = ["folder", "shards"]  # fixtures


def request(code: str, fields: str = "") -> bytes:
    """A request for a code."""
    return f"GET /{code} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n".encode()


def read_all(client: ssl.SSLSocket) -> bytes:
    """Everything until the edge closes."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def test_pipelined_hits_and_misses_are_answered_in_order(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """Each miss is waited for, and what comes behind it is served then."""
    for number in range(20):
        shards.put(f"cold{number}", f"https://example.com/{number}")
    with tls_edge(tmp_path, shards, folder) as edge, edge.connect(trusting(folder / "shop.crt")) as client:
        asked = b"".join(request("abc") + request(f"cold{number}") for number in range(20))
        client.sendall(asked + request("abc", "Connection: close\r\n"))
        lines = [line for line in read_all(client).split(b"\r\n") if line.startswith(b"Location: ")]
        expected = [target for n in range(20) for target in (b"https://example.com/", b"https://example.com/%d" % n)]
        assert lines == [b"Location: " + target for target in (*expected, b"https://example.com/")]


def test_slow_head_is_answered_408(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """Bytes that come now and then do not buy more time."""
    with (
        tls_edge(tmp_path, shards, folder, head_timeout_ms=200) as edge,
        edge.connect(trusting(folder / "shop.crt")) as client,
    ):
        client.sendall(request("abc"))
        assert client.recv(65536).startswith(b"HTTP/1.1 302 ")
        client.sendall(b"GET /abc HTTP/1.1\r\n")
        assert read_all(client).startswith(b"HTTP/1.1 408 ")
        assert hits(edge.edge, "head_time") == 1


def test_client_that_does_not_read_is_dropped(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """When nothing of the answers has left for as long as the setting says; others are served meanwhile."""
    shards.put("big", "https://example.com/" + "a" * 8000)
    with (
        tls_edge(tmp_path, shards, folder, unsent_timeout_ms=200) as edge,
        edge.connect(trusting(folder / "shop.crt")) as client,
    ):
        with pytest.raises((OSError, ssl.SSLError)):
            flood(client)
        eventually(lambda: hits(edge.edge, "unsent_time") == 1, "the client is dropped")
        assert edge.edge.get("/abc").status == 302


def test_clients_that_do_not_read_hold_bounded_memory(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """Together, as over plain connections: whoever would take it over the bound is dropped."""
    shards.put("big", "https://example.com/" + "a" * 8000)
    with tls_edge(tmp_path, shards, folder, unsent_bytes_max=131_072) as edge, ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(edge.connect(trusting(folder / "shop.crt")))
            client.settimeout(0.2)
            with contextlib.suppress(OSError):
                flood(client)
        eventually(lambda: hits(edge.edge, "unsent_bytes") >= 1, "a client is dropped")
        eventually(lambda: edge.edge.metric("unsent_bytes") <= 131_072, "its bytes are gone")
        assert edge.edge.get("/abc").status == 302


def flood(client: ssl.SSLSocket) -> None:
    """Ask and never read, until the connection is gone."""
    while True:
        client.sendall(request("big") * 100)


def test_idle_connection_is_closed(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """Between two requests, and before the first."""
    settings = {"idle_timeout_ms": 100, "first_byte_timeout_ms": 100}
    with tls_edge(tmp_path, shards, folder, **settings) as edge:
        with edge.connect(trusting(folder / "shop.crt")) as client:
            client.sendall(request("abc"))
            assert read_all(client).startswith(b"HTTP/1.1 302 ")
        with edge.connect(trusting(folder / "shop.crt")) as client:
            assert read_all(client) == b""
        assert (hits(edge.edge, "idle_time"), hits(edge.edge, "first_byte_time")) == (1, 1)


def test_answers_ask_for_tls_only_over_tls(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """Strict-Transport-Security has no meaning on a plain connection (RFC 6797 section 7.2)."""
    with tls_edge(tmp_path, shards, folder, hsts="max-age=600") as edge:
        with edge.connect(trusting(folder / "shop.crt")) as client:
            client.sendall(request("abc", "Connection: close\r\n") + request("abc"))
            assert b"\r\nStrict-Transport-Security: max-age=600\r\n" in read_all(client)
        assert "Strict-Transport-Security" not in edge.edge.get("/abc").headers
