"""Removes the rows of links that were deleted long ago."""

import asyncio
from typing import Final

from control.background import Pulse
from control.db import Database
from control.links import store

# Tombstones live a day, and nothing in flight lives as long; after a week a version may start at 1 again.
PURGE_AFTER_DAYS: Final = 7
PURGE_ROWS_MAX: Final = 1000
PURGE_INTERVAL_S: Final = 60.0


async def purge(database: Database, pulse: Pulse) -> None:
    """Purge in bounded steps, without an end."""
    while True:
        async with database.transaction() as connection:
            count = await store.purge_deleted(connection, PURGE_AFTER_DAYS, PURGE_ROWS_MAX)
        pulse.beat()
        if count < PURGE_ROWS_MAX:
            await asyncio.sleep(PURGE_INTERVAL_S)
