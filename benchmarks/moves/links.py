"""The links that are copied and audited."""

import asyncio
from collections.abc import Iterator
from typing import Final

import asyncpg

from control.links.model import stored_hash

_COLUMNS: Final = ("domain_id", "code", "key_hash", "target")


def add(dsn: str, count: int) -> None:
    """Links in the table, with the hashes by which shards are chosen, and in no outbox; as an importer leaves them."""
    asyncio.run(_add(dsn, count))


async def _add(dsn: str, count: int) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        domain_id = await connection.fetchval("SELECT id FROM domains WHERE is_default")
        await connection.copy_records_to_table("links", records=_records(domain_id, count), columns=_COLUMNS)
        await connection.execute("VACUUM ANALYZE links")
    finally:
        await connection.close()


def _records(domain_id: int, count: int) -> Iterator[tuple[int, str, int, str]]:
    for number in range(1, count + 1):
        code = f"c{number}"
        target = f"https://www.example.com/articles/{number}/a-title-of-usual-length"
        yield domain_id, code, stored_hash(domain_id, code), target
