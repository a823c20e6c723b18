"""The edge behind Granian answers as the door does: one table of requests, asked of both."""

import http.client
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
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
METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
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


@pytest.fixture
def granian(shards: Shards, tmp_path: Path) -> Iterator[int]:
    """The port of a Granian with one worker that serves edge.rsgi:app."""
    (port,) = free_ports(1)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_EDGE_")}
    values = {"seeds": shards.servers[0].url, "id": "rsgi", "state_dir": tmp_path / "rsgi", **SETTINGS}
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


def answers(port: int) -> bool:
    """Whether anything answers there."""
    try:
        return ask(port, "GET", "/found", HOST)[0] == 302
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


def test_scan_for_codes_is_refused_as_at_the_door(edge: Edge, granian: int) -> None:
    """The budget of unknown codes holds behind another server too."""
    for port in (granian, edge.port):
        last = [ask(port, "GET", f"/no-link-{number}", HOST) for number in range(80)][-1]
        assert (last[0], last[1]["Retry-After"]) == (429, "1")
    assert ask(granian, "GET", "/found", HOST)[0] == 302


def test_change_of_a_link_reaches_it(shards: Shards, granian: int) -> None:
    """Freshness is that of the edge: by push."""

    def target() -> str | None:
        return ask(granian, "GET", "/fresh", HOST)[1]["Location"]

    shards.put("fresh", "https://example.com/1")
    eventually(lambda: target() == "https://example.com/1", "the link is there")
    shards.put("fresh", "https://example.com/2", version=2)
    eventually(lambda: target() == "https://example.com/2", "it has changed")
