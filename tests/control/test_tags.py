"""Tags of links: names, what a link has, lists by tag, and who may create and delete them at once."""

import asyncio
import concurrent.futures
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.db import Database
from control.errors import Error
from control.links import store as link_store
from control.links.model import LinkPatch, NewLink
from control.links.service import Condition, Links
from control.tags import model, service, store
from control.tags.service import Tags
from tests.control.station import SHORT_URL, Station, fetch, held, with_database
from tests.stack.server import RedisServer
from wire.record import LinkRecord

GOOD = "https://example.com/"
OPEN_DOMAIN = f"INSERT INTO domains (host, base_url, is_default) VALUES ('go.example', '{SHORT_URL}', true)"

INSERT = "INSERT INTO links (domain_id, code, key_hash, target, tags) VALUES (1, $1, 0, 'https://a.example/', $2)"


def _create(station: Station, **members: Any) -> Any:
    return station.client.post("/api/v1/links", json={"target": GOOD, **members})


def _patch(station: Station, code: str, **members: Any) -> Any:
    return station.client.patch(f"/api/v1/links/{code}", json=members)


def _codes(station: Station, **query: Any) -> list[str]:
    answer = station.client.get("/api/v1/links", params=query)
    assert answer.status_code == 200, answer.text
    return [item["code"] for item in answer.json()["items"]]


def _names(station: Station) -> list[str]:
    return [item["name"] for item in station.client.get("/api/v1/tags").json()["items"]]


@pytest.fixture
def tagged_url(migrated_url: str) -> str:
    """A database with the default domain."""
    fetch(migrated_url, OPEN_DOMAIN)
    return migrated_url


def test_link_has_the_tags_that_it_was_given(bare_station: Station) -> None:
    """In their order, each once; read again and listed they are the same."""
    answer = _create(bare_station, code="abc", tags=["News", " Sport ", "news"])
    assert answer.status_code == 201, answer.text
    assert answer.json()["tags"] == ["News", "Sport"]
    assert bare_station.client.get("/api/v1/links/abc").json()["tags"] == ["News", "Sport"]
    assert [item["tags"] for item in bare_station.client.get("/api/v1/links").json()["items"]] == [["News", "Sport"]]
    assert _create(bare_station, tags=["SPORT"]).json()["tags"] == ["Sport"], "as it was first written"
    assert _create(bare_station).json()["tags"] == []


def test_patch_replaces_all_tags_or_none(bare_station: Station) -> None:
    """Absent leaves them, a list replaces them, an empty one takes them; lists by tag follow."""
    _create(bare_station, code="abc", tags=["a", "b"])
    assert _patch(bare_station, "abc", status=301).json()["tags"] == ["a", "b"]
    assert _patch(bare_station, "abc", tags=["c", "a"]).json()["tags"] == ["c", "a"]
    assert {tag: _codes(bare_station, tag=tag) for tag in "abc"} == {"a": ["abc"], "b": [], "c": ["abc"]}
    assert _patch(bare_station, "abc", tags=[]).json()["tags"] == []
    assert fetch(bare_station.database_url, "SELECT count(*) FROM link_tags") == [(0,)]


def test_change_of_tags_alone_is_a_change_of_the_link(station: Station, shards: list[RedisServer]) -> None:
    """It raises the version, is queued, and reaches the shard."""
    station.create(GOOD, code="abc")
    link = station.patch("abc", tags=["news"])
    assert (link["version"], link["edges"]["is_projected"]) == (2, True)
    found = held(shards, "abc")
    assert isinstance(found, LinkRecord)
    assert found.version == 2


def test_link_that_is_created_anew_has_its_own_tags(bare_station: Station) -> None:
    """A deleted link is in no list; the row is taken over, its tags are not."""
    _create(bare_station, code="abc", tags=["old", "both"])
    bare_station.client.delete("/api/v1/links/abc")
    assert _codes(bare_station, tag="old") == []
    assert fetch(bare_station.database_url, "SELECT count(*) FROM link_tags") == [(0,)]
    again = _create(bare_station, code="abc", tags=["both"]).json()
    assert again["tags"] == ["both"]
    assert fetch(bare_station.database_url, "SELECT link_id FROM link_tags") == [(again["id"],)]
    bare_station.client.delete("/api/v1/links/abc")
    assert _create(bare_station, code="abc").json()["tags"] == []
    fetch(bare_station.database_url, "DELETE FROM links")
    assert fetch(bare_station.database_url, "SELECT count(*) FROM link_tags") == [(0,)]


def test_list_by_tag_pages_newest_first(bare_station: Station) -> None:
    """Pages join without gaps, whatever is created and deleted meanwhile."""
    codes = [
        _create(bare_station, code=f"c{number}", tags=["x", f"n{number % 2}"]).json()["code"] for number in range(9)
    ]
    _create(bare_station, code="none")
    bare_station.client.delete("/api/v1/links/c4")
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"tag": "X", "limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = bare_station.client.get("/api/v1/links", params=query).json()
        seen += [item["code"] for item in page["items"]]
        cursor = page["next_cursor"]
        _create(bare_station, tags=["x"])
    codes.remove("c4")
    assert seen == codes[::-1]
    assert _codes(bare_station, tag="n1") == ["c7", "c5", "c3", "c1"]


def test_tags_are_listed_in_pages(bare_station: Station) -> None:
    """By their names without letter case, those without links too."""
    _create(bare_station, code="abc", tags=["b", "Éa", "C", "a"])
    _patch(bare_station, "abc", tags=[])
    assert _names(bare_station) == ["a", "b", "C", "Éa"]
    first = bare_station.client.get("/api/v1/tags?limit=3").json()
    second = bare_station.client.get("/api/v1/tags", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [item["name"] for item in first["items"] + second["items"]] == ["a", "b", "C", "Éa"]
    assert second["next_cursor"] is None
    for cursor in ("%00", "AA", "_w", "é"):
        problem = bare_station.client.get(f"/api/v1/tags?cursor={cursor}")
        assert (problem.status_code, problem.json()["code"]) == (400, "query_invalid"), cursor


def test_tag_is_deleted_when_no_link_has_it(bare_station: Station) -> None:
    """Refused while one has it; a name with a slash can be given in the path."""
    _create(bare_station, code="abc", tags=["a/b"])
    answer = bare_station.client.delete("/api/v1/tags/A%2Fb")
    assert (answer.status_code, answer.json()["code"]) == (409, "tag_in_use")
    bare_station.client.delete("/api/v1/links/abc")
    assert bare_station.client.delete("/api/v1/tags/A%2Fb").status_code == 204
    assert bare_station.client.delete("/api/v1/tags/A%2Fb").json()["code"] == "tag_not_found"
    assert _names(bare_station) == []


BAD_TAGS: list[tuple[Any, str, str]] = [
    (None, "field_type", "/tags"),
    ("news", "field_type", "/tags"),
    ([1], "field_type", "/tags/0"),
    (["ok", ""], "tag_invalid", "/tags/1"),
    (["  "], "tag_invalid", "/tags/0"),
    (["x" * 65], "tag_invalid", "/tags/0"),
    (["a\nb"], "tag_invalid", "/tags/0"),
    (["a\n"], "tag_invalid", "/tags/0"),
    (["a\u0000b"], "tag_invalid", "/tags/0"),
    (["a\u2028b"], "tag_invalid", "/tags/0"),
    ([f"t{number}" for number in range(11)], "too_many_tags", "/tags"),
]


def test_bad_tags_change_nothing(bare_station: Station) -> None:
    """The same refusal from POST and PATCH, with its code and its place; no tag is left behind."""
    _create(bare_station, code="abc", tags=["kept"])
    for tags, code, pointer in BAD_TAGS:
        for answer in (_create(bare_station, tags=tags), _patch(bare_station, "abc", tags=tags)):
            problem = answer.json()
            assert (problem["code"], problem["errors"][0]["pointer"]) == (code, pointer), (tags, problem)
    assert _create(bare_station, code="abc", tags=["new"]).json()["code"] == "code_taken"
    assert _patch(bare_station, "abc", tags=["new"], version=7).json()["code"] == "version_conflict"
    assert fetch(bare_station.database_url, "SELECT version FROM links") == [(1,)]
    assert _names(bare_station) == ["kept"]
    for tag in ("new", " ", "x" * 65, "\u0000"):
        answer = bare_station.client.get("/api/v1/links", params={"tag": tag})
        assert (answer.status_code, answer.json()["code"]) == (404, "tag_not_found"), tag


def test_installation_has_at_most_so_many_tags(bare_station: Station) -> None:
    """The last one is created, the next is refused and nothing with it; those that exist can be used."""
    fetch(
        bare_station.database_url,
        "INSERT INTO tags (name, key) SELECT 't' || n, 't' || n FROM generate_series(1, $1) n",
        model.TAGS_MAX - 1,
    )
    assert _create(bare_station, tags=["t1", "last"]).status_code == 201
    answer = _create(bare_station, tags=["t1", "one more"])
    assert (answer.status_code, answer.json()["code"]) == (409, "tags_exhausted")
    assert _create(bare_station, tags=["LAST"]).status_code == 201
    assert fetch(bare_station.database_url, "SELECT count(*) FROM links") == [(2,)]
    assert bare_station.client.delete("/api/v1/tags/t2").status_code == 204
    assert _create(bare_station, tags=["one more"]).status_code == 201


def test_table_refuses_more_tags_than_a_link_may_have(tagged_url: str) -> None:
    """Tags written by hand are bounded as well."""
    fetch(tagged_url, INSERT, "ten", list(range(10)))
    for tags in (list(range(11)), [1, None]):
        with pytest.raises(Exception, match="links_tags"):
            fetch(tagged_url, INSERT, "more", tags)


def test_documented_bounds_are_the_enforced_ones(bare_station: Station) -> None:
    """The OpenAPI document has the lengths."""
    schemas = bare_station.client.get("/openapi.json").json()["components"]["schemas"]
    name = {"type": "string", "minLength": 1, "maxLength": model.NAME_LENGTH_MAX}
    expected = {"type": "array", "items": name, "maxItems": model.LINK_TAGS_MAX}
    assert {key: schemas["LinkPatch"]["properties"]["tags"][key] for key in expected} == expected
    assert {key: schemas["NewLink"]["properties"]["tags"][key] for key in expected} == expected


@given(st.text(max_size=70))
def test_key_is_the_same_for_every_spelling(text: str) -> None:
    """Letter case, Unicode form and spaces around make no other tag; a name is its own name."""
    key = model.key_of(text)
    spellings = {text.upper().casefold(), *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))}
    assert {model.key_of(spelling) for spelling in spellings if spelling.casefold() == text.casefold()} <= {key}
    assert model.key_of(unicodedata.normalize("NFD", text)) == key
    assert model.key_of(f"  {text} ") == key
    assert model.key_of(key) == key
    if model.is_name(text):
        ((_, name),) = model.parse_all([text]).items()
        assert model.is_name(name)
        assert model.parse_all([name]) == {key: name}
        assert unicodedata.is_normalized("NFC", name)


@given(st.lists(st.text(max_size=3), max_size=14))
def test_whatever_the_names_they_are_taken_or_refused(texts: list[str]) -> None:
    """What is taken is within the bounds, each tag once; what is not has a problem that names its place."""
    wrong = [index for index, text in enumerate(texts) if not model.is_name(text)]
    keys = {model.key_of(text) for text in texts}
    if wrong:
        with pytest.raises(Error) as caught:
            model.parse_all(texts)
        assert (caught.value.code, caught.value.pointer) == ("tag_invalid", f"/tags/{wrong[0]}")
    elif len(keys) > model.LINK_TAGS_MAX:
        with pytest.raises(Error, match="at most 10"):
            model.parse_all(texts)
    else:
        assert set(model.parse_all(texts)) == keys


def test_many_writers_create_one_tag_once(bare_station: Station) -> None:
    """Links with the same new tags, in different orders and spellings, at once: all succeed."""

    def create(number: int) -> int:
        tags = [f"t{number // 8}", "Both" if number % 2 else "both"]
        return int(_create(bare_station, tags=tags[:: 1 if number % 3 else -1]).status_code)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(create, range(48))) == {201}
    assert sorted(name.lower() for name in _names(bare_station)) == ["both", *(f"t{number}" for number in range(6))]
    assert len(_codes(bare_station, tag="both", limit=500)) == 48


def test_creator_waits_for_another_and_uses_its_tag(tagged_url: str) -> None:
    """The second finds the tag when the first has committed, and makes its own when the first has not."""

    async def play(database: Database) -> None:
        for is_committed in (True, False):
            name = {f"tag {is_committed}": f"tag {is_committed}"}
            async with database.connection() as one:
                transaction = one.transaction()
                await transaction.start()
                (first,) = await service.resolve(one, name)
                second = asyncio.create_task(_resolve(database, name))
                await _wait_for_a_waiter(database)
                await (transaction.commit() if is_committed else transaction.rollback())
                assert (await second == (first,)) == is_committed

    with_database(tagged_url, play)
    assert fetch(tagged_url, "SELECT count(*) FROM tags") == [(2,)]


def test_deletion_of_a_tag_waits_for_a_link_that_is_given_it(tagged_url: str) -> None:
    """Then it is in use; the other way round, the link's tag is created anew."""

    async def play(database: Database) -> None:
        (old,) = await _resolve(database, {"news": "news"})
        async with database.transaction() as one:
            (tag,) = await service.resolve(one, {"news": "news"})
            await one.execute(INSERT, "a", [tag])
            deletion = asyncio.create_task(Tags(database).delete("news"))
            await _wait_for_a_waiter(database)
        with pytest.raises(Error, match="links have the tag") as caught:
            await deletion
        assert caught.value.code == "tag_in_use"
        await Links(database, lambda: None).update(None, "a", LinkPatch(tags=[]), Condition())
        async with database.transaction() as one:
            assert await store.find_for_update(one, "news") is not None
            await store.delete(one, old)
            creation = asyncio.create_task(Links(database, lambda: None).create(NewLink(target=GOOD, tags=["news"])))
            await _wait_for_a_waiter(database)
        assert (await creation).view.tags == ["news"]

    with_database(tagged_url, play)
    assert fetch(tagged_url, "SELECT id, name FROM tags") == [(2, "news")]


async def _resolve(database: Database, names: dict[str, str]) -> tuple[int, ...]:
    async with database.transaction() as connection:
        return await service.resolve(connection, names)


async def _wait_for_a_waiter(database: Database) -> None:
    """Until another connection waits for a lock: PostgreSQL gives no signal of it."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with database.connection() as connection, asyncio.timeout(20):
        while await connection.fetchval(query) == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_no_deadlock_between_writers_of_the_same_links_and_tags(bare_station: Station) -> None:
    """Creations, changes and deletions over few codes and new tags: every answer is one that some order explains."""

    def work(number: int) -> int:
        code, tags = f"c{number % 3}", [f"t{(number * 7 + shift) % 40}" for shift in range(3)]
        if number % 4 == 0:
            return bare_station.client.delete(f"/api/v1/links/{code}").status_code
        if number % 2:
            return int(_create(bare_station, code=code, tags=tags).status_code)
        return int(_patch(bare_station, code, tags=tags).status_code)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(160))) <= {200, 201, 204, 404, 409}
    assert _index(bare_station.database_url) == _truth(bare_station.database_url)


def _index(url: str) -> list[tuple[Any, ...]]:
    return fetch(url, "SELECT tag_id, link_id FROM link_tags ORDER BY 1, 2")


def _truth(url: str) -> list[tuple[Any, ...]]:
    """What the index must hold, from the links themselves."""
    return fetch(url, "SELECT unnest(tags) AS tag, id FROM links WHERE deleted_at IS NULL ORDER BY 1, 2")


def test_page_of_a_tag_costs_the_same_at_any_depth(tagged_url: str) -> None:
    """With 200,000 links, half of them with one tag: a page is read from the index, and no more rows than it shows."""
    fetch(
        tagged_url,
        "WITH t AS (INSERT INTO tags (name, key) VALUES ('common', 'common'), ('rare', 'rare')) "
        "INSERT INTO links (domain_id, code, key_hash, target, tags) SELECT 1, 'c' || n, n, 'https://a.example/', "
        "CASE WHEN n <= 100000 THEN CASE WHEN n % 50000 = 0 THEN '{1,2}'::integer[] ELSE '{1}' END ELSE '{}' END "
        "FROM generate_series(1, 200000) n",
    )
    fetch(tagged_url, "ANALYZE")
    ((low, high),) = fetch(tagged_url, "SELECT min(id), max(id) FROM links")
    for before in (high, low + 50_000):
        plan = _plan(tagged_url, 1, before, 100)
        assert "link_tags_pkey" in plan
        assert "Seq Scan on links" not in plan
        assert max(map(int, re.findall(r"actual rows=(\d+)", plan))) == 100, plan
        assert "Removed by Filter" not in plan
    assert _index(tagged_url) == _truth(tagged_url)


def _plan(url: str, *arguments: int) -> str:
    """How a page is read, and how many rows each step gave."""
    explain = f"EXPLAIN (ANALYZE, TIMING off, COSTS off, SUMMARY off) {link_store.PAGE_OF_TAG}"
    return "\n".join(row[0] for row in fetch(url, explain, *arguments))
