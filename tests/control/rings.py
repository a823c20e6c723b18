"""Topologies with two rings, over the servers of a test."""

from control.links.model import HASH_OFFSET
from control.projection import recovery
from control.projection.shard_writer import connect_writer
from control.shards.connection import ShardConnection
from tests.control.scene import Scene
from tests.stack.server import RedisServer
from wire.topology import Mode, Shard, Topology

NEW = "shard-2"


def shards_of(servers: list[RedisServer], weights: list[tuple[float, float]]) -> tuple[Shard, ...]:
    """The servers with their weights on the ring that is read and on the second one."""
    return tuple(
        Shard(id=f"shard-{index}", url=server.url, weight=weight, second_weight=second)
        for index, (server, (weight, second)) in enumerate(zip(servers, weights, strict=True))
    )


async def arm(scene: Scene, servers: list[RedisServer], mode: Mode = "armed") -> Topology:
    """Let the third server join two shards: both rings are written, the old one is read until the cut-over."""
    is_new_read = mode in ("cut-over", "soaking")
    weights = [(1.0, 1.0), (1.0, 1.0), (1.0, 0.0) if is_new_read else (0.0, 1.0)]
    return await scene.set_topology((NEW,), mode=mode, shards=shards_of(servers, weights))


async def adopt(scene: Scene, server: RedisServer) -> ShardConnection:
    """What the keeper of the third shard does first; returns a connection to it."""
    shard = await connect_writer(NEW, server.url)
    async with scene.database.dedicated() as connection:
        await recovery.begin_fill(connection, shard)
    return shard


async def owners(scene: Scene) -> dict[str, tuple[str, ...]]:
    """The owners of every link, by code."""
    async with scene.database.connection() as connection:
        placement = await scene.placement.get(connection)
    assert placement is not None
    rows = await scene.rows("SELECT code, key_hash FROM links")
    return {str(code): placement.owner_ids(int(str(key_hash)) + HASH_OFFSET) for code, key_hash in rows}
