"""SQL of links. Every statement that changes a link queues it for projection in the same breath."""

from typing import Any, Final

from control.db import Connection
from control.links.model import Content, Link

_COLUMNS: Final = (
    "id, domain_id, code, version, target, status, is_enabled, not_before, not_after, cache_max_age_s, "
    "tags, created_at, updated_at, ARRAY("
    "SELECT tags.name FROM unnest(links.tags) WITH ORDINALITY AS had (id, place) JOIN tags USING (id) ORDER BY place"
    ") AS tag_names"
)
# A deleted link's row is taken over in ONE statement: reading it first would race with a deletion that commits in
# between. A generated code never takes one over: what was once printed by hand must not come back by chance.
_INSERT: Final = f"""
WITH changed AS (
    INSERT INTO links
        (domain_id, code, key_hash, target, status, is_enabled, not_before, not_after, cache_max_age_s, tags)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (domain_id, code) DO UPDATE SET
        id = nextval('link_ids'), version = links.version + 1, created_at = now(), updated_at = now(),
        deleted_at = NULL, target = $4, status = $5, is_enabled = $6, not_before = $7, not_after = $8,
        cache_max_age_s = $9, tags = $10
    WHERE links.deleted_at IS NOT NULL AND $11
    RETURNING {_COLUMNS}
), queued AS (INSERT INTO outbox (link_id, version) SELECT id, version FROM changed)
SELECT * FROM changed
"""  # noqa: S608 (constants)
_UPDATE: Final = f"""
WITH changed AS (
    UPDATE links SET version = version + 1, updated_at = now(),
        target = $2, status = $3, is_enabled = $4, not_before = $5, not_after = $6, cache_max_age_s = $7, tags = $8
    WHERE id = $1 RETURNING {_COLUMNS}
), queued AS (INSERT INTO outbox (link_id, version) SELECT id, version FROM changed)
SELECT * FROM changed
"""  # noqa: S608 (constants)
_DELETE: Final = f"""
WITH changed AS (
    UPDATE links SET version = version + 1, updated_at = now(), deleted_at = now()
    WHERE id = $1 RETURNING {_COLUMNS}
), queued AS (INSERT INTO outbox (link_id, version) SELECT id, version FROM changed)
SELECT * FROM changed
"""  # noqa: S608 (constants)
PAGE_OF_TAG: Final = f"""
SELECT {_COLUMNS} FROM links JOIN (
    SELECT link_id FROM link_tags WHERE tag_id = $1 AND link_id < $2 ORDER BY link_id DESC LIMIT $3
) AS page ON links.id = page.link_id
ORDER BY id DESC
"""  # noqa: S608 (constants)


async def insert(
    connection: Connection, domain_id: int, code: str, key_hash: int, content: Content, *, is_custom: bool
) -> Link | None:
    """A new link; None if the code is taken."""
    row = await connection.fetchrow(_INSERT, domain_id, code, key_hash, *_values(content), is_custom)
    return _link(row) if row else None


async def update(connection: Connection, link_id: int, content: Content) -> Link:
    """Change a link that the transaction has locked."""
    return _link(await connection.fetchrow(_UPDATE, link_id, *_values(content)))


async def delete(connection: Connection, link_id: int) -> Link:
    """Delete a link that the transaction has locked."""
    return _link(await connection.fetchrow(_DELETE, link_id))


async def find(connection: Connection, domain_id: int, code: str) -> Link | None:
    """The link at a code."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM links WHERE domain_id = $1 AND code = $2 AND deleted_at IS NULL",  # noqa: S608 (constants)
        domain_id,
        code,
    )
    return _link(row) if row else None


async def find_for_update(connection: Connection, domain_id: int, code: str) -> Link | None:
    """The link at a code, locked until the transaction ends."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM links WHERE domain_id = $1 AND code = $2 AND deleted_at IS NULL FOR UPDATE",  # noqa: S608 (constants)
        domain_id,
        code,
    )
    return _link(row) if row else None


async def page(connection: Connection, before_id: int, limit: int) -> list[Link]:
    """At most `limit` links with an id below `before_id`, newest first."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM links WHERE id < $1 AND deleted_at IS NULL ORDER BY id DESC LIMIT $2",  # noqa: S608 (constants)
        before_id,
        limit,
    )
    return [_link(row) for row in rows]


async def page_of_tag(connection: Connection, tag_id: int, before_id: int, limit: int) -> list[Link]:
    """The same of the links that have a tag: a range of link_tags, in which no deleted link stands."""
    rows = await connection.fetch(PAGE_OF_TAG, tag_id, before_id, limit)
    return [_link(row) for row in rows]


async def next_code_number(connection: Connection) -> int:
    """A sequence number that no code was generated from yet."""
    number: int = await connection.fetchval("SELECT nextval('code_numbers')")
    return number


async def code_key(connection: Connection) -> bytes:
    """The secret of the permutation behind generated codes."""
    key: bytes = await connection.fetchval("SELECT code_key FROM installation")
    return key


async def purge_deleted(connection: Connection, after_days: int, limit: int) -> int:
    """Remove at most `limit` rows of links that were deleted long ago; returns how many."""
    count: int = await connection.fetchval(
        """
        WITH old AS (
            SELECT id FROM links WHERE deleted_at < now() - make_interval(days => $1) LIMIT $2 FOR UPDATE SKIP LOCKED
        ), gone AS (DELETE FROM links USING old WHERE links.id = old.id RETURNING 1)
        SELECT count(*) FROM gone
        """,
        after_days,
        limit,
    )
    return count


def _values(content: Content) -> tuple[Any, ...]:
    return (
        content.target,
        content.status,
        content.is_enabled,
        content.not_before,
        content.not_after,
        content.cache_max_age_s,
        list(content.tags),
    )


def _link(row: Any) -> Link:
    return Link(
        id=row["id"],
        domain_id=row["domain_id"],
        code=row["code"],
        version=row["version"],
        content=Content(
            target=row["target"],
            status=row["status"],
            is_enabled=row["is_enabled"],
            not_before=row["not_before"],
            not_after=row["not_after"],
            cache_max_age_s=row["cache_max_age_s"],
            tags=tuple(row["tags"]),
        ),
        tag_names=tuple(row["tag_names"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
