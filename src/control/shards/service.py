"""Reading and setting the topology."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Final

from control.db import Connection, Database
from control.errors import Error
from control.shards import addresses, model, store
from wire.topology import Shard, Topology

# Between two tries for the placement lock the batches of everybody have their turn.
LOCK_PAUSE_S: Final = 0.05
# A batch that waits for a shard takes a second or two, and a stopped projector is ended after five.
LOCK_WAIT_S: Final = 15.0
# The holder of the placement lock only inserts a few rows; stopped in between, it would hold up every batch.
IDLE_MS: Final = 2000


async def set_topology(database: Database, shards: Sequence[Shard]) -> Topology:
    """Put the first topology in force, or one with other addresses for the same shards; the same one changes nothing.

    Raises Error("topology_moves") for other shards or weights, Error("move_under_way") while links are moved, and
    Error("topology_invalid") for what no topology can hold.
    """
    _check_urls(shards)
    async with placement_locked(database) as connection:
        current = await store.current(connection)
        following = model.successor(current, shards)
        if following is not None:
            if await store.is_move_under_way(connection):
                raise Error("move_under_way", "links are being moved; addresses can be changed when the move has ended")
            await publish(connection, following)
    topology = following or current
    assert topology is not None  # successor() gives a topology where there was none
    return topology


async def set_addresses(database: Database, before: Shard, after: Shard) -> Topology:
    """Put a topology in force in which the shard `before` has the addresses of `after`; the same ones change nothing.

    Raises Error("topology_changed") if the topology in force has another one by now, and what `set_topology` raises.
    """
    async with placement_locked(database) as connection:
        current = await store.current(connection)
        held = None if current is None else next((one for one in current.shards if one.id == before.id), None)
        if current is None or held not in (before, after):
            raise Error("topology_changed", f"the addresses of {before.id} have been changed meanwhile; look again")
        shards = [after if one.id == after.id else one for one in current.shards]
        _check_urls(shards)
        following = model.successor(current, shards)
        if following is not None:
            if await store.is_move_under_way(connection):
                raise Error("move_under_way", "links are being moved; addresses can be changed when the move has ended")
            await publish(connection, following)
    return following or current


@asynccontextmanager
async def placement_locked(database: Database) -> AsyncIterator[Connection]:
    """A transaction that holds the placement lock: no batch is in flight, and what is read of topologies is in force.

    Raises Error("placement_busy") when batches do not end for LOCK_WAIT_S.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + LOCK_WAIT_S
    while True:
        # The connection is given back between two tries: some who wait must not take the pool from all others.
        async with database.transaction() as connection:
            await connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS}")
            if await store.try_lock_placement(connection):
                yield connection
                return
        if clock() >= deadline:
            raise Error("placement_busy", "changes are being projected without an end in sight; try again")
        await asyncio.sleep(LOCK_PAUSE_S)


async def publish(connection: Connection, topology: Topology, joining: Collection[str] = ()) -> None:
    """Put a topology in force, in the caller's transaction, which holds the placement lock (`placement_locked`).

    Shards without a row get one; those in `joining` are filled by the move that brings them in, not by their keeper.
    """
    epoch = await store.current_epoch(connection)
    if topology.epoch != epoch + 1:
        raise ValueError(f"the topology of epoch {topology.epoch} cannot follow that of epoch {epoch}")
    await store.insert(connection, topology, joining)


async def get_topology(database: Database) -> Topology:
    """The topology in force; raises Error("topology_missing")."""
    async with database.connection() as connection:
        topology = await store.current(connection)
    if topology is None:
        raise Error("topology_missing", "no topology is set; run `pointsman topology set --shard ID=URL …`")
    return topology


def shard_named(shards: Sequence[Shard], shard_id: str) -> Shard:
    """The shard with this id; raises Error("shard_unknown"), which says what there is."""
    for shard in shards:
        if shard.id == shard_id:
            return shard
    known = ", ".join(shard.id for shard in shards)
    raise Error("shard_unknown", f"there is no shard {shard_id}; there are {known}")


def _check_urls(shards: Sequence[Shard]) -> None:
    for shard in shards:
        for url in (shard.url, *shard.replicas):
            addresses.check(url)
    urls = [url for shard in shards for url in (shard.url, *shard.replicas)]
    if len(set(urls)) != len(urls):
        raise Error("topology_invalid", "two shards have the same URL; each needs a Redis of its own")
