"""Projecting every link to every shard at once, on an operator's command."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

from control.db import Connection, Database
from control.errors import Error
from control.projection import full, publication, recovery, store
from control.projection.shard_writer import connect_writer
from control.shards.connection import ShardConnection
from control.shards.current import placement_of

# A keeper that is at work on a shard has it for as long as it fills it; this is for the moments in between.
LOCK_WAIT_S: Final = 5.0

Load = Callable[[], Awaitable[None]]


async def rebuild(database: Database, on_progress: full.OnProgress, load: Load | None = None) -> int:
    """Write all links to all shards; returns how many could not be projected.

    `load`, if given, is run first, while no shard claims to be complete: what it commits to PostgreSQL without outbox
    rows is never answered as not found. Cut off anywhere, the shards stay incomplete and their keepers fill them.
    """
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(database.dedicated())
        await store.end_when_stopped(connection)
        topology = (await publication.read_published(connection)).topology
        shards: list[ShardConnection] = []
        for shard in topology.shards:
            await _lock(connection, shard.id)
            shards.append(await connect_writer(shard.id, shard.url))
            stack.push_async_callback(shards[-1].close)
        for connected in shards:
            await recovery.begin_fill(connection, connected)
        if load is not None:
            await load()
        placement = await placement_of(topology)
        faulty = await full.project(connection, placement, shards, on_progress)
        for connected in shards:
            await recovery.finish_fill(connection, connected)
        return faulty


async def _lock(connection: Connection, shard_id: str) -> None:
    """Be the shard's keeper until the connection ends."""
    if not await store.wait_for_keeper_lock(connection, shard_id, LOCK_WAIT_S):
        raise Error("shard_busy", f"shard {shard_id} is being repaired by its keeper; try again when it is complete")
