"""Stopping a consumer at a chosen step of its transaction, by the locks that a real rival would hold."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg

from control.clicks import store
from tests.control.station import DEADLINE_S

_COMMIT_LOCK: Final = 4242
# In the order in which a batch comes to them. A SHARE lock lets it read a table, but not write to it.
STEPS: Final = ("merge lock", "click_segments", "click_totals", "click_link_days", "click_scope_days", "commit")
# A deferred trigger runs when everything is written and the commit has begun.
_SLOW_COMMIT: Final = f"""
CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock({_COMMIT_LOCK});
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT OR UPDATE ON click_writers
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_commit();
"""
_WAITING: Final = """
SELECT array_agg(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


class Barrier:
    """Holds everybody up at one step as long as it is down."""

    def __init__(self, connection: "asyncpg.Connection") -> None:
        self._connection = connection

    async def reached(self) -> list[int]:
        """Wait until a backend waits at the step; returns the waiting ones."""
        async with asyncio.timeout(DEADLINE_S):
            while not (pids := await self._connection.fetchval(_WAITING)):
                await asyncio.sleep(0.01)
                # In a transaction the list of backends stays as it was first read.
                await self._connection.execute("SELECT pg_stat_clear_snapshot()")
        return list(pids)

    async def cut(self) -> None:
        """End the connections of those who wait."""
        for pid in await self.reached():
            await self._connection.execute("SELECT pg_terminate_backend($1, 5000)", pid)


async def prepare(url: str) -> None:
    """Make commits that can be held up."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_SLOW_COMMIT)
    finally:
        await connection.close()


@asynccontextmanager
async def barrier(url: str, step: str) -> AsyncIterator[Barrier]:
    """Let the barrier down before a step, and up again at the end, unless PostgreSQL died meanwhile."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN")
        if step == "merge lock":
            await connection.execute("SELECT pg_advisory_xact_lock($1)", store._MERGE_LOCK)
        elif step == "commit":
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _COMMIT_LOCK)
        else:
            await connection.execute(f"LOCK TABLE {step} IN SHARE MODE")
        yield Barrier(connection)
    finally:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.execute("ROLLBACK")
        connection.terminate()
