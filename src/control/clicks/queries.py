"""SQL of reading clicks. Nothing here writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from control.clicks._fold import ACCOUNT_SCOPE, LINK_SCOPE
from control.clicks.span import Span
from control.clicks.statistics import Totals
from control.db import Connection

_LINK_DOCUMENTS: Final = """
SELECT day, document FROM click_link_days WHERE link_id = $3 AND day BETWEEN $1 AND $2 ORDER BY day
"""
_SCOPE_DOCUMENTS: Final = """
SELECT day, document FROM click_scope_days WHERE scope = $3 AND subject = $4 AND day BETWEEN $1 AND $2 ORDER BY day
"""

Documents = list[tuple[int, bytes]]  # UTC day, document
LinkRow = Any  # a record of `links`


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose clicks: a scope (`control.clicks._fold`) and its subject, the id of a link, a domain or a tag."""

    scope: int
    id: int


ACCOUNT: Final = Subject(ACCOUNT_SCOPE, 0)


async def totals(connection: Connection, link_id: int) -> Totals:
    """All clicks of a link."""
    row = await connection.fetchrow(
        "SELECT humans, bots, previews, heads, first_at, last_at FROM click_totals WHERE link_id = $1", link_id
    )
    return Totals(**row) if row else Totals()


async def documents(connection: Connection, subject: Subject, span: Span) -> Documents:
    """The documents of the UTC days that a span touches."""
    if subject.scope == LINK_SCOPE:
        query, key = _LINK_DOCUMENTS, [subject.id]
    else:
        query, key = _SCOPE_DOCUMENTS, [subject.scope, subject.id]
    rows = await connection.fetch(query, span.first_day, span.last_day, *key)
    return [tuple(row) for row in rows]


async def scope_total(connection: Connection, subject: Subject) -> int:
    """All clicks of a domain, a tag or the account: a row a day is read, without its document."""
    total: int = await connection.fetchval(
        "SELECT coalesce(sum(clicks), 0)::bigint FROM click_scope_days WHERE scope = $1 AND subject = $2",
        subject.scope,
        subject.id,
    )
    return total


async def clicks_of_links(connection: Connection, link_ids: Sequence[int], span: Span) -> dict[int, int]:
    """The clicks of each of these links on the UTC days that a span touches; links without any are left out."""
    rows = await connection.fetch(
        """
        SELECT link_id, sum(clicks)::bigint FROM click_link_days
        WHERE link_id = ANY ($1) AND day BETWEEN $2 AND $3 GROUP BY link_id
        """,
        link_ids,
        span.first_day,
        span.last_day,
    )
    return dict(map(tuple, rows))


async def links(connection: Connection, link_ids: Sequence[int]) -> dict[int, LinkRow]:
    """domain_id, code and target of the links that are not deleted, by id."""
    rows = await connection.fetch(
        "SELECT id, domain_id, code, target FROM links WHERE id = ANY ($1) AND deleted_at IS NULL", link_ids
    )
    return {row["id"]: row for row in rows}
