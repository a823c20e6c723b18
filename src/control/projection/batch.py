"""One batch: outbox rows to the shards and out of the outbox, in one transaction.

While a topology has two rings a row belongs to two shards. It leaves the outbox when it has been written to both; what
was written to one of them is noted all the same, because that one may have to be told again.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from control.db import Connection
from control.errors import Error
from control.projection import model, notes, store
from control.projection.model import Numbered, Plan, Row, Write
from control.projection.shard_writer import write_batch
from control.projection.store import ShardState
from control.projection.writers import Writers
from control.shards.connection import ShardConnection
from control.shards.current import Placement

BATCH_ROWS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of the rows that a batch took."""

    taken: int
    numbered: list[Numbered]
    finished: list[Row]  # written to all of their shards
    parked: int
    set_aside: int
    lags_s: list[float]


async def project_ready(connection: Connection, placement: Placement, writers: Writers) -> BatchResult:
    """Take outbox rows that are ready and bring each to all of its shards, or park it, or set it aside.

    The transaction is the caller's, who holds the placement lock. A crash between the shards' writes and its commit
    leaves the rows where they are; they are written again, which changes nothing, and get a new number.
    """
    rows = await store.take_ready(connection, BATCH_ROWS_MAX)
    plan = model.plan(rows, placement)
    usable = await _usable(connection, list(plan.writes), writers)
    numbered = await _write_all(plan, usable, placement.topology.epoch)
    finished, parked = await _settle(connection, plan.rows, numbered, {})
    await finish_rest(connection, plan)
    return BatchResult(len(rows), numbered, finished, parked, len(plan.faulty), _lags(rows))


async def project_waiting(
    connection: Connection, placement: Placement, shard: ShardConnection, state: ShardState
) -> int:
    """The same for the rows that wait for one shard, by its keeper; returns how many were taken.

    The keeper writes to no other shard. A row that has another owner, about which no note says that it was written,
    waits for that one next. When that one can be written the row is made ready and written to both, which does no harm
    to the one that has it. Were every row sent around like this, those of a large backlog could come back faster than
    the keeper takes them, and it would never end.
    """
    rows = await store.take_waiting(connection, state.id, BATCH_ROWS_MAX)
    plan = model.plan(rows, placement)
    numbered = []
    if writes := plan.writes.get(state.id):
        number = await write_batch(shard, writes, state.base_seq, placement.topology.epoch)
        numbered.append(Numbered(state.id, number, writes))
    shared = [row.write.link_id for row in plan.rows if len(row.shard_ids) > 1]
    noted = await notes.versions_of(connection, shared) if shared else {}
    await _settle(connection, plan.rows, numbered, noted)
    await finish_rest(connection, plan)
    return len(rows)


async def _settle(
    connection: Connection,
    rows: Sequence[Row],
    numbered: Sequence[Numbered],
    noted: Mapping[tuple[str, int], int],
) -> tuple[list[Row], int]:
    """Note what was written; let each row that lacks an owner wait for it. Returns the others, and how many wait.

    An owner is not lacked if it was written now, or if `noted` has that it was written before. For a row that lacks
    both of its owners, another one waits for the second: else that one could be trusted again without it, and be read
    when the rings are swapped.
    """
    written = {batch.shard_id for batch in numbered}
    finished: list[Row] = []
    waiting: dict[str, list[int]] = {}
    waiting_too: dict[str, set[int]] = {}
    for row in rows:
        link_id, version = row.write.link_id, row.write.version
        lacking = [one for one in row.shard_ids if one not in written and noted.get((one, link_id), 0) < version]
        if not lacking:
            finished.append(row)
            continue
        waiting.setdefault(lacking[0], []).append(row.outbox_id)
        for shard_id in lacking[1:]:
            waiting_too.setdefault(shard_id, set()).add(link_id)
    if numbered or finished:
        await store.finish(connection, [row.outbox_id for row in finished], numbered)
    for shard_id, outbox_ids in waiting.items():
        await store.park(connection, outbox_ids, shard_id)
    for shard_id, link_ids in waiting_too.items():
        await store.park_too(connection, list(link_ids), shard_id)
    return finished, sum(map(len, waiting.values()))


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


async def _write_all(plan: Plan, usable: dict[str, tuple[ShardConnection, ShardState]], epoch: int) -> list[Numbered]:
    """Write to every usable shard at once; those that failed are missing from the result."""
    results = await asyncio.gather(
        *(_write_one(plan.writes[shard_id], *usable[shard_id], epoch) for shard_id in usable)
    )
    return [result for result in results if result is not None]


async def _write_one(writes: list[Write], shard: ShardConnection, state: ShardState, epoch: int) -> Numbered | None:
    try:
        number = await write_batch(shard, writes, state.base_seq, epoch)
    except Error:
        return None  # the connection is closed now, and said so; the shard's rows are parked until it is back
    return Numbered(state.id, number, writes)


def _lags(rows: Sequence[Any]) -> list[float]:
    now = datetime.now(UTC)
    return [(now - row["queued_at"]).total_seconds() for row in rows]
