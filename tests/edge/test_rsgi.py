"""The edge behind Granian answers as the door does: one table of requests, asked of both."""

import http.client
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from control.dev.ports import free_ports
from tests.edge.stand import DEADLINE_S, HOST, Edge, Shards, eventually, running_edge
from tests.stack.fixtures import RedisFactory

SETTINGS: dict[str, Any] = {
    "root_target": "https://example.com/home",
    "robots": "disallow",
    "referrer_policy": "no-referrer",
    "unknown_host": "not-found",
    "unknown_codes_per_s": 1,
    "unknown_codes_burst": 50,
}
# Fields that must be the same; the others (Date, Connection, Server) are each server's own.
FIELDS = ("Location", "Cache-Control", "Referrer-Policy", "Allow", "Retry-After", "Content-Type", "Content-Length")
METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "BREW")
PATHS = (
    "/",
    "/robots.txt",
    "/favicon.ico",
    "/.well-known/security.txt",
    "/found",
    "/moved",
    "/temporary",
    "/permanent",
    "/cached",
    "/disabled",
    "/unknown",
    "/found?query=1",
    "/found/",
    "/a/../found",
    "/%66ound",
    "/f%6Fund",
    "/found%2F",
    "/%2566ound",
    "/found%20",
    "/" + "a" * 64,
    "/" + "a" * 65,
)
HOSTS = (HOST, HOST.upper(), f"{HOST}:80", f"{HOST}.", "other.example", "nobody.example")


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """One shard with a link of every kind."""
    shards = Shards([redis_factory()])
    for code, status in {"found": 302, "moved": 301, "temporary": 307, "permanent": 308}.items():
        shards.put(code, f"https://example.com/{code}?a=b#c", status=status)
    shards.put("cached", "https://example.com/", cache_max_age_s=3600)
    shards.put("disabled", "https://example.com/", is_disabled=True)
    return shards


@pytest.fixture
def edge(shards: Shards, tmp_path: Path) -> Iterator[Edge]:
    """The door."""
    with running_edge(tmp_path / "edge", [shards.servers[0].url], **SETTINGS) as running:
        yield running


@contextmanager
def running_granian(directory: Path, seed: str, **settings: object) -> Iterator[int]:
    """The port of a Granian with one worker that serves edge.rsgi:app."""
    (port,) = free_ports(1)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_EDGE_")}
    values = {"seeds": seed, "id": "rsgi", "state_dir": directory / "rsgi", **settings}
    environ |= {f"POINTSMAN_EDGE_{name.upper()}": str(value) for name, value in values.items()}
    arguments = ("--interface", "rsgi", "--host", "127.0.0.1", "--port", str(port), "--no-ws", "edge.rsgi:app")
    process = subprocess.Popen([sys.executable, "-m", "granian", *arguments], env=environ)
    try:
        eventually(lambda: process.poll() is not None or answers(port), "Granian answers")
        assert process.poll() is None, "Granian ended at its start"
        yield port
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) in (0, -signal.SIGTERM)


@pytest.fixture
def granian(shards: Shards, tmp_path: Path) -> Iterator[int]:
    """A Granian in front of the shard, with the door's settings."""
    with running_granian(tmp_path, shards.servers[0].url, **SETTINGS) as port:
        yield port


def answers(port: int) -> bool:
    """Whether anything answers there."""
    try:
        return ask(port, "GET", "/robots.txt", HOST)[0] > 0
    except OSError:
        return False


def ask(port: int, method: str, path: str, host: str) -> tuple[int, dict[str, str | None], bytes]:
    """Status, the fields that matter, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, {name: answer.headers[name] for name in FIELDS}, answer.read()
    finally:
        connection.close()


def test_answers_are_those_of_the_door(edge: Edge, granian: int) -> None:
    """Out of the shard and out of memory: status, Location, caching and the rest of the table."""
    for method, path in itertools.product(METHODS, PATHS):
        for _ in range(2):
            assert ask(granian, method, path, HOST) == ask(edge.port, method, path, HOST), (method, path)


def test_hosts_are_those_of_the_door(edge: Edge, granian: int) -> None:
    """However a host is written, and whether it is a domain at all."""
    for host in HOSTS:
        assert ask(granian, "GET", "/found", host) == ask(edge.port, "GET", "/found", host), host


ODD_HEADS = (
    b"GET /found HTTP/1.0\r\n\r\n",
    b"GET /found HTTP/1.1\r\nHost: sho.rt\r\nHost: other.example\r\nConnection: close\r\n\r\n",
    b"POST /found HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n",
    b"BREW /found HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n",
)


@pytest.mark.parametrize("head", ODD_HEADS)
def test_odd_hosts_are_answered_as_at_the_door(edge: Edge, granian: int, head: bytes) -> None:
    """None, two, or one that is no host."""
    statuses = []
    for port in (granian, edge.port):
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as client:
            client.sendall(head)
            statuses.append(client.recv(65536).split(b" ")[1])
    assert statuses[0] == statuses[1]


def test_scan_for_codes_is_refused_as_at_the_door(edge: Edge, granian: int) -> None:
    """The budget of unknown codes holds behind another server too."""
    for port in (granian, edge.port):
        assert ask(port, "GET", "/found", HOST)[0] == 302
        last = [ask(port, "GET", f"/no-link-{number}", HOST) for number in range(80)][-1]
        assert (last[0], last[1]["Retry-After"]) == (429, "1")
        assert ask(port, "GET", "/found", HOST)[0] == 302


def test_change_of_a_link_reaches_it(shards: Shards, granian: int) -> None:
    """Freshness is that of the edge: by push."""

    def target() -> str | None:
        return ask(granian, "GET", "/fresh", HOST)[1]["Location"]

    shards.put("fresh", "https://example.com/1")
    eventually(lambda: target() == "https://example.com/1", "the link is there")
    shards.put("fresh", "https://example.com/2", version=2)
    eventually(lambda: target() == "https://example.com/2", "it has changed")


def test_without_a_table_of_domains_nothing_is_called_absent(tmp_path: Path) -> None:
    """An edge that could learn nothing yet says 503, never 404."""
    (dead,) = free_ports(1)
    with running_granian(tmp_path, f"redis://127.0.0.1:{dead}", ready_timeout_ms=100) as port:
        assert ask(port, "GET", "/found", HOST)[0] == 503


def test_field_that_a_proxy_left_out_is_no_error(shards: Shards, tmp_path: Path) -> None:
    """Then the client is the proxy; a link is looked up all the same."""
    settings = {"forwarded": "x-forwarded-for", "trusted_networks": "127.0.0.0/8"}
    with running_granian(tmp_path, shards.servers[0].url, **settings) as port:
        eventually(lambda: ask(port, "GET", "/found", HOST)[0] == 302, "the link is there")
        assert ask(port, "GET", "/unknown", HOST)[0] == 404
