"""What may follow a topology; pure."""

from collections.abc import Sequence
from dataclasses import replace

from control.errors import Error
from wire import FormatError
from wire import topology as wire_topology
from wire.topology import Shard, Topology


def successor(current: Topology | None, shards: Sequence[Shard]) -> Topology | None:
    """The topology that follows `current` when the shards are to be `shards`; None if nothing changes.

    Only addresses may differ. Weights and places stay as they are: 1.0 and "" stand for whatever a shard has. Raises
    Error("topology_moves") if keys would change their shard: that takes a move, not a new document; and
    Error("move_under_way") while links move.
    """
    if current is None:
        return _checked(Topology(epoch=1, shards=tuple(shards)))
    if current.mode != "steady":
        raise Error("move_under_way", "links are being moved; addresses can be changed when the move has ended")
    held = ", ".join(shard.id for shard in current.shards)
    if [shard.id for shard in current.shards] != [shard.id for shard in shards]:
        raise Error(
            "topology_moves",
            f"the topology has the shards {held}, in this order; give the same ids, with URLs that may differ",
        )
    following = tuple(map(_with_addresses, current.shards, shards))
    if following == current.shards:
        return None
    return _checked(replace(current, epoch=current.epoch + 1, shards=following))


def _with_addresses(held: Shard, given: Shard) -> Shard:
    if given.weight not in (1.0, held.weight) or given.place not in ("", held.place):
        raise Error("topology_moves", f"shard {held.id} has weight {held.weight:g}; to change it takes a move")
    return replace(held, url=given.url, replicas=given.replicas)


def _checked(topology: Topology) -> Topology:
    try:
        wire_topology.encode(topology)
    except FormatError as error:
        raise Error("topology_invalid", str(error)) from error
    return topology
