"""SQL of topologies, and of the rows of shards."""

from control.db import Connection
from wire import topology as wire_topology
from wire.topology import Topology


async def current(connection: Connection) -> Topology | None:
    """The topology in force; None before the first one."""
    document = await connection.fetchval("SELECT document FROM topologies ORDER BY epoch DESC LIMIT 1")
    return wire_topology.decode(document.encode()) if document else None


async def current_epoch(connection: Connection) -> int:
    """The epoch in force; 0 before the first topology."""
    epoch: int = await connection.fetchval("SELECT coalesce(max(epoch), 0) FROM topologies")
    return epoch


async def insert(connection: Connection, topology: Topology) -> None:
    """Put a topology in force."""
    await connection.execute(
        "INSERT INTO topologies (epoch, document) VALUES ($1, $2)",
        topology.epoch,
        wire_topology.encode(topology).decode(),
    )
    await connection.execute(
        "INSERT INTO shards (id) SELECT unnest($1::text[]) ON CONFLICT (id) DO NOTHING",
        [shard.id for shard in topology.shards],
    )
