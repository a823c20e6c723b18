"""Repairing a shard: redo what its log has lost, or fill it; and fencing it.

The caller is the shard's one keeper (`store.try_keeper_lock`). Every step may be cut off by a crash; the next keeper
decides again from what is there, and each step says below why that is safe.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from control.db import Connection
from control.domains import store as domain_store
from control.errors import Error
from control.projection import decision, full, notes, store
from control.projection.batch import project_waiting
from control.projection.decision import Observed
from control.projection.shard_writer import replace_fence, write_batch
from control.projection.store import ShardState
from control.shards import model as shard_model
from control.shards.connection import Command, ShardConnection
from wire import FormatError, keys
from wire import domains as wire_domains
from wire import fence as wire_fence
from wire import topology as wire_topology
from wire.domains import Domains
from wire.fence import Fence
from wire.topology import Topology

UNPARK_ROWS_MAX: Final = 2000
_SCAN_COUNT: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The documents that every shard carries."""

    topology: Topology
    domains: Domains


async def observe(shard: ShardConnection) -> Observed:
    """What the shard says of itself."""
    fence_bytes, sequence, document_count = await shard.pipeline(
        [("GET", keys.FENCE), ("GET", keys.SEQUENCE), ("EXISTS", keys.TOPOLOGY, keys.DOMAINS)]
    )
    return Observed(
        run_id=shard.run_id,
        fence=_decode_fence(fence_bytes),
        fence_bytes=fence_bytes,
        sequence=int(sequence or 0),
        has_documents=document_count == 2,
    )


async def publish(shard: ShardConnection, published: Published, observed: Observed) -> None:
    """Write the documents and then the fence that says complete, unless the fence has changed meanwhile."""
    await shard.pipeline(_document_commands(published))
    fence = decision.complete_fence(shard.run_id, published.topology.epoch)
    await replace_fence(shard, observed.fence_bytes, wire_fence.encode(fence))


async def redo_tail(
    connection: Connection, shard: ShardConnection, published: Published, observed: Observed, wake: Callable[[], None]
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
    await _drain(connection, shard, published, state)
    await publish(shard, published, observed)
    await unpark(connection, shard.shard_id, wake)
    return lost


async def _drain(connection: Connection, shard: ShardConnection, published: Published, state: ShardState) -> None:
    """Project what waits for the shard until nothing does, and adopt its process in that same transaction."""
    ring = shard_model.ring_of(published.topology)
    taken = 1
    while taken:
        async with connection.transaction():
            await store.lock_batches(connection, shard.shard_id)
            taken = await project_waiting(connection, ring, shard, state)
            if not taken:
                await store.save_state(connection, replace(state, run_id=shard.run_id))


async def begin_fill(connection: Connection, shard: ShardConnection, published: Published) -> Fence:
    """Make the shard one that is written and trusted for what it has, but not complete.

    A process that is new to us may hold links that are long gone; they are swept away first. Cut off anywhere, the
    state says incomplete, or the shard has no fence of its own, and it is filled again.
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
        await store.save_state(connection, replace(state, run_id=shard.run_id, is_complete=False, base_seq=base_seq))
    fence = decision.filling_fence(shard.run_id, published.topology.epoch)
    await shard.pipeline([*_document_commands(published), ("SET", keys.FENCE, wire_fence.encode(fence))])
    return fence


async def finish_fill(connection: Connection, shard: ShardConnection, published: Published, filling: Fence) -> None:
    """Call the shard complete; every link has been written since `begin_fill`.

    The number taken here stands behind all of that in the shard's log: it is the floor for redoing a tail. Raises
    Error("shard_unavailable") if the fence is not ours any more, as after a FLUSHALL; then it is filled again.
    """
    async with connection.transaction():
        await store.lock_batches(connection, shard.shard_id)
        state = await store.state_for_update(connection, shard.shard_id)
        if state.run_id != shard.run_id:
            raise Error("shard_unavailable", f"shard {shard.shard_id} was replaced while it was filled")
        floor_seq = await write_batch(shard, [], state.base_seq)
        await store.save_state(connection, replace(state, is_complete=True, floor_seq=floor_seq))
    complete = decision.complete_fence(shard.run_id, published.topology.epoch)
    await replace_fence(shard, wire_fence.encode(filling), wire_fence.encode(complete))


async def fill(
    connection: Connection,
    shard: ShardConnection,
    published: Published,
    wake: Callable[[], None],
    on_progress: full.OnProgress,
) -> None:
    """Fill one shard with all of its links."""
    filling = await begin_fill(connection, shard, published)
    await unpark(connection, shard.shard_id, wake)
    await full.project(connection, shard_model.ring_of(published.topology), [shard], on_progress)
    await finish_fill(connection, shard, published, filling)


async def unpark(connection: Connection, shard_id: str, wake: Callable[[], None]) -> int:
    """Make what waits for the shard ready, in bounded steps; returns how many rows."""
    total = 0
    while freed := await store.unpark(connection, shard_id, UNPARK_ROWS_MAX):
        total += freed
        wake()
    return total


async def read_published(connection: Connection, topology: Topology) -> Published:
    """The documents to publish; raises Error("domain_not_found") before the first domain is there."""
    domains = await domain_store.published(connection)
    if domains is None:
        raise Error("domain_not_found", "no short domain is set up yet; start `pointsman control` once")
    return Published(topology=topology, domains=domains)


def _document_commands(published: Published) -> list[Command]:
    return [
        ("SET", keys.DOMAINS, wire_domains.encode(published.domains)),
        ("SET", keys.TOPOLOGY, wire_topology.encode(published.topology)),
    ]


def _decode_fence(data: bytes | None) -> Fence | None:
    if data is None:
        return None
    try:
        return wire_fence.decode(data)
    except FormatError:
        return None  # written by a newer build or by hand: nothing that it says can be relied on


async def _sweep(shard: ShardConnection) -> None:
    """Remove every link from the shard, a little at a time."""
    cursor = b"0"
    while True:
        cursor, found = await shard.execute("SCAN", cursor, "MATCH", keys.LINK_PREFIX + b"*", "COUNT", _SCAN_COUNT)
        if found:
            await shard.execute("UNLINK", *found)
        if int(cursor) == 0:
            return
