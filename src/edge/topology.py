"""The topology that a worker holds: documents, the rings made of them, the numbers of their shards; swapped whole."""

import asyncio
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from edge._fast import Ring
from wire import domains as wire_domains
from wire import keys
from wire import topology as wire_topology
from wire.domains import Domains
from wire.errors import FormatError
from wire.topology import Members, Topology

log = structlog.get_logger("edge.topology")

FILES: Final = {keys.TOPOLOGY: "topology.json", keys.DOMAINS: "domains.json"}

Placement = tuple[object, ...]
"""What decides which shard owns a key on a ring; while it is the same, so is every owner."""


class Rings(NamedTuple):
    """The ring that is read, and the second one if the topology has it. Indexes are those of the topology's shards."""

    read: Ring
    second: Ring | None


@dataclass(frozen=True, slots=True)
class Map:
    """A topology made ready for look-ups. `numbers[i]` is the Front's number of the topology's i-th shard."""

    topology: Topology
    rings: Rings
    numbers: tuple[int, ...]

    def number(self, key_hash: int) -> int:
        """The number of the shard that owns the key on the ring that is read."""
        return self.numbers[self.rings.read.shard(key_hash)]

    def second_number(self, key_hash: int) -> int:
        """The number of its owner on the second ring; without one, of its owner."""
        ring = self.rings.second or self.rings.read
        return self.numbers[ring.shard(key_hash)]


def build(topology: Topology, rings: Rings, taken: dict[str, int]) -> Map:
    """The map of a topology; shards that are in `taken` keep their numbers, new ones get the lowest free.

    Only when there are no others are the numbers of those that leave given on: 200 shards may be replaced by 200.
    """
    staying = {shard.id: taken[shard.id] for shard in topology.shards if shard.id in taken}
    leaving = sorted(set(taken.values()) - set(staying.values()))
    free = chain((n for n in range(wire_topology.SHARDS_MAX) if n not in taken.values()), leaving)
    numbers = tuple(staying[shard.id] if shard.id in staying else next(free) for shard in topology.shards)
    return Map(topology, rings, numbers)


def placement(topology: Topology) -> Placement:
    """The placement on the ring that is read."""
    weights = [(shard.ring_name, shard.id, shard.weight) for shard in topology.shards]
    return _placement(weights, topology.virtual_nodes)


def second_placement(topology: Topology) -> Placement:
    """The placement on the second ring."""
    weights = [(shard.ring_name, shard.id, shard.second_weight) for shard in topology.shards]
    return _placement(weights, topology.virtual_nodes)


def _placement(weights: list[tuple[str, str, float]], virtual_nodes: int) -> Placement:
    return (virtual_nodes, *sorted(described for described in weights if described[2] > 0))


class Foundry:
    """Makes rings, in a thread: hundreds of thousands of points are sorted, and the loop goes on meanwhile.

    It keeps those that it gave last, for the documents of a move alternate between two.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[int, Members], Ring] = {}

    async def make(self, topology: Topology) -> Rings:
        """The rings of a topology."""
        made: dict[tuple[int, Members], Ring] = {}
        read = await self._make(topology.members, topology.virtual_nodes, made)
        second = topology.second_members
        rings = Rings(read, None if second is None else await self._make(second, topology.virtual_nodes, made))
        self._kept = made
        return rings

    async def _make(self, members: Members, virtual_nodes: int, made: dict[tuple[int, Members], Ring]) -> Ring:
        key = (virtual_nodes, _trimmed(members))
        if key not in made:
            kept = self._kept.get(key)
            made[key] = kept if kept is not None else await asyncio.to_thread(Ring, key[1], virtual_nodes)
        return made[key]


def _trimmed(members: Members) -> Members:
    """Without those behind the last that is on the ring: a shard that joins changes nobody's index."""
    count = max(place for place, (_, weight) in enumerate(members, 1) if weight > 0)
    return members[:count]


class Adoption:
    """Takes topology documents from wherever they come, and hands the newest on when its rings are made.

    One that comes while rings are made wins: what `on_made` is called with is always the newest known then.
    """

    def __init__(self, on_made: Callable[[Topology, Rings], None]) -> None:
        self._on_made = on_made
        self._foundry = Foundry()
        self._newest: Topology | None = None
        self._passed_over = b""
        self._is_due = asyncio.Event()

    def offer(self, data: bytes) -> bool:
        """Whether this document is newer than all before; then it is adopted soon."""
        if data == self._passed_over:
            return False  # whoever is behind a fence reads it again and again
        topology = read_topology(data, self._newest)
        if topology is None:
            self._passed_over = data
            return False
        self._newest = topology
        self._is_due.set()
        return True

    async def run(self) -> None:
        """Make rings until cancelled."""
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            topology = self._newest
            assert topology is not None
            rings = await self._foundry.make(topology)
            if topology is self._newest:
                self._on_made(topology, rings)


class Store:
    """The last documents on disk, for a start while no seed answers."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def read(self, key: bytes) -> bytes | None:
        """The last document of this key, None if there is none that can be read."""
        path = self._directory / FILES[key]
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("kept document cannot be read, the seeds must tell it", file=str(path), error=str(error))
            return None

    def write(self, key: bytes, data: bytes) -> None:
        """Replace the document, whole or not at all. Workers share the directory and write the same bytes."""
        self._directory.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._directory, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._directory / FILES[key])
        except OSError:
            os.unlink(name)
            raise


def read_topology(data: bytes, held: Topology | None) -> Topology | None:
    """The topology in `data` if it is newer than the one held; None if it is not, or cannot be read (logged)."""
    try:
        topology = wire_topology.decode(data)
    except FormatError as error:
        log.warning("topology refused, the last one stays in force", error=str(error))
        return None
    return topology if held is None or topology.epoch > held.epoch else None


def read_domains(data: bytes, held: Domains | None) -> Domains | None:
    """The table of domains in `data`, likewise by its revision."""
    try:
        domains = wire_domains.decode(data)
    except FormatError as error:
        log.warning("table of domains refused, the last one stays in force", error=str(error))
        return None
    return domains if held is None or domains.revision > held.revision else None
