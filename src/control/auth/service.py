"""Creating, checking and revoking API keys."""

from typing import Final

from control.auth import model, store
from control.auth.model import ApiKey
from control.db import Database
from control.errors import Error

NAME_LENGTH_MAX: Final = 100


async def create(database: Database, name: str) -> tuple[ApiKey, str]:
    """A new key and its secret, which cannot be had again."""
    if not 1 <= len(name) <= NAME_LENGTH_MAX:
        raise Error("field_value", f"a key's name has 1 to {NAME_LENGTH_MAX} characters")
    secret = model.new_secret()
    async with database.transaction() as connection:
        key = await store.insert(connection, name, secret[: model.HINT_LENGTH], model.hash_of(secret))
    return key, secret


async def authenticate(database: Database, header: str | None) -> ApiKey:
    """The key in an Authorization header; raises Error("key_missing") or Error("key_invalid")."""
    secret = model.secret_of(header)
    async with database.connection() as connection:
        key = await store.find_valid(connection, model.hash_of(secret))
    if key is None:
        raise Error("key_invalid", "this key is unknown or revoked; `pointsman key create` makes a new one")
    return key


async def list_all(database: Database) -> list[ApiKey]:
    """Every key, the revoked ones too."""
    async with database.connection() as connection:
        return await store.list_all(connection)


async def revoke(database: Database, key_id: int) -> None:
    """Refuse a key from now on."""
    async with database.transaction() as connection:
        if not await store.revoke(connection, key_id):
            raise Error("key_not_found", f"there is no valid key {key_id}; `pointsman key list` shows them")
