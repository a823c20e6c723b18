"""SQL of tags."""

from collections.abc import Collection, Mapping
from typing import Final

from control.db import Connection
from control.tags.model import Tag

# Transaction lock of whoever creates tags; a number nobody else in this database uses ("pnts", "tags" in ASCII).
_LOCK: Final = 0x706E747374616773


async def lock(connection: Connection, keys: Collection[str]) -> dict[str, int]:
    """Key -> id of the tags that there are; none of them is deleted before the transaction ends."""
    rows = await connection.fetch("SELECT key, id FROM tags WHERE key = ANY ($1) ORDER BY id FOR KEY SHARE", list(keys))
    return {row["key"]: row["id"] for row in rows}


async def lock_creation(connection: Connection) -> None:
    """Be the only one who creates tags until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)


async def count(connection: Connection) -> int:
    """How many tags there are."""
    number: int = await connection.fetchval("SELECT count(*) FROM tags")
    return number


async def insert(connection: Connection, names: Mapping[str, str]) -> dict[str, int]:
    """Create tags (key -> name) that are not there; key -> id."""
    rows = await connection.fetch(
        """
        INSERT INTO tags (key, name) SELECT * FROM unnest($1::text[], $2::text[])
        RETURNING key, id
        """,
        list(names.keys()),
        list(names.values()),
    )
    return {row["key"]: row["id"] for row in rows}


async def find(connection: Connection, key: str) -> Tag | None:
    """The tag of a key."""
    row = await connection.fetchrow("SELECT id, name FROM tags WHERE key = $1", key)
    return Tag(**row) if row else None


async def find_for_update(connection: Connection, key: str) -> Tag | None:
    """The tag of a key; no link is given it before the transaction ends."""
    row = await connection.fetchrow("SELECT id, name FROM tags WHERE key = $1 FOR UPDATE", key)
    return Tag(**row) if row else None


async def page(connection: Connection, after_key: str, limit: int) -> list[tuple[str, Tag]]:
    """At most `limit` tags with their keys, in the keys' order, from above `after_key` on."""
    rows = await connection.fetch(
        "SELECT key, id, name FROM tags WHERE key > $1 ORDER BY key LIMIT $2", after_key, limit
    )
    return [(row["key"], Tag(id=row["id"], name=row["name"])) for row in rows]


async def is_used(connection: Connection, tag_id: int) -> bool:
    """Whether a link that is not deleted has the tag."""
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM link_tags WHERE tag_id = $1)", tag_id))


async def delete(connection: Connection, tag_id: int) -> None:
    """Delete a tag that the transaction has locked."""
    await connection.execute("DELETE FROM tags WHERE id = $1", tag_id)
