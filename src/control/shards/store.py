"""SQL of topologies, of the rows of shards, and of the lock under which topologies change."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import asyncpg

from control.db import Connection, LockKind
from wire import topology as wire_topology
from wire.topology import Topology

# One advisory lock for the whole installation.
_PLACEMENT_LOCK: Final = (LockKind.PLACEMENT, 0)
CHANNEL: Final = "pointsman_topology"
# How long a try waits for the batches in flight, of which each takes some milliseconds. All other batches wait behind
# it, so a stopped process that is in the middle of one delays them by no more than this at each try.
LOCK_TRY_MS: Final = 50
# A shard that is away collects changes without end; counting them all would take as long.
WAITING_COUNTED_MAX: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the database has about a shard: `waiting` is the number of changes that wait for it."""

    is_joining: bool = False
    waiting: int = 0


async def current(connection: Connection) -> Topology | None:
    """The topology in force; None before the first one."""
    document = await connection.fetchval("SELECT document FROM topologies ORDER BY epoch DESC LIMIT 1")
    return wire_topology.decode(document.encode()) if document else None


async def current_epoch(connection: Connection) -> int:
    """The epoch in force; 0 before the first topology."""
    epoch: int = await connection.fetchval("SELECT coalesce(max(epoch), 0) FROM topologies")
    return epoch


async def try_lock_placement(connection: Connection) -> bool:
    """Keep every batch out until the transaction ends; False if one is in flight for longer than a moment.

    Whoever inserts a topology holds it. Never wait for it without end: a projector that is stopped in the middle of a
    batch would then stop all the others, too. Take it before any other lock.
    """
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TRY_MS}")
            await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", *_PLACEMENT_LOCK)
            await connection.execute("SET LOCAL lock_timeout = 0")
    except asyncpg.LockNotAvailableError:
        return False
    return True


async def lock_placement_shared(connection: Connection) -> None:
    """Keep new topologies out until the transaction ends: what is read of the placement afterwards is in force.

    Taken by each batch before anything else, in a statement of its own: one that also read the epoch could read the one
    from before the lock was there.
    """
    await connection.execute("SELECT pg_advisory_xact_lock_shared($1, $2)", *_PLACEMENT_LOCK)


async def insert(connection: Connection, topology: Topology, joining: Collection[str]) -> None:
    """Put a topology in force, with rows for the shards that have none."""
    await connection.execute(
        "INSERT INTO topologies (epoch, document) VALUES ($1, $2)",
        topology.epoch,
        wire_topology.encode(topology).decode(),
    )
    await connection.execute(
        """
        INSERT INTO shards (id, is_joining) SELECT id, id = ANY ($2::text[]) FROM unnest($1::text[]) AS id
        ON CONFLICT (id) DO NOTHING
        """,
        [shard.id for shard in topology.shards],
        list(joining),
    )
    await connection.execute("SELECT pg_notify($1, '')", CHANNEL)


async def is_move_under_way(connection: Connection) -> bool:
    """Whether links are moved, or are about to be, or are still cleaned up after."""
    is_it: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM moves WHERE ended_at IS NULL)")
    return is_it


async def held(connection: Connection) -> dict[str, Held]:
    """By shard; what waits is counted up to WAITING_COUNTED_MAX."""
    rows = await connection.fetch(
        """
        SELECT id, is_joining,
            (SELECT count(*) FROM (SELECT FROM outbox WHERE waiting_shard = shards.id LIMIT $1) AS counted) AS waiting
        FROM shards
        """,
        WAITING_COUNTED_MAX,
    )
    return {row["id"]: Held(is_joining=row["is_joining"], waiting=row["waiting"]) for row in rows}
