"""The topologies that a move publishes, and the arcs that it moves; pure."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from control.moves.steps import Document
from control.moves.work import Arc
from edge._fast import Ring
from wire.topology import Shard, Topology

HASHES: Final = 1 << 64


def build(document: Document, before: Topology, after: Topology, epoch: int, in_force: Topology) -> Topology:
    """The topology of one phase. URLs and replicas are those in force: an operator may have changed them meanwhile."""
    read, other = (before, after) if document.reads == "before" else (after, before)
    if document.mode == "steady":
        shards = read.shards
    else:
        weights = {shard.id: shard.weight for shard in read.shards}
        seconds = {shard.id: shard.weight for shard in other.shards}
        shards = tuple(
            replace(shard, weight=weights.get(shard.id, 0.0), second_weight=seconds.get(shard.id, 0.0))
            for shard in union(before, after)
        )
    return Topology(
        epoch=epoch,
        mode=document.mode,
        virtual_nodes=before.virtual_nodes,
        shards=tuple(_reached_as(shard, in_force.shards) for shard in shards),
    )


def union(before: Topology, after: Topology) -> tuple[Shard, ...]:
    """The shards of both: those of `before`, then the new ones."""
    held = {shard.id for shard in before.shards}
    return before.shards + tuple(shard for shard in after.shards if shard.id not in held)


def is_like(topology: Topology, expected: Topology) -> bool:
    """Whether they have the same mode and the same rings, of the same shards."""
    return (topology.mode, topology.virtual_nodes, _weights(topology)) == (
        expected.mode,
        expected.virtual_nodes,
        _weights(expected),
    )


def arcs(before: Topology, after: Topology) -> tuple[Arc, ...]:
    """What changes its owner, ascending. Takes about a second for the largest rings: not for the event loop."""
    both = union(before, after)
    rings = []
    for topology in (before, after):
        weights = {shard.id: shard.weight for shard in topology.shards}
        members = tuple((shard.ring_name, weights.get(shard.id, 0.0)) for shard in both)
        rings.append(Ring(members, before.virtual_nodes))
    moved = rings[0].moved(rings[1])
    return tuple(Arc(first, last, both[source].id, both[target].id) for first, last, source, target in moved)


def joining(before: Topology, after: Topology) -> frozenset[str]:
    """The shards that the move brings in."""
    return _ids(after.shards) - _ids(before.shards)


def leaving(before: Topology, after: Topology) -> frozenset[str]:
    """The shards that are not there any more when it is done."""
    return _ids(before.shards) - _ids(after.shards)


def _ids(shards: Iterable[Shard]) -> frozenset[str]:
    return frozenset(shard.id for shard in shards)


def _weights(topology: Topology) -> dict[str, tuple[str, float, float]]:
    return {shard.id: (shard.ring_name, shard.weight, shard.second_weight) for shard in topology.shards}


def _reached_as(shard: Shard, in_force: Iterable[Shard]) -> Shard:
    for known in in_force:
        if known.id == shard.id:
            return replace(shard, url=known.url, replicas=known.replicas)
    return shard
