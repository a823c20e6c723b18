"""Every redirect of a running edge leaves its click in a segment, with what the settings allow of it, on every path."""

import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge.config import ConfigError, load
from tests.edge.clickbook import recorded, reports
from tests.edge.stand import DEADLINE_S, HOST, Edge, Shards, eventually, running_edge, stalled
from tests.edge.test_rsgi import running_granian
from tests.edge.test_tls import folder, tls_edge, trusting
from tests.stack.fixtures import RedisFactory
from wire.click import Click, Flag

__all__ = ["folder"]  # a fixture

AGENT = "Mozilla/5.0 (X11; Linux x86_64)"
REFERRER = "https://www.example.com/newsletter"
QUERY = "utm_source=newsletter&x=%20"
FIELDS = f"User-Agent: {AGENT}\r\nReferer: {REFERRER}\r\n"
# Sealed soon, so that a test need not wait for a second.
SEALED: dict[str, Any] = {"click_seal_ms": 50, "click_segment_bytes": 65_536}
TRUSTED: dict[str, Any] = {"trusted_networks": "127.0.0.1/32"}


@pytest.fixture
def shards(redis_factory: RedisFactory) -> Shards:
    """One shard with a link of each domain."""
    made = Shards([redis_factory()])
    made.put("abc", "https://example.com/", link_id=7)
    made.put("abc", "https://example.com/other", domain_id=2, link_id=8, status=301)
    return made


def request(target: str, fields: str = FIELDS, method: str = "GET", host: str = HOST) -> bytes:
    """A request on a connection that is kept."""
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode("latin-1")


def ask(port: int, *requests: bytes, first: bytes = b"") -> bytes:
    """All answers to requests that are sent in one piece; the last one asks for the end."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as client:
        client.sendall(first + b"".join(requests) + request("/none/", "Connection: close\r\n"))
        return b"".join(iter(lambda: client.recv(65_536), b""))


def clicks(state_dir: Path, count: int) -> list[Click]:
    """The recorded clicks, once there are so many; no more may come."""
    found = eventually(lambda: len(made := recorded(state_dir)) >= count and made, f"{count} clicks are sealed")
    assert len(found) == count
    return list(found)


def field(click: Click) -> tuple[int, int, int, bytes, bytes, bytes, bytes]:
    """What a click says but for its instant and its address."""
    return (click.link_id, click.domain_id, click.status, click.user_agent, click.referrer, click.query, click.code)


FOUND = (7, 1, 302, AGENT.encode(), REFERRER.encode(), QUERY.encode(), b"")


def test_miss_and_hit_leave_the_same_click(shards: Shards, tmp_path: Path) -> None:
    """The first answer comes from the shard and the second from L1; pipelined, on one connection."""
    with running_edge(tmp_path, [shards.servers[0].url], **SEALED) as edge:
        begin_ms = time.time_ns() // 1_000_000
        asked = [request(f"/abc?{QUERY}"), request(f"/abc?{QUERY}"), request("/abc", host="other.example")]
        assert ask(edge.port, *asked).count(b"\r\nLocation: ") == 3
        end_ms = time.time_ns() // 1_000_000
        found = clicks(tmp_path, 3)
        assert [field(click) for click in found] == [
            FOUND,
            FOUND,
            (8, 2, 301, AGENT.encode(), REFERRER.encode(), b"", b""),
        ]
        assert [click.address for click in found] == [bytes([127, 0, 0, 0])] * 3
        assert all(begin_ms - 1 <= click.time_ms <= end_ms + 1 and click.flags == 0 for click in found)
        assert edge.metric("clicks_recorded_total", '{kind="link"}') == 3


@pytest.mark.parametrize("is_warm", [False, True])
def test_head_is_marked(shards: Shards, tmp_path: Path, is_warm: bool) -> None:
    """Whether its answer comes from the shard or from L1."""
    with running_edge(tmp_path, [shards.servers[0].url], **SEALED) as edge:
        if is_warm:
            ask(edge.port, request("/abc"))
        ask(edge.port, request("/abc", method="HEAD"))
        assert clicks(tmp_path, 1 + is_warm)[-1].flags == Flag.HEAD


def test_tls_is_marked(shards: Shards, folder: Path, tmp_path: Path) -> None:
    """Misses and hits over TLS have all fields too."""
    with tls_edge(tmp_path, shards, folder, **SEALED) as door:
        for _ in range(2):
            with door.connect(trusting(folder / "shop.crt")) as client:
                client.sendall(request(f"/abc?{QUERY}"))
                assert client.recv(65_536).startswith(b"HTTP/1.1 302 ")
        found = clicks(tmp_path / "edge", 2)
        assert [(field(click), click.flags, click.address) for click in found] == [
            (FOUND, Flag.TLS, bytes([127, 0, 0, 0]))
        ] * 2


def test_unknown_codes_are_recorded_by_their_code(shards: Shards, tmp_path: Path) -> None:
    """From the shard and from L1; what is no code, or of no domain, is none."""
    with running_edge(tmp_path, [shards.servers[0].url], unknown_host="not-found", **SEALED) as edge:
        ask(edge.port, request("/n%6Fne?q"), request("/none"), request("/"), request("/a/b"))
        ask(edge.port, request("/abc", host="nobody.example"), request("/abc", method="POST"))
        found = clicks(tmp_path, 2)
        assert [field(click) for click in found] == [
            (0, 1, 404, AGENT.encode(), REFERRER.encode(), query, b"none") for query in (b"q", b"")
        ]
        assert {click.flags for click in found} == {Flag.UNKNOWN_CODE}
        assert edge.metric("clicks_recorded_total", '{kind="unknown"}') == 2


def test_unknown_codes_may_be_left_out(shards: Shards, tmp_path: Path) -> None:
    """By a setting; and gone links are never recorded."""
    shards.put("off", "https://example.com/", is_disabled=True)
    with running_edge(tmp_path, [shards.servers[0].url], click_unknown_codes=False, **SEALED) as edge:
        ask(edge.port, request("/none"), request("/none"), request("/off"), request("/off"), request("/abc"))
        assert [click.link_id for click in clicks(tmp_path, 1)] == [7]


def test_stale_answers_are_marked(shards: Shards, tmp_path: Path) -> None:
    """When neither the shard nor PostgreSQL could be asked."""
    settings = {"ping_timeout_ms": 200, "ping_interval_ms": 50, "connect_timeout_ms": 200, **SEALED}
    with running_edge(tmp_path, [shards.servers[0].url], **settings) as edge:
        ask(edge.port, request("/abc"))
        with stalled(shards.servers[0]):
            eventually(lambda: edge.get("/abc").status == 302 and stale_answers(edge), "the answer is stale")
            count = stale_answers(edge)
            assert eventually(lambda: len(stale_clicks(tmp_path)) == count, "as many clicks are marked")


def stale_clicks(state_dir: Path) -> list[Click]:
    """The recorded clicks that are marked as stale."""
    return [click for click in recorded(state_dir) if click.flags == Flag.STALE]


def stale_answers(edge: Edge) -> int:
    """How many answers came from entries that are no longer trusted."""
    return edge.metric("answers_by_tier_total", '{tier="stale"}')


@pytest.mark.parametrize(
    ("address", "expected"), [("full", b"\x7f\0\0\1"), ("truncated", b"\x7f\0\0\0"), ("none", b"")]
)
def test_address_has_the_form_that_is_set(shards: Shards, tmp_path: Path, address: str, expected: bytes) -> None:
    """Whole, without its last byte, or not at all."""
    with running_edge(tmp_path, [shards.servers[0].url], click_address=address, **SEALED) as edge:
        ask(edge.port, request("/abc"), request("/abc"))
        assert [click.address for click in clicks(tmp_path, 2)] == [expected] * 2


V6 = bytes.fromhex("20010db8aaaabbbb0000000000000001")


@dataclass(frozen=True)
class Proxied:
    """How a trusted proxy names the client, and who that is."""

    settings: dict[str, Any]
    expected: bytes
    fields: str = ""
    first: bytes = b""


@pytest.mark.parametrize(
    "case",
    [
        Proxied({"forwarded": "x-forwarded-for"}, b"\xc0\x00\x02\x4d", "X-Forwarded-For: 10.9.9.9, 192.0.2.77\r\n"),
        Proxied({"forwarded": "forwarded"}, V6, 'Forwarded: for="[2001:db8:aaaa:bbbb::1]"\r\n'),
        Proxied(
            {"proxy_protocol": "required"},
            b"\xc0\x00\x02\x4d",
            first=b"PROXY TCP4 192.0.2.77 127.0.0.1 4000 80\r\n",
        ),
        Proxied({"proxy_protocol": "required"}, b"\x7f\0\0\1", first=b"PROXY UNKNOWN\r\n"),
    ],
)
def test_address_is_the_one_that_a_trusted_proxy_names(shards: Shards, tmp_path: Path, case: Proxied) -> None:
    """In a field or in the PROXY protocol, for misses, hits and unknown codes."""
    seeds = [shards.servers[0].url]
    with running_edge(tmp_path, seeds, click_address="full", **case.settings, **TRUSTED, **SEALED) as edge:
        paths = ("/abc", "/abc", "/none", "/none")
        ask(edge.port, *(request(path, case.fields) for path in paths), first=case.first)
        assert [click.address for click in clicks(tmp_path, 4)] == [case.expected] * 4


def test_long_prefix_of_ipv6_is_cut(shards: Shards, tmp_path: Path) -> None:
    """To the /48 that a provider gives to a site."""
    seeds = [shards.servers[0].url]
    with running_edge(tmp_path, seeds, forwarded="x-forwarded-for", **TRUSTED, **SEALED) as edge:
        ask(edge.port, request("/abc", "X-Forwarded-For: 2001:db8:aaaa:bbbb::1\r\n"))
        assert clicks(tmp_path, 1)[0].address == V6[:6] + bytes(10)


def test_client_on_a_unix_socket_has_no_address(shards: Shards, tmp_path: Path) -> None:
    """Nobody knows it."""
    path = tmp_path / "socket"
    with running_edge(tmp_path, [shards.servers[0].url], unix_socket=path, **SEALED):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(request("/abc"))
            assert client.recv(65_536).startswith(b"HTTP/1.1 302 ")
        assert clicks(tmp_path, 1)[0].address == b""


@pytest.mark.parametrize("name", ["user_agent", "referrer", "query"])
def test_each_field_has_a_switch(shards: Shards, tmp_path: Path, name: str) -> None:
    """One is left out, the others stay."""
    with running_edge(tmp_path, [shards.servers[0].url], **{f"click_{name}": False}, **SEALED) as edge:
        ask(edge.port, request(f"/abc?{QUERY}"), request(f"/abc?{QUERY}"))
        for click in clicks(tmp_path, 2):
            texts = {field: getattr(click, field) for field in ("user_agent", "referrer", "query")}
            assert [field for field, text in texts.items() if not text] == [name]
            assert (click.flags == Flag.NO_AGENT) == (name == "user_agent")


@pytest.mark.parametrize("signal", ["Sec-GPC: 1\r\n", "DNT: 1\r\n"])
@pytest.mark.parametrize("is_honored", [True, False])
def test_who_opts_out_is_counted_only(shards: Shards, tmp_path: Path, signal: str, is_honored: bool) -> None:
    """Neither address nor texts, if that is honoured; a signal that says something else is none."""
    with running_edge(tmp_path, [shards.servers[0].url], click_honor_opt_out=is_honored, **SEALED) as edge:
        fields = FIELDS + signal
        ask(
            edge.port,
            request("/abc?q", fields),
            request("/abc?q", fields),
            request("/abc?q", fields.replace("1\r", "0\r")),
        )
        *found, other = clicks(tmp_path, 3)
        assert (other.flags, other.user_agent) == (0, AGENT.encode())
        for click in found:
            assert (click.flags == Flag.OPTED_OUT) == is_honored
            assert (click.user_agent, click.referrer, click.query, click.address) == (
                (b"", b"", b"", b"") if is_honored else (AGENT.encode(), REFERRER.encode(), b"q", b"\x7f\0\0\0")
            )


def test_texts_are_cut(shards: Shards, tmp_path: Path) -> None:
    """At 255 bytes, whatever they are."""
    fields = f"User-Agent: {'a' * 254}\xe9\xff\r\nReferer: {'b' * 1000}\r\n"
    with running_edge(tmp_path, [shards.servers[0].url], **SEALED) as edge:
        target = f"/abc?{'c' * 255}"
        ask(edge.port, request(target, fields), request(target, fields))
        for click in clicks(tmp_path, 2):
            assert (click.user_agent, click.referrer, click.query) == (b"a" * 254 + b"\xe9", b"b" * 255, b"c" * 255)


def test_nothing_is_recorded_when_clicks_are_off(shards: Shards, tmp_path: Path) -> None:
    """Not even a directory is made."""
    with running_edge(tmp_path, [shards.servers[0].url], clicks=False) as edge:
        assert ask(edge.port, request("/abc"), request("/abc"), request("/none")).count(b"\r\nLocation: ") == 2
        assert edge.metric("clicks_recorded_total", '{kind="link"}') == 0
        assert not (tmp_path / "clicks").exists()


def test_worker_that_stops_closes_its_clicks(shards: Shards, tmp_path: Path) -> None:
    """All frames are sealed and the spare is deleted; the books are right without recovery."""
    with running_edge(tmp_path, [shards.servers[0].url], click_seal_ms=60_000) as edge:
        ask(edge.port, *[request("/abc")] * 50, request("/none"))
        assert recorded(tmp_path) == []
    found = recorded(tmp_path)
    assert len(found) == 51
    (report,) = reports(tmp_path)
    assert (report.served, report.recorded, report.unknown_recorded) == (50, 50, 1)
    assert [path.suffix for path in sorted((tmp_path / "clicks").iterdir())] == [".segment", ".ledger", ""]
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "clicks").glob("*.*")} == {0}


def test_granian_leaves_the_same_clicks(shards: Shards, tmp_path: Path) -> None:
    """Behind another server: misses, hits, HEAD and unknown codes, with the client that a trusted proxy names."""
    settings = {"forwarded": "x-forwarded-for", **TRUSTED, **SEALED}
    fields = FIELDS + "X-Forwarded-For: 192.0.2.77\r\n"
    with running_granian(tmp_path, shards.servers[0].url, **settings) as port:
        for target, method in (
            (f"/abc?{QUERY}", "GET"),
            (f"/abc?{QUERY}", "GET"),
            ("/abc", "HEAD"),
            ("/none?q", "GET"),
        ):
            ask(port, request(target, fields + "Connection: close\r\n", method))
        ask(port, request("/none", fields + "DNT: 1\r\nConnection: close\r\n"))
        *found, head, unknown, opted_out = clicks(tmp_path / "rsgi", 5)
    assert [(field(click), click.flags) for click in found] == [(FOUND, 0)] * 2
    assert (head.link_id, head.flags) == (7, Flag.HEAD)
    assert (unknown.code, unknown.flags, unknown.status) == (b"none", Flag.UNKNOWN_CODE, 404)
    assert {click.address for click in (*found, head, unknown)} == {b"\xc0\x00\x02\x00"}
    assert (opted_out.flags, opted_out.address) == (Flag.UNKNOWN_CODE | Flag.OPTED_OUT, b"")


def test_backlog_too_small_for_the_workers_is_refused() -> None:
    """Each worker needs room for some segments."""
    environ = {"POINTSMAN_EDGE_SEEDS": "redis://127.0.0.1", "POINTSMAN_EDGE_WORKERS": "3"}
    environ["POINTSMAN_EDGE_CLICK_BACKLOG_BYTES"] = str(2**20)
    with pytest.raises(ConfigError, match="CLICK_BACKLOG_BYTES: 1048576 bytes are too few for 3 workers"):
        load(environ)
    environ["POINTSMAN_EDGE_CLICK_BACKLOG_BYTES"] = str(2**21)
    assert load(environ).click_room_bytes == 2**21 // 24 // 4096 * 4096
