"""An empty server in the place of a shard that is lost for good: its keeper fills it from PostgreSQL.

Meanwhile edges get the shard's links from the origin. A move (`pointsman shard replace`) is for a shard that still
answers: it copies first and lets edges read afterwards.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from control.db import Database
from control.errors import Error
from control.failover.handing import hand_over, shard_of
from control.failover.member import meet_primary
from control.moves import candidate
from control.projection import store
from control.shards import addresses
from control.shards import store as shard_store
from control.shards.connection import ShardConnection, connect
from control.shards.current import placement_of
from wire import keys
from wire.topology import Topology

LOOK_INTERVAL_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Filling:
    """How far a shard is: links that it holds, links that it will hold, roughly."""

    links: int
    links_expected: int
    is_complete: bool


async def replace_lost(
    database: Database, shard_id: str, url: str, replicas: Sequence[str] = (), is_lost: bool = False
) -> Topology:
    """Publish the empty server at `url` as the shard; nothing changes if it is that already.

    Raises Error: shard_unknown, shard_unreachable, shard_not_empty, shard_answers, topology_invalid, primary_silent,
    move_under_way, topology_changed, placement_busy.
    """
    for address, pointer in ((url, "/url"), *((replica, "/replicas") for replica in replicas)):
        addresses.check(address, pointer)
    shard = await shard_of(database, shard_id)
    if url == shard.url:
        return await hand_over(database, shard, url, replicas or shard.replicas)
    found = await candidate.inspect(replace(shard, url=url, replicas=()))
    if found.keys:
        raise Error("shard_not_empty", f"the new server holds {found.keys} keys; give an empty one", pointer="/url")
    if found.policy != "noeviction":
        raise Error(
            "topology_invalid",
            f"the new server has maxmemory-policy {found.policy}: it would drop links; set noeviction",
            pointer="/url",
        )
    primary = await meet_primary(shard_id, shard.url, is_lost)
    if primary is not None:
        await primary.connection.close()
        raise Error(
            "shard_answers",
            f"{shard_id} answers at {addresses.redacted(shard.url)}: `pointsman shard replace` copies it first; if it "
            "is of no use, stop it",
        )
    return await hand_over(database, shard, url, replicas)


async def follow_filling(database: Database, shard_id: str, on_look: Callable[[Filling], None]) -> None:
    """Look until the shard is complete; raises Error("shard_unavailable") if it is lost again."""
    shard = await shard_of(database, shard_id)
    connection = await connect(shard_id, shard.url)
    try:
        expected = await _expected(database, shard_id)
        while True:
            filling = await _look(database, connection, expected)
            on_look(filling)
            if filling.is_complete:
                return
            await asyncio.sleep(LOOK_INTERVAL_S)
    finally:
        await connection.close()


async def _look(database: Database, shard: ShardConnection, expected: int) -> Filling:
    links, others = await shard.pipeline(
        [("DBSIZE",), ("EXISTS", keys.FENCE, keys.TOPOLOGY, keys.DOMAINS, keys.SEQUENCE, keys.CLICKS)]
    )
    async with database.connection() as connection:
        state = (await store.states(connection, [shard.shard_id]))[shard.shard_id]
    is_complete = state.is_complete and state.run_id == shard.run_id
    return Filling(max(0, links - others), expected, is_complete)


async def _expected(database: Database, shard_id: str) -> int:
    """The shard's share of all links, as PostgreSQL estimates their number."""
    async with database.connection() as connection:
        topology = await shard_store.current(connection)
        total = await store.links_estimate(connection)
    assert topology is not None  # it has the shard
    placement = await placement_of(topology)
    share = (await asyncio.to_thread(placement.ring.shares))[placement.index_of(shard_id)]
    return round(total * share)
