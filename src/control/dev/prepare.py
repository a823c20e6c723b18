"""What must be in the database before control starts: migrations, the edge's user, the topology, an API key."""

from collections.abc import Mapping

import asyncpg

from control import migrations
from control.auth import service as auth
from control.db import Database, open_database
from control.dev.programs import DATABASE, EDGE_USER
from control.errors import Error
from control.shards.service import set_topology
from wire.topology import Shard

KEY_NAME = "pointsman dev"


async def create_database(maintenance_url: str) -> None:
    """Make the database unless it is there; `maintenance_url` names one that always is."""
    connection = await asyncpg.connect(maintenance_url)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close()


async def prepare(url: str, edge_password: str, shard_urls: Mapping[str, str], api_key: str) -> str:
    """Bring the database up to date; the API key that is valid afterwards, `api_key` if it can be."""
    database = await open_database(url)
    try:
        await migrations.migrate(database)
        await _grant_edge(database, edge_password)
        await set_topology(database, [Shard(id=name, url=shard_url) for name, shard_url in shard_urls.items()])
        return await _valid_key(database, api_key)
    finally:
        await database.close()


async def _grant_edge(database: Database, password: str) -> None:
    """The user that the edge reads as. The password is ours, of hexadecimal digits, and needs no quoting."""
    async with database.transaction() as connection:
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", EDGE_USER):
            await connection.execute(f"CREATE ROLE {EDGE_USER} LOGIN IN ROLE pointsman_edge")
        await connection.execute(f"ALTER ROLE {EDGE_USER} PASSWORD '{password}'")


async def _valid_key(database: Database, api_key: str) -> str:
    try:
        await auth.authenticate(database, f"Bearer {api_key}")
    except Error as error:
        if error.code not in ("key_missing", "key_invalid"):
            raise
        _, api_key = await auth.create(database, KEY_NAME)
    return api_key
