"""Removing what shards hold and do not own any more: after a move from where links were, after an abort from where they
were copied to. Both are the same: the topology in force says who owns what.

A shard's own keys are looked through, once, so nothing is left over: not the keys of links whose rows are gone either,
which PostgreSQL could not name. A script removes them only while the shard carries the fence of that topology, so a
driver that slept removes nothing of a later move.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final

from control.errors import Error
from control.moves import misplaced
from control.moves.arcs import HASHES, width
from control.moves.connections import connect_known, connect_mover
from control.moves.misplaced import NOT_IN_TOPOLOGY, SCAN_BEGIN, SCANNED_PER_LINK
from control.moves.throttle import Throttle, probing
from control.moves.work import Cursor, Done, Job, Progress, Result, Waits
from control.projection import recovery, store
from control.shards.connection import ShardConnection
from wire import FormatError, fence, keys
from wire.topology import Shard

# One script call holds up the shard's other clients; it takes less than writing so many.
KEYS_PER_CALL: Final = 250


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

    def __init__(self, job: Job, shard_ids: list[str]) -> None:
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
    def fraction(self) -> float:
        """How much of all shards is looked through."""
        parts = [
            1.0 if sweep.scan is None else min(1.0, sweep.looked_through / max(1, sweep.of))
            for sweep in self.by_shard.values()
        ]
        return sum(parts) / max(1, len(parts))


async def remove(job: Job) -> Result:
    """Remove from every shard of the job's arcs what it does not own any more; empty and retire those that leave.

    A shard that fails does not keep the others from being cleaned; what it still has is returned as left over.
    """
    leaving = {shard.id: shard for shard in job.leaving}
    staying = {shard.id: shard for shard in job.placement.topology.shards if shard.id not in leaving}
    losing = sorted(_losing(job) & staying.keys())
    sweeps = _Sweeps(job, [*losing, *leaving])
    throttle = Throttle(job.pace, asyncio.get_running_loop().time())
    failures: dict[str, str] = {}
    for shard_id in sweeps.by_shard.keys() - job.lost:
        try:
            if shard_id in leaving:
                await _empty(job, leaving[shard_id], sweeps, throttle)
            else:
                await _clean(job, staying[shard_id], sweeps, throttle)
        except Error as error:
            if error.code != "shard_unavailable":
                raise
            failures[shard_id] = error.message
    for shard_id in leaving.keys() & job.lost:
        await _retire(job, leaving[shard_id], None)
    if failures:
        return Waits(reason="; ".join(failures.values()), leftovers=await _leftovers(job, sweeps, failures))
    return Done(detail={"removed": sweeps.removed})


def _losing(job: Job) -> set[str]:
    """The shards that have had arcs, or copies of them, and own them no more."""
    losing = set()
    for arc in job.arcs:
        losing |= {arc.from_id, arc.to_id} - set(job.placement.owner_ids(arc.first))
    return losing


async def _clean(job: Job, shard: Shard, sweeps: _Sweeps, throttle: Throttle) -> None:
    """A shard that stays: remove what others own."""
    connection = await connect_known(job.database, shard)
    try:
        async with probing(throttle, [shard]):
            await _sweep(job, connection, misplaced.index_of(job.placement, shard.id), sweeps, throttle)
    finally:
        await connection.close()


async def _empty(job: Job, shard: Shard, sweeps: _Sweeps, throttle: Throttle) -> None:
    """A shard that leaves: tell whoever still reads it that it is not to be believed, and remove all links."""
    connection = await connect_mover(shard)
    try:
        async with probing(throttle, [shard]):
            await _retire(job, shard, connection)
            await _sweep(job, connection, NOT_IN_TOPOLOGY, sweeps, throttle)
    finally:
        await connection.close()


async def _sweep(job: Job, shard: ShardConnection, index: int, sweeps: _Sweeps, throttle: Throttle) -> None:
    """Look through the shard from where the last call has stopped, on this same process."""
    held = await _fence(shard, job.placement.topology.epoch)
    sweep = sweeps.by_shard[shard.shard_id]
    if sweep.run_id != shard.run_id:
        sweep = Sweep(run_id=shard.run_id, of=await shard.execute("DBSIZE"), removed=sweep.removed)
        sweeps.by_shard[shard.shard_id] = sweep
    while sweep.scan is not None:
        # A page of SCAN costs at most a page of the throttle; one that was cut off is looked through again.
        count = min(misplaced.SCAN_COUNT, SCANNED_PER_LINK * throttle.page_links)
        following, found = await misplaced.scan(shard, sweep.scan, count)
        await throttle.take(count // SCANNED_PER_LINK)
        away = misplaced.misplaced_of(found, job.placement, index)
        size = throttle.page_links
        for start in range(0, len(away), size):
            await throttle.take(len(away[start : start + size]))
            sweep.removed += await _remove(shard, away[start : start + size], held)
            await job.report(sweeps.cursor, Progress(fraction=sweeps.fraction, counts=_counts(sweeps, throttle)))
        sweep.scan = following
        sweep.looked_through += len(found)
        await job.report(sweeps.cursor, Progress(fraction=sweeps.fraction, counts=_counts(sweeps, throttle)))


def _counts(sweeps: _Sweeps, throttle: Throttle) -> dict[str, int]:
    return {"removed": sweeps.removed, **throttle.counts}


async def _remove(shard: ShardConnection, link_keys: list[bytes], held: bytes) -> int:
    """Remove the keys while the fence is `held`; returns how many were there."""
    sha = shard.scripts["remove"]
    chunks = [link_keys[start : start + KEYS_PER_CALL] for start in range(0, len(link_keys), KEYS_PER_CALL)]
    replies = await shard.pipeline(
        [("EVALSHA", sha, len(chunk) + 1, keys.FENCE, *chunk, held) for chunk in chunks],
    )
    if -1 in replies:
        raise Error("shard_unavailable", f"the fence of shard {shard.shard_id} has changed; nothing is removed there")
    return sum(replies)


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
