"""Who the client is at a running edge: its own address, a PROXY header's, or a field's; and what that decides."""

import json
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.edge.stand import HOST, Edge, Shards, running_edge
from tests.edge.test_bounds import connect, hits, read_all
from tests.stack.fixtures import RedisFactory

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TRUSTED: dict[str, Any] = {"trusted_networks": "127.0.0.1/32", "unknown_codes_per_s": 1, "unknown_codes_burst": 5}


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """One shard with one link."""
    made = Shards([redis_factory()])
    made.put("abc", "https://example.com/")
    return made


def request(code: str, fields: str = "") -> bytes:
    """The last request of a connection."""
    return f"GET /{code} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{fields}\r\n".encode()


def proxy_v2(address: str) -> bytes:
    """A header of version 2 for a TCP client over IPv4."""
    ports = struct.pack(">HH", 40_000, 80)
    return SIGNATURE + b"\x21\x11\0\x0c" + socket.inet_aton(address) + socket.inet_aton("127.0.0.1") + ports


def status_of(edge: Edge, sent: bytes, source: str = "127.0.0.1") -> int:
    """The status of what was sent on a connection of its own; 0 if it was closed without an answer."""
    with connect(edge, source) as client:
        client.sendall(sent)
        answer = read_all(client)
        return int(answer.split(b" ")[1]) if answer else 0


def exhaust(edge: Edge, head: Any) -> None:
    """Spend a client's budget; `head` makes the bytes that ask for a code."""
    statuses = [status_of(edge, head(f"no-link-{number}")) for number in range(20)]
    assert statuses[:5] == [404] * 5
    assert 429 in statuses[5:8]


def test_proxy_header_names_the_client(shards: Shards, tmp_path: Path) -> None:
    """Both versions, in one piece with the request or byte by byte; each client has a budget of its own."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url], proxy_protocol="required", **TRUSTED) as edge:
        line = b"PROXY TCP4 192.0.2.1 127.0.0.1 40000 80\r\n"
        exhaust(edge, lambda code: line + request(code))
        assert status_of(edge, line + request("still-none")) == 429
        assert status_of(edge, line.replace(b"192.0.2.1", b"192.0.2.2") + request("none-either")) == 404
        assert status_of(edge, proxy_v2("192.0.2.1") + request("nor-this")) == 429
        assert status_of(edge, proxy_v2("192.0.2.3") + request("nor-that")) == 404
        with connect(edge) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in line.replace(b"192.0.2.1", b"192.0.2.9") + request("abc"):
                client.sendall(bytes([byte]))
            assert read_all(client).startswith(b"HTTP/1.1 302 ")


def test_health_check_of_the_proxy_itself_is_answered(shards: Shards, tmp_path: Path) -> None:
    """LOCAL and UNKNOWN name nobody; the request behind them is served."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url], proxy_protocol="required", **TRUSTED) as edge:
        assert status_of(edge, SIGNATURE + b"\x20\0\0\0" + request("abc")) == 302
        assert status_of(edge, b"PROXY UNKNOWN\r\n" + request("abc")) == 302


@pytest.mark.parametrize(
    "sent", [request("abc"), b"PROXY TCP4 a b c d\r\n" + request("abc"), SIGNATURE + b"\x31\0\0\0"]
)
def test_connection_without_its_proxy_header_gets_no_answer(shards: Shards, tmp_path: Path, sent: bytes) -> None:
    """Nor does one that pretends to have one, or that comes from elsewhere."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url], proxy_protocol="required", **TRUSTED) as edge:
        assert status_of(edge, sent) == 0
        assert status_of(edge, b"PROXY TCP4 192.0.2.1 127.0.0.1 40000 80\r\n" + request("abc"), "127.0.0.2") == 0
        assert edge.metric("proxy_headers_refused_total") == 2


def test_slow_proxy_header_is_dropped_without_an_answer(shards: Shards, tmp_path: Path) -> None:
    """A proxy is no client to answer."""
    settings: dict[str, Any] = {**TRUSTED, "proxy_protocol": "required", "head_timeout_ms": 100}
    with running_edge(tmp_path / "edge", [shards.servers[0].url], **settings) as edge:
        assert status_of(edge, b"PROXY TCP4 ") == 0
        assert hits(edge, "head_time") == 1


@pytest.mark.parametrize(
    ("forwarded", "field"),
    [("x-forwarded-for", "X-Forwarded-For: 10.9.9.9, {}\r\n"), ("forwarded", "Forwarded: for=10.9.9.9, for={}\r\n")],
)
def test_field_of_a_trusted_peer_names_the_client(shards: Shards, tmp_path: Path, forwarded: str, field: str) -> None:
    """The nearest address that is not trusted; what stands left of it could be anybody's word."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url], forwarded=forwarded, **TRUSTED) as edge:
        exhaust(edge, lambda code: request(code, field.format("192.0.2.1")))
        assert status_of(edge, request("none", field.format("192.0.2.2"))) == 404
        # A peer that is not trusted speaks for itself alone.
        assert status_of(edge, request("none-here", field.format("192.0.2.1")), "127.0.0.2") == 404


def test_peers_on_a_unix_socket_are_nobody_known(shards: Shards, tmp_path: Path) -> None:
    """They share no budget, as nobody knows who they are."""
    path = tmp_path / "edge.sock"
    settings: dict[str, Any] = {"unix_socket": path, "unknown_codes_per_s": 1, "unknown_codes_burst": 5}
    with running_edge(tmp_path / "edge", [shards.servers[0].url], **settings):
        statuses = []
        for number in range(20):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(request(f"no-link-{number}"))
                statuses.append(int(read_all(client).split(b" ")[1]))
        assert statuses == [404] * 20


@pytest.mark.parametrize("level", ["info", "debug"])
def test_requests_are_logged_at_the_debug_level_alone(
    shards: Shards, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    """With the id that the client sent, in a form that cannot forge a line."""
    monkeypatch.setenv("POINTSMAN_LOG_LEVEL", level)
    monkeypatch.setenv("POINTSMAN_LOG_FORMAT", "json")
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        for path in ("/abc", "/none", "/"):
            assert status_of(edge, request(path[1:], "X-Request-Id: id-1\x80[31m\r\n"))
    events = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    requests = [event for event in events if event["event"] == "request"]
    assert [event["status"] for event in requests] == ([302, 404, 404] if level == "debug" else [])
    for event in requests[:1]:
        assert (event["method"], event["host"], event["path"]) == ("GET", HOST, "/abc")
        assert event["request_id"] == "id-1??[31m"
