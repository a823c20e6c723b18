"""The answers that are no redirects of links: errors, pages, and the fields that settings add."""

import time
from pathlib import Path
from typing import Any

import pytest

from edge import answers
from edge._http import Status
from edge._path import PathKind
from tests.edge.stand import Shards, running_edge
from tests.stack.fixtures import RedisFactory


@pytest.mark.parametrize("status", answers.SENTENCES)
def test_error_says_what_it_is_to_people(status: Status) -> None:
    """A whole small page, of the length that its field says, never kept by a cache."""
    fields, body = answers.errors()[status]
    assert fields.startswith(f"HTTP/1.1 {status} ".encode())
    assert f"\r\nContent-Length: {len(body)}\r\n".encode() in fields
    assert b"\r\nCache-Control: no-store\r\n" in fields
    assert answers.SENTENCES[status].encode() in body


def test_every_kind_of_path_has_its_page() -> None:
    """All that is no code is answered without a look-up."""
    pages = answers.pages("", "allow")
    assert set(pages) == {int(kind) for kind in PathKind} - {int(PathKind.CODE_PATH)}
    assert {kind: page[0] for kind, page in pages.items() if page[0] != 404} == {int(PathKind.ROBOTS): 200}


def test_pages_are_served(redis_factory: RedisFactory, tmp_path: Path) -> None:
    """By a running edge, with the fields that its settings add to every answer."""
    shards = Shards([redis_factory()])
    shards.put("abc", "https://example.com/")
    settings: dict[str, Any] = {
        "root_target": "https://example.com/home",
        "robots": "disallow",
        "referrer_policy": "no-referrer",
    }
    settings |= {"hsts": "max-age=31536000"}
    with running_edge(tmp_path / "edge", [shards.servers[0].url], **settings) as edge:
        root, robots, icon, link, encoded, absent = (
            edge.get(path) for path in ("/", "/robots.txt", "/favicon.ico", "/abc", "/%61b%63", "/.well-known/x")
        )
        assert (root.status, root.location) == (302, "https://example.com/home")
        assert (robots.status, robots.body) == (200, b"User-agent: *\nDisallow: /\n")
        assert (icon.status, icon.headers["Cache-Control"]) == (404, "public, max-age=86400")
        assert (encoded.status, encoded.location) == (link.status, link.location) == (302, "https://example.com/")
        assert absent.status == 404
        for answer in (root, robots, icon, link, absent):
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert "Strict-Transport-Security" not in answer.headers
        assert edge.get("/robots.txt", method="HEAD").body == b""
        assert edge.metric("answers_by_tier_total", '{tier="shard"}') == 1


@pytest.mark.parametrize("status", [301, 302])
def test_owner_says_how_long_caches_may_keep_a_link(redis_factory: RedisFactory, tmp_path: Path, status: int) -> None:
    """The same out of the shard and out of L1; zero is a lifetime too."""
    shards = Shards([redis_factory()])
    shards.put("hour", "https://example.com/", status=status, cache_max_age_s=3600)
    shards.put("zero", "https://example.com/", status=status, cache_max_age_s=0)
    with running_edge(tmp_path / "edge", [shards.servers[0].url]) as edge:
        for _ in range(2):
            assert edge.get("/hour").headers["Cache-Control"] == "public, max-age=3600"
            assert edge.get("/zero").headers["Cache-Control"] == "public, max-age=0"


def test_no_cache_may_keep_a_link_beyond_its_end(redis_factory: RedisFactory, tmp_path: Path) -> None:
    """A lifetime ends before the link does, also when the answer has been in L1 for as long as it may."""
    shards = Shards([redis_factory()])
    end_ms = int(time.time() * 1000) + 2_000_000
    shards.put("ends", "https://example.com/", not_after_ms=end_ms, cache_max_age_s=86_400)
    with running_edge(tmp_path / "edge", [shards.servers[0].url], ttl_ms=600_000) as edge:
        first, second = (int(edge.get("/ends").headers["Cache-Control"].partition("=")[2]) for _ in range(2))
        assert 1900 < first <= 2000
        assert 1390 < second <= 1460  # less the time to live, of which jitter takes up to a tenth
