"""How many links there are, for plans and for progress."""

import pytest

from control.db import Database
from control.moves import store
from control.moves.plan import Size
from tests.control.station import fetch, with_database

MANY = 40_000


async def _size(database: Database) -> Size:
    async with database.connection() as connection:
        return await store.size(connection)


def _fill(url: str, first: int, last: int) -> None:
    fetch(
        url,
        "INSERT INTO links (domain_id, code, key_hash, target) "
        "SELECT 1, 'c' || n, n, 'https://example.com/some/path/of/the/shop/' || n "
        f"FROM generate_series({first}, {last}) AS n",
    )


def test_few_links_are_counted(migrated_url: str) -> None:
    """None, and a hundred, whatever the statistics say."""
    assert with_database(migrated_url, _size) == Size(links=0, text_bytes=0.0)
    fetch(
        migrated_url, "INSERT INTO domains (host, base_url, is_default) VALUES ('a.example', 'https://a.example', true)"
    )
    _fill(migrated_url, 1, 100)
    size = with_database(migrated_url, _size)
    assert size.links == 100
    assert size.text_bytes == pytest.approx(47, abs=2)


def test_many_links_are_estimated_by_what_the_table_is_now(migrated_url: str) -> None:
    """Not by what it was when it was last analyzed: after an import a plan would be one of a few links."""
    fetch(
        migrated_url, "INSERT INTO domains (host, base_url, is_default) VALUES ('a.example', 'https://a.example', true)"
    )
    _fill(migrated_url, 1, 100)
    fetch(migrated_url, "ANALYZE links")
    _fill(migrated_url, 101, MANY)
    assert with_database(migrated_url, _size).links == pytest.approx(MANY, rel=0.3)
    fetch(migrated_url, "ANALYZE links")
    size = with_database(migrated_url, _size)
    assert size.links == pytest.approx(MANY, rel=0.05)
    assert size.text_bytes == pytest.approx(50, abs=4)
