"""Migrations go forward, once, in order, and never change under a database."""

import asyncio

import pytest

from control import migrations
from control.db import Database
from control.errors import Error
from control.migrations import Migration
from tests.control.station import fetch, with_database

ONE = Migration(version=1, name="one", sql="SELECT 1")
TWO = Migration(version=2, name="two", sql="SELECT 2")


def test_what_is_missing_is_applied_in_order() -> None:
    """Only what the database has not."""
    assert migrations.pending([ONE, TWO], {}) == [ONE, TWO]
    assert migrations.pending([ONE, TWO], {1: ONE.checksum}) == [TWO]


def test_edited_migration_is_refused() -> None:
    """The file must be as it was when it was applied."""
    with pytest.raises(Error, match="edited") as caught:
        migrations.pending([ONE, TWO], {1: TWO.checksum})
    assert caught.value.code == "migration_edited"


def test_database_of_a_newer_build_is_refused() -> None:
    """An older build does not guess what a newer one has made."""
    with pytest.raises(Error, match="newer build") as caught:
        migrations.pending([ONE], {1: ONE.checksum, 2: TWO.checksum})
    assert caught.value.code == "migration_unknown"


def test_two_at_once_apply_each_migration_once(database_url: str) -> None:
    """The second waits and finds nothing to do."""

    async def both(database: Database) -> list[list[Migration]]:
        return list(await asyncio.gather(migrations.migrate(database), migrations.migrate(database)))

    results = with_database(database_url, both)
    assert sorted(map(len, results)) == [0, len(migrations.available())]
    assert fetch(database_url, "SELECT count(*) FROM migrations") == [(len(migrations.available()),)]


def test_links_of_before_the_lifetime_have_none(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of the first migration alone, with a link and a grant, goes forward and loses neither."""
    everything = migrations.available()
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "available", lambda: everything[:1])
        with_database(database_url, migrations.migrate)
    fetch(
        database_url,
        "WITH d AS (INSERT INTO domains (host, base_url) VALUES ('sho.rt', 'http://sho.rt') RETURNING id) "
        "INSERT INTO links (domain_id, code, key_hash, target) SELECT id, 'abc', 0, 'https://a.example/' FROM d",
    )
    assert with_database(database_url, migrations.migrate) == everything[1:]
    assert fetch(database_url, "SELECT code, version, cache_max_age_s FROM edge_link") == [("abc", 1, None)]
    assert fetch(database_url, "UPDATE links SET target = 'https://b.example/' RETURNING code") == [("abc",)]
    query = "SELECT table_name FROM information_schema.role_table_grants WHERE grantee = 'pointsman_edge'"
    assert fetch(database_url, query) == [("edge_link",)]


def test_tags_come_without_writing_the_links_again(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of the second migration, with links, goes forward; the table's file stays, and no link has a tag."""
    everything = migrations.available()
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "available", lambda: everything[:2])
        with_database(database_url, migrations.migrate)
    fetch(database_url, "INSERT INTO domains (host, base_url) VALUES ('sho.rt', 'http://sho.rt')")
    fetch(
        database_url,
        "INSERT INTO links (domain_id, code, key_hash, target, deleted_at) SELECT 1, 'c' || n, n, 'https://a.test/', "
        "CASE WHEN n = 1 THEN now() END FROM generate_series(1, 1000) n",
    )
    files = "SELECT pg_relation_filenode('links'), pg_relation_filenode('links_pkey')"
    before = fetch(database_url, files)
    assert with_database(database_url, migrations.migrate) == everything[2:]
    assert fetch(database_url, files) == before
    assert fetch(database_url, "SELECT tags, count(*) FROM links GROUP BY 1") == [([], 1000)]
    fetch(database_url, "UPDATE links SET tags = '{7}' WHERE code IN ('c1', 'c2', 'c3')")
    fetch(database_url, "UPDATE links SET deleted_at = now() WHERE code = 'c3'")
    assert fetch(database_url, "SELECT code FROM links JOIN link_tags ON link_id = id AND tag_id = 7") == [("c2",)]


def test_check_tells_an_empty_database_from_a_current_one(database_url: str) -> None:
    """Before: what to do. After: nothing."""

    async def check(database: Database) -> None:
        async with database.connection() as connection:
            await migrations.check(connection)

    with pytest.raises(Error, match="pointsman migrate"):
        with_database(database_url, check)
    with_database(database_url, migrations.migrate)
    with_database(database_url, check)


def test_edges_may_read_links_through_the_view_alone(migrated_url: str) -> None:
    """The role of the edges sees the view and no table."""
    query = "SELECT table_name FROM information_schema.role_table_grants WHERE grantee = 'pointsman_edge'"
    assert fetch(migrated_url, query) == [("edge_link",)]
