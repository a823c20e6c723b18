"""Reading and setting the topology."""

from collections.abc import Sequence
from typing import Final

import redis.asyncio
import redis.exceptions

from control.db import Database
from control.errors import Error
from control.shards import model, store
from wire.topology import Shard, Topology

# One writer of topologies at a time; readers go on.
_LOCK: Final = "LOCK TABLE topologies IN SHARE ROW EXCLUSIVE MODE"


async def set_topology(database: Database, shards: Sequence[Shard]) -> Topology:
    """Put the first topology in force, or one with other URLs for the same shards; nothing changes if it is in force.

    Raises Error("topology_moves") for other shards, Error("topology_invalid") for what no topology can hold.
    """
    for shard in shards:
        _check_url(shard)
    if len({shard.url for shard in shards}) != len(shards):
        raise Error("topology_invalid", "two shards have the same URL; each needs a Redis of its own")
    async with database.transaction() as connection:
        await connection.execute(_LOCK)
        current = await store.current(connection)
        following = model.successor(current, shards)
        if following is not None:
            await store.insert(connection, following)
    topology = following or current
    assert topology is not None  # successor() gives a topology where there was none
    return topology


async def get_topology(database: Database) -> Topology:
    """The topology in force; raises Error("topology_missing")."""
    async with database.connection() as connection:
        topology = await store.current(connection)
    if topology is None:
        raise Error("topology_missing", "no topology is set; run `pointsman topology set --shard ID=URL …`")
    return topology


def _check_url(shard: Shard) -> None:
    try:
        redis.asyncio.connection.parse_url(shard.url)
    except (ValueError, redis.exceptions.RedisError) as error:
        raise Error("topology_invalid", f"the URL of shard {shard.id} is no redis URL: {error}") from error
