"""One batch: outbox rows to the shards and out of the outbox, in one transaction."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from control.db import Connection
from control.errors import Error
from control.projection import model, store
from control.projection.model import Plan, Write
from control.projection.shard_writer import write_batch
from control.projection.store import ShardState
from control.projection.writers import Writers
from control.shards.connection import ShardConnection
from edge._fast import Ring

BATCH_ROWS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Numbered:
    """What was written to a shard under one batch number."""

    shard_id: str
    number: int
    writes: list[Write]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of the rows that a batch took."""

    taken: int
    numbered: list[Numbered]
    parked: int
    set_aside: int
    lags_s: list[float]


async def project_ready(connection: Connection, ring: Ring, writers: Writers) -> BatchResult:
    """Take outbox rows that are ready and bring each to its shard, or park it, or set it aside.

    The transaction is the caller's. A crash between the shards' writes and its commit leaves the rows where they are;
    they are written again, which changes nothing, and get a new number.
    """
    rows = await store.take_ready(connection, BATCH_ROWS_MAX)
    plan = model.plan(rows, ring)
    usable = await _usable(connection, list(plan.writes), writers)
    numbered = await _write_all(plan, usable)
    parked = 0
    for shard_id, outbox_ids in plan.outbox_ids.items():
        done = numbered.get(shard_id)
        if done is None:
            await store.park(connection, outbox_ids, shard_id)
            parked += len(outbox_ids)
        else:
            await store.finish(connection, outbox_ids, shard_id, done.number, done.writes)
    await finish_rest(connection, plan)
    return BatchResult(len(rows), list(numbered.values()), parked, len(plan.faulty), _lags(rows))


async def project_waiting(connection: Connection, ring: Ring, shard: ShardConnection, state: ShardState) -> int:
    """The same for the rows that wait for one shard, by its keeper; returns how many were taken."""
    rows = await store.take_waiting(connection, state.id, BATCH_ROWS_MAX)
    plan = model.plan(rows, ring)
    for shard_id, writes in plan.writes.items():
        if shard_id == state.id:
            number = await write_batch(shard, writes, state.base_seq)
            await store.finish(connection, plan.outbox_ids[shard_id], shard_id, number, writes)
        else:
            await store.park(connection, plan.outbox_ids[shard_id], shard_id)
    await finish_rest(connection, plan)
    return len(rows)


async def finish_rest(connection: Connection, plan: Plan) -> None:
    """Drop the rows without a link, set aside the ones that cannot be projected."""
    if plan.gone:
        await store.drop(connection, plan.gone)
    for outbox_id, reason in plan.faulty:
        await store.set_aside(connection, outbox_id, reason)


async def _usable(
    connection: Connection, shard_ids: Sequence[str], writers: Writers
) -> dict[str, tuple[ShardConnection, ShardState]]:
    """The shards that may be written now: locked against their keeper, connected, and the process that it knows.

    The state is read by a statement of its own after the lock was taken; read together, it could be the older one.
    """
    if not shard_ids:
        return {}
    locked = await store.try_batch_locks(connection, shard_ids)
    states = await store.states(connection, list(locked))
    usable = {}
    for shard_id, state in states.items():
        shard = writers.get(shard_id)
        if shard is not None and shard.run_id == state.run_id:
            usable[shard_id] = (shard, state)
        elif shard is not None:
            # Perhaps to a process that has died: a connection on which nothing is sent does not notice. Were it kept,
            # the rows would be parked for ever, because what is not usable is not written to.
            await shard.close()
    return usable


async def _write_all(plan: Plan, usable: dict[str, tuple[ShardConnection, ShardState]]) -> dict[str, Numbered]:
    """Write to every usable shard at once; those that failed are missing from the result."""
    shard_ids = [shard_id for shard_id in plan.writes if shard_id in usable]
    results = await asyncio.gather(*(_write_one(plan.writes[shard_id], *usable[shard_id]) for shard_id in shard_ids))
    return {shard_id: result for shard_id, result in zip(shard_ids, results, strict=True) if result is not None}


async def _write_one(writes: list[Write], shard: ShardConnection, state: ShardState) -> Numbered | None:
    try:
        number = await write_batch(shard, writes, state.base_seq)
    except Error:
        return None  # the connection is closed now, and said so; the shard's rows are parked until it is back
    return Numbered(state.id, number, writes)


def _lags(rows: Sequence[Any]) -> list[float]:
    now = datetime.now(UTC)
    return [(now - row["queued_at"]).total_seconds() for row in rows]
