"""A link's cache lifetime, from the API to what the edges are given: the shard's record and the view of the origin."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from edge import origin
from tests.control.station import Station, fetch, held
from tests.stack.server import RedisServer
from wire import record
from wire.record import CACHE_MAX_AGE_S_MAX, LinkRecord

GOOD = "https://example.com/"


def _held_lifetime(shards: list[RedisServer], code: str) -> int | None:
    found = held(shards, code)
    assert isinstance(found, LinkRecord)
    return found.cache_max_age_s


def _given_by_the_view(url: str, code: str) -> LinkRecord | record.Tombstone:
    """The link as an edge reads it from PostgreSQL."""

    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchrow(origin.QUERY, [1], [code])
        finally:
            await connection.close()

    return record.decode(origin.encode(asyncio.run(run())))


@pytest.mark.parametrize("seconds", [0, 3600, CACHE_MAX_AGE_S_MAX])
def test_link_created_with_a_lifetime_has_it_everywhere(
    station: Station, shards: list[RedisServer], seconds: int
) -> None:
    """In the answer, when it is read and listed, on its shard, and in the view."""
    link = station.create(GOOD, code="abc", cache_max_age_s=seconds)
    assert link["cache_max_age_s"] == seconds
    assert station.client.get("/api/v1/links/abc").json()["cache_max_age_s"] == seconds
    assert [item["cache_max_age_s"] for item in station.client.get("/api/v1/links").json()["items"]] == [seconds]
    expected = LinkRecord(link_id=link["id"], version=1, status=302, target=GOOD.encode(), cache_max_age_s=seconds)
    assert held(shards, "abc") == expected
    assert _given_by_the_view(station.database_url, "abc") == expected


def test_change_of_the_lifetime_is_a_change_of_the_link(station: Station, shards: list[RedisServer]) -> None:
    """Set, kept by other changes, reset by null: each raises the version and reaches the shard."""
    station.create(GOOD, code="abc")
    assert _held_lifetime(shards, "abc") is None
    changes: list[tuple[dict[str, Any], int | None]] = [
        ({"cache_max_age_s": 60}, 60),
        ({"status": 301}, 60),
        ({"cache_max_age_s": 0}, 0),
        ({"cache_max_age_s": None}, None),
    ]
    for version, (members, seconds) in enumerate(changes, start=2):
        link = station.patch("abc", **members)
        assert (link["version"], link["cache_max_age_s"]) == (version, seconds)
        assert link["edges"]["is_projected"]
        found = held(shards, "abc")
        assert isinstance(found, LinkRecord)
        assert (found.version, found.cache_max_age_s) == (version, seconds)
        assert _given_by_the_view(station.database_url, "abc") == found


def test_change_of_the_lifetime_alone_is_queued(bare_station: Station) -> None:
    """One outbox row for the creation, one for the change."""
    bare_station.client.post("/api/v1/links", json={"target": GOOD, "code": "abc"})
    assert bare_station.client.patch("/api/v1/links/abc", json={"cache_max_age_s": 5}).status_code == 200
    assert fetch(bare_station.database_url, "SELECT version FROM outbox ORDER BY id") == [(1,), (2,)]


def test_code_that_is_taken_again_inherits_no_lifetime(station: Station, shards: list[RedisServer]) -> None:
    """The deleted link's row is taken over, its lifetime is not."""
    station.create(GOOD, code="abc", cache_max_age_s=60)
    station.client.delete("/api/v1/links/abc?wait=edges")
    assert station.create(GOOD, code="abc")["cache_max_age_s"] is None
    assert _held_lifetime(shards, "abc") is None


@pytest.mark.parametrize("seconds", [-1, CACHE_MAX_AGE_S_MAX + 1, 2**31, 2**32, 10**30])
def test_lifetime_out_of_range_changes_nothing(bare_station: Station, seconds: int) -> None:
    """The same refusal from POST and PATCH, which names the member and the range."""
    bare_station.client.post("/api/v1/links", json={"target": GOOD, "code": "abc", "cache_max_age_s": 60})
    body = json.dumps({"cache_max_age_s": seconds})
    headers = {"Content-Type": "application/json"}
    for answer in (
        bare_station.client.patch("/api/v1/links/abc", content=body, headers=headers),
        bare_station.client.post("/api/v1/links", json={"target": GOOD, "cache_max_age_s": seconds}),
    ):
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, "cache_max_age_invalid")
        assert problem["errors"][0]["pointer"] == "/cache_max_age_s"
        assert "0 to 31536000" in problem["detail"]
    assert fetch(bare_station.database_url, "SELECT version, cache_max_age_s FROM links") == [(1, 60)]


def test_table_refuses_what_no_record_can_hold(bare_station: Station) -> None:
    """A lifetime written by hand is checked as well."""
    bare_station.client.post("/api/v1/links", json={"target": GOOD})
    for seconds in (-1, CACHE_MAX_AGE_S_MAX + 1):
        with pytest.raises(asyncpg.CheckViolationError, match="links_cache_max_age"):
            fetch(bare_station.database_url, f"UPDATE links SET cache_max_age_s = {seconds}")


def test_documented_range_is_the_enforced_one(bare_station: Station) -> None:
    """The OpenAPI document has minimum and maximum."""
    schemas = bare_station.client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("NewLink", "LinkPatch"):
        member, nothing = schemas[name]["properties"]["cache_max_age_s"]["anyOf"]
        assert member == {"type": "integer", "minimum": 0, "maximum": CACHE_MAX_AGE_S_MAX}
        assert nothing == {"type": "null"}
