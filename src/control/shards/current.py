"""The topology in force and its rings."""

import asyncio
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from control.db import Connection
from control.shards import store
from edge._fast import Ring
from wire.topology import Members, Topology

# A move has four at most: the ring that is read and the second one, each with and without the shards that the other
# one lacks. A ring of a million points takes 14 MB.
RINGS_KEPT: Final = 4


@dataclass(frozen=True, slots=True)
class Placement:
    """Where links live: a topology, the ring that is read, and the second one that is written too, if there is one.

    Indexes are those of `topology.shards`, hashes unsigned.
    """

    topology: Topology
    ring: Ring
    second: Ring | None

    def owners(self, key_hash: int) -> tuple[int, ...]:
        """The indexes of the one or two shards that have to hold the link; the one that is read first."""
        owner = self.ring.shard(key_hash)
        if self.second is None:
            return (owner,)
        other = self.second.shard(key_hash)
        return (owner,) if other == owner else (owner, other)

    def owner_ids(self, key_hash: int) -> tuple[str, ...]:
        """Their ids."""
        shards = self.topology.shards
        return tuple(shards[index].id for index in self.owners(key_hash))

    def index_of(self, shard_id: str) -> int:
        """The index of a shard of the topology."""
        return next(index for index, shard in enumerate(self.topology.shards) if shard.id == shard_id)


class CurrentPlacement:
    """Reads the epoch each time, and the document only when the epoch has risen."""

    def __init__(self) -> None:
        self._placement: Placement | None = None

    async def get(self, connection: Connection) -> Placement | None:
        """The placement in force; None before the first topology."""
        epoch = await store.current_epoch(connection)
        if self._placement is None or self._placement.topology.epoch != epoch:
            topology = await store.current(connection)
            self._placement = None if topology is None else await placement_of(topology)
        return self._placement


async def placement_of(topology: Topology) -> Placement:
    """The placement of a topology. Rings are built in a thread, once for as long as they are of use."""
    members, second_members = topology.members, topology.second_members
    ring = await asyncio.to_thread(_ring, members, topology.virtual_nodes)
    second = None
    if second_members is not None:
        second = await asyncio.to_thread(_ring, second_members, topology.virtual_nodes)
    return Placement(topology, ring, second)


@lru_cache(maxsize=RINGS_KEPT)
def _ring(members: Members, virtual_nodes: int) -> Ring:
    """By its members: an epoch that changes only the mode, or which ring is read, builds none."""
    return Ring(members, virtual_nodes)
