"""Forward-only migrations: NNNN_<name>.sql files, applied in order, each in its own transaction, under one lock.

An applied file is never edited: its checksum is kept in the table `migrations` and compared at every start.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import Final

from control.db import Connection, Database
from control.errors import Error

# Session lock of whoever applies migrations; a number nobody else in this database uses ("pnts", "migr" in ASCII).
_LOCK: Final = 0x706E74736D696772
_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file's text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def available() -> list[Migration]:
    """The migrations of this build, in order."""
    found = []
    for entry in resources.files(__name__).iterdir():
        match = _NAME.fullmatch(entry.name)
        if match:
            found.append(Migration(version=int(match[1]), name=match[2], sql=entry.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.version)


def pending(known: list[Migration], applied: dict[int, str]) -> list[Migration]:
    """Those of `known` that are not in `applied` (version -> checksum); raises Error for a database not ours."""
    newer = sorted(applied.keys() - {migration.version for migration in known})
    if newer:
        raise Error(
            "migration_unknown",
            f"the database has migration {newer[-1]}, which this build does not know; start the newer build",
        )
    for migration in known:
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise Error(
                "migration_edited",
                f"migration {migration.version:04} ({migration.name}) was edited after it was applied; "
                "restore the file and write a new migration instead",
            )
    return [migration for migration in known if migration.version not in applied]


async def migrate(database: Database) -> list[Migration]:
    """Apply what is missing; returns what was applied. Two of them at once wait for each other."""
    async with database.dedicated() as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK, timeout=60)
        await connection.execute(_TABLE)
        todo = pending(available(), await _applied(connection))
        for migration in todo:
            await _apply(connection, migration)
        return todo


async def check(connection: Connection) -> None:
    """Raises Error("migration_missing") unless the database is at this build's version."""
    exists = await connection.fetchval("SELECT to_regclass('migrations') IS NOT NULL")
    todo = pending(available(), await _applied(connection) if exists else {})
    if todo:
        raise Error("migration_missing", f"{len(todo)} migrations are missing; run `pointsman migrate`")


async def _applied(connection: Connection) -> dict[int, str]:
    return {
        row["version"]: row["checksum"] for row in await connection.fetch("SELECT version, checksum FROM migrations")
    }


async def _apply(connection: Connection, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql, timeout=3600)
        await connection.execute(
            "INSERT INTO migrations (version, name, checksum) VALUES ($1, $2, $3)",
            migration.version,
            migration.name,
            migration.checksum,
        )
