"""PostgreSQL of the stack: links are put in, clicks are counted, tables are weighed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import asyncpg

# Links as an importer would leave them, all projected.
_LINKS: Final = """
INSERT INTO links (id, key_hash, domain_id, code, target)
SELECT id, hashint8extended(id, 0), (SELECT domains.id FROM domains WHERE is_default), 'c' || id,
    'https://www.example.com/articles/' || id || '/a-title-of-usual-length'
FROM generate_series(1, $1::bigint) AS id
"""
_COUNTED: Final = "SELECT coalesce(sum(humans + bots + previews + heads), 0) FROM click_totals"
# A partition counts for its table.
_SIZES: Final = """
SELECT coalesce(parent.relname, class.relname) AS name, sum(pg_table_size(class.oid))::bigint AS table_bytes,
    sum(pg_indexes_size(class.oid))::bigint AS index_bytes, sum(class.reltuples)::bigint AS rows
FROM pg_class class
LEFT JOIN pg_inherits ON inhrelid = class.oid
LEFT JOIN pg_class parent ON parent.oid = inhparent
WHERE class.relkind = 'r' AND class.relname LIKE 'click\\_%'
GROUP BY 1 ORDER BY 2 DESC
"""
Result = TypeVar("Result")


def add_links(dsn: str, count: int) -> None:
    """Links 1 to `count` of the default domain; the code of link 7 is c7."""

    async def insert(connection: Any) -> None:
        await connection.execute(_LINKS, count)
        await connection.execute("ANALYZE links")

    _with(dsn, insert)


def counted(dsn: str) -> int:
    """All clicks of links that are committed, of whatever class."""

    async def read(connection: Any) -> int:
        return int(await connection.fetchval(_COUNTED))

    return _with(dsn, read)


def sizes(dsn: str) -> list[dict[str, Any]]:
    """The tables of clicks with their indexes, the largest first."""

    async def read(connection: Any) -> list[dict[str, Any]]:
        await connection.execute("ANALYZE")
        return [dict(row) for row in await connection.fetch(_SIZES)]

    return [table for table in _with(dsn, read) if table["table_bytes"] > 0]


def _with(dsn: str, ask: Callable[[Any], Awaitable[Result]]) -> Result:
    async def connected() -> Result:
        connection = await asyncpg.connect(dsn)
        try:
            return await ask(connection)
        finally:
            await connection.close()

    return asyncio.run(connected())
