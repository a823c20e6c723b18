"""Repairing a shard: redo what its log has lost, or fill it; and what a move needs for shards that join or leave.

Whoever repairs is the shard's one keeper (`store.try_keeper_lock`). Every step may be cut off by a crash; the next
keeper decides again from what is there, and each step says below why that is safe.

A shard that joins is adopted by its keeper (`begin_fill` and no more), filled by the move, given a floor
(`raise_floor`) and called complete (`complete_joining`). A shard that leaves is told where the others are (`retire`),
emptied by the move (`shard_writer.remove`) and forgotten (`store.forget_shard`).

A shard under repair keeps the fence of the epoch in which the repair began, until it is over. A move waits for that: so
no ring can come up whose links the repair does not know of.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from control.db import Connection
from control.errors import Error
from control.projection import full, notes, publication, store
from control.projection.batch import project_waiting
from control.projection.decision import Observed
from control.projection.shard_writer import write_batch
from control.projection.store import ShardState
from control.shards import store as shard_store
from control.shards.connection import ShardConnection
from control.shards.current import CurrentPlacement, Placement
from wire import fence as wire_fence
from wire import keys
from wire.fence import Fence
from wire.topology import Topology

UNPARK_ROWS_MAX: Final = 2000
_SCAN_COUNT: Final = 1000


async def redo_tail(
    connection: Connection, shard: ShardConnection, observed: Observed, wake: Callable[[], None]
) -> int:
    """Project again what the restarted shard has lost, then let it be written and trusted; returns how many links.

    What is lost is queued again, in one transaction, before the first write to the new process. Cut off after that, the
    rows are in the outbox, whatever pm:seq says then. The state names no run id until nothing waits any more, so that
    no edge trusts the shard before, and no projector writes it: not the new process, and not the old one either, which
    may be alive behind a connection of its own and would take a change that nobody would look for there.
    """
    async with connection.transaction():
        await store.lock_batches(connection, shard.shard_id)
        state = await store.state_for_update(connection, shard.shard_id)
        if observed.sequence < state.floor_seq:  # risen since the keeper has decided: notes that are needed are purged
            raise Error("shard_unavailable", f"shard {shard.shard_id} came back too late for its notes; it is filled")
        state = replace(state, run_id=None, base_seq=await notes.highest_number(connection, state))
        lost = await notes.requeue_lost(connection, shard.shard_id, observed.sequence)
        await store.save_state(connection, state)
    await _drain(connection, shard, state)
    await publication.publish(connection, shard, observed)
    await unpark(connection, shard.shard_id, wake)
    return lost


async def _drain(connection: Connection, shard: ShardConnection, state: ShardState) -> None:
    """Project what waits for the shard until nothing does, and adopt its process in that same transaction."""
    current = CurrentPlacement()
    taken = 1
    while taken:
        async with connection.transaction():
            await shard_store.lock_placement_shared(connection)
            await store.lock_batches(connection, shard.shard_id)
            taken = await project_waiting(connection, await _in_force(connection, current), shard, state)
            if not taken:
                await store.save_state(connection, replace(state, run_id=shard.run_id))


async def begin_fill(connection: Connection, shard: ShardConnection) -> None:
    """Make the shard one that is written and trusted for what it has, but not complete; that is how one joins, too.

    A process that is new to us may hold links that are long gone; they are swept away first. Cut off anywhere, the
    state says incomplete, or the shard has no fence of its own, and it is filled again. From here on there is no floor:
    whatever a move has copied to another process, or before the shard was emptied, does not count any more.
    """
    async with connection.transaction():
        state = await store.state_for_update(connection, shard.shard_id)
        await store.save_state(connection, replace(state, is_complete=False))
    if state.run_id != shard.run_id:
        await _sweep(shard)
    async with connection.transaction():
        await store.lock_batches(connection, shard.shard_id)
        state = await store.state_for_update(connection, shard.shard_id)
        base_seq = await notes.highest_number(connection, state)
        if state.run_id != shard.run_id:
            await notes.forget(connection, shard.shard_id)
        state = replace(state, run_id=shard.run_id, is_complete=False, floor_seq=store.NO_FLOOR, base_seq=base_seq)
        await store.save_state(connection, state)
    if not await publication.publish(connection, shard, await publication.observe(shard)):
        raise Error("shard_unavailable", f"shard {shard.shard_id} was fenced by somebody else")


async def finish_fill(connection: Connection, shard: ShardConnection) -> None:
    """Call the shard complete; every link has been written since `begin_fill`.

    The number taken here stands behind all of that in the shard's log: it is the floor for redoing a tail. Raises
    Error("shard_unavailable") if the fence is not ours any more, as after a FLUSHALL; then it is filled again. A shard
    that is joining stays so: its move judges whether it is complete.
    """
    observed = await publication.observe(shard)
    if observed.fence is None or (observed.fence.state, observed.fence.run_id) != ("filling", shard.run_id):
        raise Error("shard_unavailable", f"the fence of shard {shard.shard_id} is gone: it was emptied while filled")
    async with connection.transaction():
        await store.lock_batches(connection, shard.shard_id)
        state = await store.state_for_update(connection, shard.shard_id)
        if state.run_id != shard.run_id:
            raise Error("shard_unavailable", f"shard {shard.shard_id} was replaced while it was filled")
        floor_seq = await write_batch(shard, [], state.base_seq)
        await store.save_state(connection, replace(state, is_complete=not state.is_joining, floor_seq=floor_seq))
    if not await publication.publish(connection, shard, observed):
        raise Error("shard_unavailable", f"shard {shard.shard_id} was fenced by somebody else")


async def fill(
    connection: Connection, shard: ShardConnection, wake: Callable[[], None], on_progress: full.OnProgress
) -> None:
    """Fill one shard with all links that it owns, on whichever ring."""
    await begin_fill(connection, shard)
    await unpark(connection, shard.shard_id, wake)
    placement = await _in_force(connection, CurrentPlacement())
    await full.project(connection, placement, [shard], on_progress)
    await finish_fill(connection, shard)


async def raise_floor(
    connection: Connection, shard: ShardConnection, run_id: str, *, must_have_one: bool = False
) -> bool:
    """Take a number behind all that was copied to the shard: a log that lacks it lacks what no notes can tell.

    Returns False, and changes nothing, if the shard is another process than `run_id` now: the copy begins anew.
    Likewise if it must have a floor and has none: it was emptied, and adopted again, since the copy took one.
    """
    async with connection.transaction():
        await store.lock_batches(connection, shard.shard_id)
        state = await store.state_for_update(connection, shard.shard_id)
        if not state.run_id == shard.run_id == run_id or (must_have_one and state.floor_seq == store.NO_FLOOR):
            return False
        floor_seq = await write_batch(shard, [], state.base_seq)
        await store.save_state(connection, replace(state, floor_seq=floor_seq))
    return True


async def complete_joining(connection: Connection, shard: ShardConnection, run_id: str) -> bool:
    """Call a joining shard complete: all that it owns has been copied, verified, and stands below its floor.

    Returns False if it is another process now, or was emptied since: then its keeper adopts it anew, without a floor.
    """
    observed = await publication.observe(shard)
    if observed.fence is None or observed.fence.run_id != run_id:
        return False
    async with connection.transaction():
        state = await store.state_for_update(connection, shard.shard_id)
        if not state.run_id == shard.run_id == run_id:
            return False
        if state.is_joining:
            if state.floor_seq == store.NO_FLOOR:
                return False
            await store.save_state(connection, replace(state, is_joining=False, is_complete=True))
    # If somebody else was quicker, it was with what stands in PostgreSQL now, or the shard's keeper comes to it.
    await publication.publish(connection, shard, observed)
    return True


async def retire(connection: Connection, shard: ShardConnection | None, topology: Topology) -> bytes | None:
    """Leave the topology in force and a fence of its epoch on a shard that is not in it any more; returns the fence.

    Edges that were away meanwhile learn there where the others are, and believe none of its answers under the epoch
    that they hold. With the fence the caller empties the shard (`shard_writer.remove`). A shard that nobody can reach
    is None, and so is the answer: there is nobody to be told, and when it comes back no edge looks for it. Raises
    Error("shard_in_use") if the shard has come back into the topology, or another topology is in force.
    """
    if shard is None:
        return None
    observed = await publication.observe(shard)
    published = await publication.read_published(connection)
    if published.topology != topology or any(member.id == shard.shard_id for member in topology.shards):
        raise Error("shard_in_use", f"shard {shard.shard_id} cannot be retired: the topology is another one now")
    fence = Fence(epoch=published.topology.epoch, state="filling", run_id=shard.run_id)
    if not await publication.replace(shard, observed, published, fence):
        raise Error("shard_unavailable", f"shard {shard.shard_id} was fenced by somebody else")
    return wire_fence.encode(fence)


async def unpark(connection: Connection, shard_id: str, wake: Callable[[], None]) -> int:
    """Make what waits for the shard ready, in bounded steps; returns how many rows."""
    total = 0
    while freed := await store.unpark(connection, shard_id, UNPARK_ROWS_MAX):
        total += freed
        wake()
    return total


async def _in_force(connection: Connection, current: CurrentPlacement) -> Placement:
    placement = await current.get(connection)
    assert placement is not None  # a keeper is started for a shard of a topology
    return placement


async def _sweep(shard: ShardConnection) -> None:
    """Remove every link from the shard, a little at a time."""
    cursor = b"0"
    while True:
        cursor, found = await shard.execute("SCAN", cursor, "MATCH", keys.LINK_PREFIX + b"*", "COUNT", _SCAN_COUNT)
        if found:
            await shard.execute("UNLINK", *found)
        if int(cursor) == 0:
            return
