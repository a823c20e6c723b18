"""What may follow a topology; pure."""

from collections.abc import Sequence

from control.errors import Error
from edge._fast import Ring
from wire import FormatError
from wire import topology as wire_topology
from wire.topology import Shard, Topology


def ring_of(topology: Topology) -> Ring:
    """The ring of a topology; indexes are those of `topology.shards`."""
    return Ring(topology.members, topology.virtual_nodes)


def successor(current: Topology | None, shards: Sequence[Shard]) -> Topology | None:
    """The topology that follows `current` when the shards are to be `shards`; None if nothing changes.

    Raises Error("topology_moves") if keys would change their shard: that takes a move, not a new document.
    """
    if current is None:
        return _checked(Topology(epoch=1, shards=tuple(shards)))
    if [(shard.id, shard.weight) for shard in current.shards] != [(shard.id, shard.weight) for shard in shards]:
        held = ", ".join(shard.id for shard in current.shards)
        raise Error(
            "topology_moves",
            f"the topology has the shards {held}, in this order; give the same ids, with URLs that may differ",
        )
    if current.shards == tuple(shards):
        return None
    return _checked(Topology(epoch=current.epoch + 1, shards=tuple(shards), virtual_nodes=current.virtual_nodes))


def _checked(topology: Topology) -> Topology:
    try:
        wire_topology.encode(topology)
    except FormatError as error:
        raise Error("topology_invalid", str(error)) from error
    return topology
