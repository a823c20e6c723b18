"""The life of a link, through the API."""

import concurrent.futures
from typing import Any

import pytest

from control.auth import service as auth
from edge._fast import CodePermutation
from tests.control.conftest import StationFactory
from tests.control.station import SHORT_URL, Station, fetch, held, held_target, with_database
from tests.stack.server import RedisServer
from wire.record import LinkRecord, Tombstone

GOOD = "https://example.com/"


def _create(station: Station, **members: Any) -> Any:
    return station.client.post("/api/v1/links", json={"target": GOOD, **members})


def test_link_is_created_with_a_generated_code(bare_station: Station) -> None:
    """201, where it is, and all of its members; read again it is the same."""
    answer = _create(bare_station)
    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["ETag"] == '"1"'
    assert answer.headers["Location"] == f"/api/v1/links/{body['code']}"
    assert body["short_url"] == f"{SHORT_URL}/{body['code']}"
    assert set(body) == {
        "id", "domain", "code", "short_url", "target", "status", "is_enabled", "not_before", "not_after",
        "cache_max_age_s", "tags", "version", "created_at", "updated_at",
    }  # fmt: skip
    assert (body["domain"], body["target"], body["status"], body["version"]) == ("go.example", GOOD, 302, 1)
    assert bare_station.client.get(answer.headers["Location"]).json() == body


def test_generated_codes_are_the_permutation_of_a_sequence(bare_station: Station) -> None:
    """Seven characters, no two alike, in an order that only the secret tells."""
    codes = [_create(bare_station).json()["code"] for _ in range(20)]
    ((key,),) = fetch(bare_station.database_url, "SELECT code_key FROM installation")
    assert [CodePermutation(key).code(number) for number in range(20)] == codes


def test_generated_code_that_is_taken_is_passed_over(bare_station: Station) -> None:
    """A custom code may be one that would have been generated; the generator takes the next number."""
    ((key,),) = fetch(bare_station.database_url, "SELECT code_key FROM installation")
    codes = [CodePermutation(key).code(number) for number in range(3)]
    assert _create(bare_station, code=codes[0]).status_code == 201
    assert _create(bare_station, code=codes[1]).status_code == 201
    bare_station.client.delete(f"/api/v1/links/{codes[1]}")
    assert _create(bare_station).json()["code"] == codes[2], "a deleted custom code comes back by hand only"


def test_patch_changes_what_is_given_and_raises_the_version(bare_station: Station) -> None:
    """What is absent stays; null clears an instant; the ETag is the version."""
    _create(bare_station, code="abc", not_after="2040-01-01T00:00:00Z")
    answer = bare_station.client.patch("/api/v1/links/abc", json={"status": 301, "is_enabled": False})
    body = answer.json()
    assert (body["status"], body["is_enabled"], body["target"], body["version"]) == (301, False, GOOD, 2)
    assert body["not_after"] == "2040-01-01T00:00:00Z"
    assert answer.headers["ETag"] == '"2"'
    body = bare_station.client.patch(
        "/api/v1/links/abc", json={"not_after": None, "target": "HTTPS://B.example"}
    ).json()
    assert (body["not_after"], body["target"], body["version"]) == (None, "https://b.example/", 3)


def test_patch_holds_if_the_version_is_the_one_asked_for(bare_station: Station) -> None:
    """If-Match and version in the body, both."""
    _create(bare_station, code="abc")
    assert bare_station.client.patch("/api/v1/links/abc", json={"status": 301, "version": 1}).status_code == 200
    match = {"If-Match": '"2"'}
    assert bare_station.client.patch("/api/v1/links/abc", json={"status": 307}, headers=match).status_code == 200
    assert bare_station.client.delete("/api/v1/links/abc", headers=match).status_code == 412
    assert bare_station.client.delete("/api/v1/links/abc", headers={"If-Match": '"3"'}).status_code == 204


def test_only_one_of_many_writers_with_the_same_version_wins(bare_station: Station) -> None:
    """Optimistic locking under real concurrency."""
    _create(bare_station, code="abc")

    def write(number: int) -> int:
        body = {"target": f"https://example.com/{number}", "version": 1}
        return bare_station.client.patch("/api/v1/links/abc", json=body).status_code

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(write, range(16)))
    assert statuses == [200] + [409] * 15
    assert bare_station.client.get("/api/v1/links/abc").json()["version"] == 2


def test_version_rises_over_deletion_and_creation_anew(bare_station: Station) -> None:
    """What lags behind can never take the new link for the old one."""
    first = _create(bare_station, code="abc").json()
    assert bare_station.client.delete("/api/v1/links/abc").status_code == 204
    assert bare_station.client.get("/api/v1/links/abc").status_code == 404
    assert bare_station.client.delete("/api/v1/links/abc").status_code == 404
    second = _create(bare_station, code="abc").json()
    assert second["version"] == 3
    assert second["id"] > first["id"]
    assert second["created_at"] > first["created_at"]


def test_deletions_and_creations_at_once_leave_one_link_or_none(bare_station: Station) -> None:
    """Every answer is one that some order of the requests explains, and versions count the successes."""

    def create(_: int) -> int:
        return int(_create(bare_station, code="abc").status_code)

    def delete(_: int) -> int:
        return bare_station.client.delete("/api/v1/links/abc").status_code

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = [future.result() for future in [pool.submit(work, 0) for _ in range(30) for work in (create, delete)]]
    assert set(results) <= {201, 409, 204, 404}
    changes = results.count(201) + results.count(204)
    ((version, is_deleted),) = fetch(bare_station.database_url, "SELECT version, deleted_at IS NOT NULL FROM links")
    assert version == changes
    assert results.count(201) - results.count(204) == (0 if is_deleted else 1)


def test_list_pages_through_all_links_newest_first(bare_station: Station) -> None:
    """Pages of a size join without gaps; a link created meanwhile does not shift them."""
    codes = [_create(bare_station, code=f"c{number}").json()["code"] for number in range(7)]
    bare_station.client.delete("/api/v1/links/c3")
    seen = []
    cursor: str | None = ""
    while cursor is not None:
        page = bare_station.client.get(
            "/api/v1/links", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
        ).json()
        seen += [item["code"] for item in page["items"]]
        cursor = page["next_cursor"]
        _create(bare_station)
    codes.remove("c3")
    assert seen[-6:] == codes[::-1]


def test_revoked_key_is_refused_from_the_next_request_on(bare_station: Station) -> None:
    """No cache outlives a revocation."""
    assert bare_station.client.get("/api/v1/links").status_code == 200
    with_database(bare_station.database_url, lambda database: auth.revoke(database, 1))
    assert bare_station.client.get("/api/v1/links").json()["code"] == "key_invalid"


def test_only_the_hash_of_a_key_is_stored(bare_station: Station) -> None:
    """Who reads the table cannot use the API."""
    rows = fetch(bare_station.database_url, "SELECT api_keys::text FROM api_keys")
    assert bare_station.key not in str(rows)
    assert bare_station.key[:7] in str(rows)


def test_changes_reach_the_shard_that_owns_the_link(station: Station, shards: list[RedisServer]) -> None:
    """Created, changed, deleted and created anew: the record on the shard follows, a tombstone in between."""
    link = station.create(GOOD, code="abc", not_before="2025-01-01T00:00:00Z")
    assert link["edges"] == {"is_projected": True, "is_complete": True, "acknowledged": [], "late": []}
    assert held(shards, "abc") == LinkRecord(
        link_id=link["id"], version=1, status=302, target=GOOD.encode(), not_before_ms=1_735_689_600_000
    )
    station.patch("abc", target="https://b.example/", is_enabled=False)
    assert held_target(shards, "abc") == "https://b.example/"
    station.client.delete("/api/v1/links/abc?wait=edges")
    assert held(shards, "abc") == Tombstone(link_id=link["id"], version=3)
    again = station.create(GOOD, code="abc")
    assert held(shards, "abc") == LinkRecord(link_id=again["id"], version=4, status=302, target=GOOD.encode())


def test_default_domain_follows_the_setting_and_keeps_its_id(
    station_factory: StationFactory, bare_station: Station
) -> None:
    """Another host for the same links."""
    _create(bare_station, code="abc")
    bare_station.server.stop()
    fetch(bare_station.database_url, "UPDATE domains SET host = 'old.example', base_url = 'http://old.example'")
    again = station_factory(bare_station.database_url, [], bare_station.key)
    assert again.client.get("/api/v1/links/abc").json()["short_url"] == f"{SHORT_URL}/abc"


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json", "/docs", "/metrics"])
def test_what_needs_no_key(bare_station: Station, path: str) -> None:
    """Health, documents and metrics are open."""
    bare_station.client.headers.pop("Authorization")
    assert bare_station.client.get(path).status_code == 200
