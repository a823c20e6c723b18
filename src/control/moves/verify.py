"""Verifying: what the new owners of the arcs hold is what PostgreSQL says, no more and no less, and what the old ones
hold is the same. What differs is looked at again and repaired; too many repairs are refused.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from control.errors import Error
from control.moves import misplaced, reading, strays
from control.moves._pages import Batch, Reader
from control.moves.arcs import Walk
from control.moves.comparison import compare
from control.moves.connections import connect_known, connected, shard_of
from control.moves.misplaced import SCANNED_PER_LINK
from control.moves.reading import Border, Passage
from control.moves.second_look import REPAIRS_MAX, Mending, Repairs, TooManyRepairs
from control.moves.throttle import Throttle, probing
from control.moves.verification import CopyLost, Pair, PairName, Verification
from control.moves.work import Anew, Done, Job, Result, Waits
from control.projection import recovery, store
from control.shards.connection import ShardConnection


async def verify(job: Job) -> Result:
    """Look for keys that are too many, compare every pair of shards, and call joining shards complete.

    Raises Error("move_refused") when more is wrong than is repaired.
    """
    state = await asyncio.to_thread(Verification, job)  # there may be a hundred thousand arcs
    throttle = Throttle(job.pace, asyncio.get_running_loop().time())
    try:
        waits = await _verify_all(job, state, throttle)
        if waits:
            return Waits(reason="; ".join(waits.values()))
        if not state.is_done:
            return Waits(reason="a shard was restarted meanwhile; all that concerns it is verified anew")
        return await _finish(job, state, throttle)
    except CopyLost as lost:
        return Anew(reason=f"shard {lost.shard_id} was restarted; what was copied to it is copied anew")
    except TooManyRepairs:
        return _refused(state.repairs)


async def _verify_all(job: Job, state: Verification, throttle: Throttle) -> dict[str, str]:
    """One target after the other, then one pair after the other; returns what some of them wait for, by shard.

    In this order, because a key without a row is in the way of a link that takes its code: the link is not written over
    it. Created before the key is looked at, the link is compared later; created afterwards, it finds the key gone.
    """
    waits: dict[str, str] = {}
    steps = [(target, partial(_look_through, job, target, state, throttle)) for target in state.passes]
    steps += [(name[1], partial(_compare_pair, job, name, state, throttle)) for name in state.pairs]
    for target, step in steps:
        try:
            await step()
        except Error as error:
            if error.code != "shard_unavailable":
                raise
            waits[target] = error.message
    return waits


def _refused(repairs: Repairs) -> Anew:
    """Copying again mends what a target has lost; nothing mends what nobody has written."""
    if repairs.forced == 0:
        return Anew(
            reason=f"more than {REPAIRS_MAX} links were missing or old; they are copied anew. If that happens again, "
            "look whether a shard evicts keys: its maxmemory-policy must be noeviction"
        )
    raise Error(
        "move_refused",
        f"more than {REPAIRS_MAX} links differed from PostgreSQL, {repairs.forced} of them newer than there, or other "
        "links of the same version; abort the move and find out who else writes to the shards",
    )


async def _compare_pair(job: Job, name: PairName, state: Verification, throttle: Throttle) -> None:
    shards = [shard_of(job.placement.topology, shard_id) for shard_id in name if shard_id not in job.lost]
    async with connected(job.database, shards) as connections:
        for shard in connections:
            state.meet(shard.shard_id, shard.run_id)
        if not state.pairs[name].is_done:
            async with probing(throttle, shards):
                await _compare(job, name, connections, state, throttle)


async def _compare(
    job: Job, name: PairName, shards: Sequence[ShardConnection], state: Verification, throttle: Throttle
) -> None:
    pair = state.pairs[name]

    async def report() -> None:
        await job.report(state.cursor, state.progress(throttle))

    mending = Mending(job.database, job.placement.topology.epoch, state.repairs, report)

    async def work(batch: Batch) -> None:
        compared = await compare(batch, shards, throttle.strokes(batch.count, report), mending)
        pending.agreed += compared.agreed
        pending.differed += compared.differed

    async def on_done(border: Border | None) -> None:
        if border is not None:
            pair.done = border.last
            pair.fraction = border.width_done / state.widths[name]
            pair.agreed, pair.differed = pending.agreed, pending.differed
        await report()

    pending = Pair(agreed=pair.agreed, differed=pair.differed)
    async with job.database.dedicated() as rows:
        walk = Walk(state.ranges[name], pair.done, await store.links_estimate(rows))
        await reading.prepare(rows)
        reader = partial(Reader, 1, shards[0].scripts["write"])
        await Passage(rows, walk, throttle, reader).go(work, on_done)
    pair.is_done = True
    await report()


async def _look_through(job: Job, target: str, state: Verification, throttle: Throttle) -> None:
    """Drop what the target has for the arcs that move to it and PostgreSQL does not know."""
    shard = shard_of(job.placement.topology, target)
    index, epoch = misplaced.index_of(job.placement, target), job.placement.topology.epoch
    connection = await connect_known(job.database, shard)
    try:
        state.meet(target, connection.run_id)
        held = state.passes[target]
        held.of = await connection.execute("DBSIZE")
        async with probing(throttle, [shard]):
            while held.scan is not None:
                count = min(misplaced.SCAN_COUNT, throttle.page_links)
                following, found = await misplaced.scan(connection, held.scan, count)
                moved = strays.moved_to(found, job.placement, index)
                await throttle.take(max(len(moved), count // SCANNED_PER_LINK))
                async with job.database.connection() as rows:
                    held.dropped += await strays.drop_strays(rows, connection, moved, epoch)
                held.scan = following
                held.looked_through += len(found)
                await job.report(state.cursor, state.progress(throttle))
    finally:
        await connection.close()


async def _finish(job: Job, state: Verification, throttle: Throttle) -> Result:
    """Nothing of what was verified may have been lost since: then let joining shards be shards like the others."""
    met = {shard_id for name in state.pairs for shard_id in name} | job.joining
    for shard_id in sorted(met - job.lost):
        connection = await connect_known(job.database, shard_of(job.placement.topology, shard_id))
        try:
            is_kept = state.meet(shard_id, connection.run_id) and await _keep(job, connection, state)
        finally:
            await connection.close()
        if not is_kept and shard_id in job.joining:
            raise CopyLost(shard_id)
        if not is_kept:
            state.forget(shard_id)
            await job.report(state.cursor, state.progress(throttle))
            return Waits(reason=f"shard {shard_id} was restarted; it is verified anew")
    return Done(detail=state.detail)


async def _keep(job: Job, shard: ShardConnection, state: Verification) -> bool:
    """Have the shard's repairs survive a restart; False if it is another process now, or joins and was emptied."""
    is_joining = shard.shard_id in job.joining
    async with job.database.transaction() as connection:
        await job.hold(connection)
        if state.has_changed and not await recovery.raise_floor(
            connection, shard, shard.run_id, must_have_one=is_joining
        ):
            return False
        if is_joining:
            return await recovery.complete_joining(connection, shard, shard.run_id)
    return True
