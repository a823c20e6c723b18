"""Removing what shards hold and do not own any more: after a move from where links were, after an abort from where they
were copied to. Both are the same: the topology in force says who owns what.

A shard's own keys are looked through, once, so nothing is left over: not the keys of links whose rows are gone either,
which PostgreSQL could not name. A script removes them only while the shard carries the fence of that topology, so a
driver that slept removes nothing of a later move.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from control.errors import Error
from control.moves import misplaced
from control.moves.arcs import HASHES, width
from control.moves.connections import connect_known, connect_mover
from control.moves.misplaced import NOT_IN_TOPOLOGY, SCAN_BEGIN, SCANNED_PER_LINK
from control.moves.throttle import Throttle, probing
from control.moves.work import Cursor, Done, Job, Progress, Result, Waits
from control.projection import recovery, shard_writer, store
from control.projection.shard_writer import KEYS_PER_CALL
from control.shards.connection import ShardConnection
from wire import FormatError, fence, keys
from wire.topology import Shard


@dataclass(slots=True, kw_only=True)
class Sweep:
    """How far one shard is; a cursor of SCAN means nothing to another process than the one that gave it."""

    run_id: str = ""
    scan: str | None = SCAN_BEGIN
    looked_through: int = 0
    of: int = 0
    removed: int = 0


class _Sweeps:
    """All shards that the work has to look through, and what is reported of them."""

    def __init__(self, job: Job, shard_ids: Iterable[str], now_s: float) -> None:
        self.throttle = Throttle(job.pace, now_s)
        known = job.cursor.get("sweeps", {})
        self.by_shard = {shard_id: Sweep(**known.get(shard_id, {})) for shard_id in shard_ids}

    @property
    def removed(self) -> int:
        """How many keys were removed."""
        return sum(sweep.removed for sweep in self.by_shard.values())

    @property
    def cursor(self) -> Cursor:
        """What the next call goes on with."""
        return {"sweeps": {shard_id: asdict(sweep) for shard_id, sweep in self.by_shard.items()}}

    @property
    def progress(self) -> Progress:
        """How much of all shards is looked through."""
        parts = [
            1.0 if sweep.scan is None else min(1.0, sweep.looked_through / max(1, sweep.of))
            for sweep in self.by_shard.values()
        ]
        counts = {"removed": self.removed, **self.throttle.counts}
        return Progress(fraction=sum(parts) / max(1, len(parts)), counts=counts)


async def remove(job: Job) -> Result:
    """Remove from every shard of the job's arcs what it does not own any more; empty and retire those that leave.

    A shard that fails does not keep the others from being cleaned; what it still has is returned as left over.
    """
    leaving = {shard.id: shard for shard in job.leaving}
    staying = {shard.id: shard for shard in job.placement.topology.shards if shard.id not in leaving}
    losing = sorted(await asyncio.to_thread(_losing, job) & staying.keys())  # there may be a hundred thousand arcs
    sweeps = _Sweeps(job, [*losing, *leaving], asyncio.get_running_loop().time())
    failures: dict[str, str] = {}
    for shard_id in sweeps.by_shard.keys() - job.lost:
        try:
            if shard_id in leaving:
                await _empty(job, leaving[shard_id], sweeps)
            else:
                await _clean(job, staying[shard_id], sweeps)
        except Error as error:
            if error.code != "shard_unavailable":
                raise
            failures[shard_id] = error.message
    for shard_id in leaving.keys() & job.lost:
        await _forget(job, shard_id)  # what it holds is left over; changes that wait for it have other owners
    if failures:
        return Waits(reason="; ".join(failures.values()), leftovers=await _leftovers(job, sweeps, failures))
    return Done(detail={"removed": sweeps.removed})


def _losing(job: Job) -> set[str]:
    """The shards that have had arcs, or copies of them, and own them no more."""
    losing = set()
    for arc in job.arcs:
        losing |= {arc.from_id, arc.to_id} - set(job.placement.owner_ids(arc.first))
    return losing


async def _clean(job: Job, shard: Shard, sweeps: _Sweeps) -> None:
    """A shard that stays: remove what others own, and have that survive a restart."""
    connection = await connect_known(job.database, shard)
    try:
        held = await _fence(connection, job.placement.topology.epoch)
        async with probing(sweeps.throttle, [shard]):
            await _sweep(job, connection, held, misplaced.index_of(job.placement, shard.id), sweeps)
        async with job.database.transaction() as rows:
            await job.hold(rows)
            await recovery.raise_floor(rows, connection, connection.run_id)
    finally:
        await connection.close()


async def _empty(job: Job, shard: Shard, sweeps: _Sweeps) -> None:
    """A shard that leaves: tell whoever still reads it that it is not to be believed, remove all links, forget it."""
    connection = await connect_mover(shard)
    try:
        async with job.database.transaction() as rows:
            await job.hold(rows)
            held = await recovery.retire(rows, connection, job.placement.topology)
        assert held is not None  # only a shard that is not there has none
        async with probing(sweeps.throttle, [shard]):
            await _sweep(job, connection, held, NOT_IN_TOPOLOGY, sweeps)
        await _forget(job, shard.id)
    finally:
        await connection.close()


async def _forget(job: Job, shard_id: str) -> None:
    """Let go of what waits for the shard, and of what is known of it: only as long as the move is this driver's.

    One that slept would forget a shard that a later move has brought in under the same id.
    """
    is_more = True
    while is_more:
        async with job.database.transaction() as rows:
            await job.hold(rows)
            is_more = await store.forget_shard(rows, shard_id)


async def _sweep(job: Job, shard: ShardConnection, held: bytes, index: int, sweeps: _Sweeps) -> None:
    """Look through the shard from where the last call has stopped, on this same process."""
    sweep = sweeps.by_shard[shard.shard_id]
    if sweep.run_id != shard.run_id:
        sweep = Sweep(run_id=shard.run_id, of=await shard.execute("DBSIZE"), removed=sweep.removed)
        sweeps.by_shard[shard.shard_id] = sweep
    while sweep.scan is not None:
        # A page of SCAN costs at most a page of the throttle; one that was cut off is looked through again.
        count = min(misplaced.SCAN_COUNT, SCANNED_PER_LINK * sweeps.throttle.page_links)
        following, found = await misplaced.scan(shard, sweep.scan, count)
        await sweeps.throttle.take(count // SCANNED_PER_LINK)
        away = misplaced.misplaced_of(found, job.placement, index)
        size = min(sweeps.throttle.page_links, KEYS_PER_CALL)
        for start in range(0, len(away), size):
            await sweeps.throttle.take(len(away[start : start + size]))
            sweep.removed += await shard_writer.remove(shard, held, away[start : start + size])
            await job.report(sweeps.cursor, sweeps.progress)
        sweep.scan = following
        sweep.looked_through += len(found)
        await job.report(sweeps.cursor, sweeps.progress)


async def _fence(shard: ShardConnection, epoch: int) -> bytes:
    """The shard's fence, which must be of this epoch and process."""
    data: bytes | None = await shard.execute("GET", keys.FENCE)
    try:
        found = None if data is None else fence.decode(data)
    except FormatError:
        found = None
    if data is None or found is None or (found.epoch, found.run_id) != (epoch, shard.run_id):
        raise Error(
            "shard_unavailable", f"shard {shard.shard_id} carries no fence of epoch {epoch}; nothing is removed there"
        )
    return data


async def _leftovers(job: Job, sweeps: _Sweeps, shard_ids: Iterable[str]) -> dict[str, int]:
    """About how many keys each shard still has too much, by how wide its arcs are; nobody can ask it."""
    async with job.database.connection() as connection:
        links = await store.links_estimate(connection)
    left = {}
    for shard_id in shard_ids:
        arcs = [(arc.first, arc.last) for arc in job.arcs if shard_id in (arc.from_id, arc.to_id)]
        left[shard_id] = max(1, links * width(arcs) // HASHES - sweeps.by_shard[shard_id].removed)
    return left
