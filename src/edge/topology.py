"""The topology that a worker holds: the document, its ring, and the numbers of its shards; swapped whole."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import structlog

from edge._fast import Ring
from wire import domains as wire_domains
from wire import keys
from wire import topology as wire_topology
from wire.domains import Domains
from wire.errors import FormatError
from wire.topology import Topology

log = structlog.get_logger("edge.topology")

FILES: Final = {keys.TOPOLOGY: "topology.json", keys.DOMAINS: "domains.json"}


@dataclass(frozen=True, slots=True)
class Map:
    """A topology made ready for look-ups. `numbers[i]` is the Front's number of the ring's i-th shard."""

    topology: Topology
    ring: Ring
    numbers: tuple[int, ...]

    def number(self, key_hash: int) -> int:
        """The number of the shard that owns the key."""
        return self.numbers[self.ring.shard(key_hash)]


def build(topology: Topology, taken: dict[str, int]) -> Map:
    """The map of a topology; shards that are in `taken` keep their numbers, new ones get the lowest free.

    Only when there are no others are the numbers of those that leave given on: 200 shards may be replaced by 200.
    """
    staying = {shard.id: taken[shard.id] for shard in topology.shards if shard.id in taken}
    leaving = sorted(set(taken.values()) - set(staying.values()))
    free = chain((n for n in range(wire_topology.SHARDS_MAX) if n not in taken.values()), leaving)
    numbers = tuple(staying[shard.id] if shard.id in staying else next(free) for shard in topology.shards)
    ring = Ring(topology.members, topology.virtual_nodes)
    return Map(topology, ring, numbers)


def placement(topology: Topology) -> Sequence[tuple[str, float]]:
    """What decides which shard owns a key; while it is the same, so is every owner."""
    return [("", topology.virtual_nodes), *sorted((shard.id, shard.weight) for shard in topology.shards)]


class Store:
    """The last documents on disk, for a start while no seed answers."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def read(self, key: bytes) -> bytes | None:
        """The last document of this key, None if there is none."""
        try:
            return (self._directory / FILES[key]).read_bytes()
        except FileNotFoundError:
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
