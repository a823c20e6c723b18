"""SQL of domains."""

from control.db import Connection
from control.domains.model import Domain
from wire.domains import Domains

_COLUMNS = "id, host, base_url, is_default"


async def find(connection: Connection, host: str | None) -> Domain | None:
    """The domain of `host`, or the default one."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM domains WHERE CASE WHEN $1::text IS NULL THEN is_default ELSE host = $1 END",  # noqa: S608 (constant)
        host,
    )
    return Domain(**row) if row else None


async def exists_any(connection: Connection, hosts: list[str]) -> bool:
    """Whether one of `hosts` is a domain of ours."""
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM domains WHERE host = ANY ($1))", hosts))


async def by_ids(connection: Connection, ids: list[int]) -> dict[int, Domain]:
    """The domains of `ids`."""
    rows = await connection.fetch(f"SELECT {_COLUMNS} FROM domains WHERE id = ANY ($1)", ids)  # noqa: S608 (constant)
    return {row["id"]: Domain(**row) for row in rows}


async def upsert_default(connection: Connection, host: str, base_url: str) -> bool:
    """Make `host` the default domain's host; whether that changed anything."""
    changed = await connection.fetchval(
        """
        INSERT INTO domains (host, base_url, is_default) VALUES ($1, $2, true)
        ON CONFLICT (is_default) WHERE is_default DO UPDATE SET host = $1, base_url = $2
        WHERE (domains.host, domains.base_url) IS DISTINCT FROM ($1, $2)
        RETURNING id
        """,
        host,
        base_url,
    )
    return changed is not None


async def raise_revision(connection: Connection) -> None:
    """Mark every published copy of the table as old."""
    await connection.execute("UPDATE installation SET domains_revision = domains_revision + 1")


async def published(connection: Connection) -> Domains | None:
    """The table as shards hold it; None before the first domain."""
    rows = await connection.fetch(
        "SELECT id, host, is_default, (SELECT domains_revision FROM installation) AS revision FROM domains ORDER BY id"
    )
    if not rows:
        return None
    return Domains(
        revision=rows[0]["revision"],
        default_id=next(row["id"] for row in rows if row["is_default"]),
        hosts={row["host"]: row["id"] for row in rows},
    )
