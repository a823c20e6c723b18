"""SQL of reading clicks. Nothing here writes."""

from collections.abc import Sequence
from typing import Any

from control.clicks.statistics import Totals
from control.db import Connection

Documents = list[tuple[int, bytes]]  # UTC day, document
LinkRow = Any  # a record of `links`


async def totals(connection: Connection, link_id: int) -> Totals:
    """All clicks of a link."""
    row = await connection.fetchrow(
        "SELECT humans, bots, previews, heads, first_at, last_at FROM click_totals WHERE link_id = $1", link_id
    )
    return Totals(**row) if row else Totals()


async def link_documents(connection: Connection, link_id: int, first_day: int, last_day: int) -> Documents:
    """A link's documents of these UTC days."""
    rows = await connection.fetch(
        "SELECT day, document FROM click_link_days WHERE link_id = $1 AND day BETWEEN $2 AND $3 ORDER BY day",
        link_id,
        first_day,
        last_day,
    )
    return [tuple(row) for row in rows]


async def scope_documents(
    connection: Connection, scope: int, subject: int, first_day: int, last_day: int
) -> Documents:
    """The documents of a domain, a tag, the account or a domain's unknown codes."""
    rows = await connection.fetch(
        """
        SELECT day, document FROM click_scope_days
        WHERE scope = $1 AND subject = $2 AND day BETWEEN $3 AND $4 ORDER BY day
        """,
        scope,
        subject,
        first_day,
        last_day,
    )
    return [tuple(row) for row in rows]


async def scope_total(connection: Connection, scope: int, subject: int) -> int:
    """All clicks of a domain, a tag or the account: a row a day is read, without its document."""
    total: int = await connection.fetchval(
        "SELECT coalesce(sum(clicks), 0)::bigint FROM click_scope_days WHERE scope = $1 AND subject = $2",
        scope,
        subject,
    )
    return total


async def clicks_of_links(
    connection: Connection, link_ids: Sequence[int], first_day: int, last_day: int
) -> dict[int, int]:
    """The clicks of each of these links on these UTC days; links without any are left out."""
    rows = await connection.fetch(
        """
        SELECT link_id, sum(clicks)::bigint FROM click_link_days
        WHERE link_id = ANY ($1) AND day BETWEEN $2 AND $3 GROUP BY link_id
        """,
        link_ids,
        first_day,
        last_day,
    )
    return dict(map(tuple, rows))


async def links(connection: Connection, link_ids: Sequence[int]) -> dict[int, LinkRow]:
    """domain_id, code and target of the links that are not deleted, by id."""
    rows = await connection.fetch(
        "SELECT id, domain_id, code, target FROM links WHERE id = ANY ($1) AND deleted_at IS NULL", link_ids
    )
    return {row["id"]: row for row in rows}


async def tag_id(connection: Connection, name: str) -> int | None:
    """The number of a tag; None if no link ever had it."""
    number: int | None = await connection.fetchval("SELECT id FROM tags WHERE name = $1", name)
    return number
