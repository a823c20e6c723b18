"""The documents and the fence of a shard: reading what is there, and putting in place what is in force.

A publisher may sleep between any two of its steps. So it looks at the shard first, reads PostgreSQL after that, and
replaces only what it has seen, the fence with both documents at once: whoever published later than the look has changed
one of the three, and what was read after the look is no older than what was seen.
"""

from dataclasses import dataclass

from control.db import Connection
from control.domains import store as domain_store
from control.errors import Error
from control.projection import decision, shard_writer, store
from control.projection.decision import Observed
from control.shards import store as shard_store
from control.shards.connection import ShardConnection
from wire import FormatError, keys
from wire import domains as wire_domains
from wire import fence as wire_fence
from wire import topology as wire_topology
from wire.domains import Domains
from wire.fence import Fence
from wire.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The documents that every shard carries."""

    topology: Topology
    domains: Domains


async def read_published(connection: Connection) -> Published:
    """The documents in force; raises Error("topology_missing"), and Error("domain_not_found") before the first one."""
    topology = await shard_store.current(connection)
    if topology is None:
        raise Error("topology_missing", "no topology is set; run `pointsman topology set --shard ID=URL …`")
    domains = await domain_store.published(connection)
    if domains is None:
        raise Error("domain_not_found", "no short domain is set up yet; start `pointsman control` once")
    return Published(topology=topology, domains=domains)


async def observe(shard: ShardConnection) -> Observed:
    """What the shard says of itself."""
    fence_bytes, sequence, topology_head, domains_head = await shard.pipeline(
        [
            ("GET", keys.FENCE),
            ("GET", keys.SEQUENCE),
            ("GETRANGE", keys.TOPOLOGY, 0, decision.HEAD_BYTES - 1),
            ("GETRANGE", keys.DOMAINS, 0, decision.HEAD_BYTES - 1),
        ]
    )
    return Observed(
        run_id=shard.run_id,
        fence=_decode_fence(fence_bytes),
        fence_bytes=fence_bytes,
        sequence=int(sequence or 0),
        topology_head=topology_head,
        domains_head=domains_head,
    )


async def publish(connection: Connection, shard: ShardConnection, observed: Observed) -> bool:
    """Publish what is in force; False if somebody was faster, or the shard is not ours to be fenced.

    Anybody may do it at any time, without a lock. `observed` was seen before this is called.
    """
    published = await read_published(connection)
    state = (await store.states(connection, [shard.shard_id])).get(shard.shard_id)
    is_ours = any(member.id == shard.shard_id for member in published.topology.shards)
    if state is None or not is_ours or state.run_id != shard.run_id:
        return False
    return await replace(shard, observed, published, decision.due_fence(state, shard.run_id, published.topology.epoch))


async def replace(shard: ShardConnection, observed: Observed, published: Published, fence: Fence) -> bool:
    """Put the documents and the fence in place of those that were observed; False if they are not there any more."""
    return await shard_writer.publish(
        shard,
        (observed.fence_bytes or b"", observed.topology_head, observed.domains_head, decision.HEAD_BYTES),
        (
            wire_fence.encode(fence),
            wire_topology.encode(published.topology),
            wire_domains.encode(published.domains),
        ),
    )


async def give_up(shard: ShardConnection, published: Published) -> bool:
    """Leave the documents and a fence of their epoch at a process that is given up; False if somebody was faster.

    Edges that are still connected to it believe none of its answers from then on, and learn there whom to ask.
    """
    fence = Fence(epoch=published.topology.epoch, state="filling", run_id=shard.run_id)
    return await replace(shard, await observe(shard), published, fence)


def _decode_fence(data: bytes | None) -> Fence | None:
    if data is None:
        return None
    try:
        return wire_fence.decode(data)
    except FormatError:
        return None  # written by a newer build or by hand: nothing that it says can be relied on
