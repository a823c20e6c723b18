"""SQL of api_keys."""

from control.auth.model import ApiKey
from control.db import Connection

_COLUMNS = "id, name, hint, created_at, revoked_at"


async def insert(connection: Connection, name: str, hint: str, key_hash: bytes) -> ApiKey:
    """A new key's row."""
    row = await connection.fetchrow(
        f"INSERT INTO api_keys (name, hint, hash) VALUES ($1, $2, $3) RETURNING {_COLUMNS}",  # noqa: S608 (constant)
        name,
        hint,
        key_hash,
    )
    return ApiKey(**row)


async def find_valid(connection: Connection, key_hash: bytes) -> ApiKey | None:
    """The key of this hash unless it is revoked."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM api_keys WHERE hash = $1 AND revoked_at IS NULL",  # noqa: S608 (constant)
        key_hash,
    )
    return ApiKey(**row) if row else None


async def list_all(connection: Connection) -> list[ApiKey]:
    """Every key, oldest first."""
    rows = await connection.fetch(f"SELECT {_COLUMNS} FROM api_keys ORDER BY id")  # noqa: S608 (constant)
    return [ApiKey(**row) for row in rows]


async def revoke(connection: Connection, key_id: int) -> bool:
    """Revoke a key; False if there is no such key or it is revoked already."""
    row = await connection.fetchrow(
        "UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING id", key_id
    )
    return row is not None
