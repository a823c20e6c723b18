"""Rules about domains."""

import ada_url
import asyncpg

from control.db import Database
from control.domains import model, store
from control.errors import Error


async def ensure_default(database: Database, short_url: str) -> None:
    """Make the default domain the one of `short_url`, keeping its id when the host changes."""
    url = ada_url.URL(short_url)
    try:
        async with database.transaction() as connection:
            if await store.upsert_default(connection, model.host_of(url), url.origin):
                await store.raise_revision(connection)
    except asyncpg.UniqueViolationError as error:
        raise Error("setting_invalid", f"POINTSMAN_SHORT_URL is {short_url}: another domain has this host") from error
