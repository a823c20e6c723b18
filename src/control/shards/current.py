"""The topology in force and its ring, built once an epoch."""

from dataclasses import dataclass

from control.db import Connection
from control.shards import model, store
from edge._fast import Ring
from wire.topology import Topology


@dataclass(frozen=True, slots=True)
class Placement:
    """Where links live: a topology and the ring that it makes."""

    topology: Topology
    ring: Ring


class CurrentPlacement:
    """Reads the epoch each time, and the document only when the epoch has risen."""

    def __init__(self) -> None:
        self._placement: Placement | None = None

    async def get(self, connection: Connection) -> Placement | None:
        """The placement in force; None before the first topology."""
        epoch = await store.current_epoch(connection)
        if self._placement is None or self._placement.topology.epoch != epoch:
            topology = await store.current(connection)
            self._placement = None if topology is None else Placement(topology, model.ring_of(topology))
        return self._placement
