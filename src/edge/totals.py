"""The workers' counters over the generations of their processes.

A slot has two blocks in the shared memory: while a worker drains, its successor counts in the other one. When a
process has ended, what it counted is added to the slot's sums and its block is emptied; so a total never goes down,
whatever was restarted, and Prometheus sees no reset before the edge's own.
"""

import mmap
import os
from collections.abc import Iterable, Mapping
from typing import Final

from edge._counters import BLOCK_BYTES, NAMES, SHARD_NAMES, Counters
from edge.metrics import METRICS, SHARD_METRICS, Worker

# What is true of an instant and ends with its process. Everything else is counted for ever.
GAUGES: Final = {counter for metric in METRICS if metric.kind == "gauge" for _, counter in metric.series} | {"beat_ms"}
# Of these, an amount of both of a slot's processes is the sum; of the rest that of the one that serves stands.
AMOUNTS: Final = {
    counter for metric in METRICS if metric.kind == "gauge" and not metric.is_per_worker for _, counter in metric.series
}
COUNTED: Final = tuple(name for name in NAMES if name not in GAUGES)
SHARD_GAUGES: Final = {"proved_ms"} | {
    counter
    for metric in SHARD_METRICS
    if metric.kind == "gauge"
    for _, counter in metric.series
    if counter in SHARD_NAMES
}
SHARD_COUNTED: Final = tuple(name for name in SHARD_NAMES if name not in SHARD_GAUGES)
GENERATIONS: Final = 2


class Totals:
    """The blocks and the sums of all slots. `memory` is the descriptor that workers inherit."""

    def __init__(self, slots: int) -> None:
        size = BLOCK_BYTES * slots * GENERATIONS
        self.memory = os.memfd_create("pointsman-counters")
        os.ftruncate(self.memory, size)
        mapping = mmap.mmap(self.memory, size)
        self._slots = slots
        self._blocks = [Counters(mapping, block) for block in range(slots * GENERATIONS)]
        self._ended = [dict.fromkeys(NAMES, 0) for _ in range(slots)]
        self._ended_shards: list[dict[str, dict[str, int]]] = [{} for _ in range(slots)]

    def block(self, slot: int, generation: int) -> int:
        """The number of the block in which a slot's worker of that generation counts."""
        return slot + self._slots * (generation % GENERATIONS)

    def counters(self, block: int) -> Counters:
        """What the process with that block reports at this instant."""
        return self._blocks[block]

    def end(self, slot: int, block: int) -> None:
        """Keep what a process counted, now that it has ended."""
        counters = self._blocks[block]
        _add(self._ended[slot], counters.read(), COUNTED)
        # A shard that the last process did not know has left the topology: its sums go with it, so they stay bounded.
        known = {shard: self._ended_shards[slot].get(shard, {}) for shard in counters.shards()}
        for shard, row in counters.shards().items():
            known[shard] = _sum(known[shard], row)
        self._ended_shards[slot] = known
        counters.clear()

    def read(self, slot: int, serving: int | None) -> Worker:
        """What the slot has counted over all of its processes; `serving` is the block of the one that serves."""
        values = dict(self._ended[slot])
        shards = dict(self._ended_shards[slot])
        live: Mapping[str, Mapping[str, int]] = {}
        if serving is not None:
            values |= {name: self._blocks[serving].get(name) for name in GAUGES}
        for block in self._of(slot):
            counters = self._blocks[block]
            _add(values, counters.read(), COUNTED if block == serving else (*COUNTED, *AMOUNTS))
            rows = counters.shards()  # once: its worker may take another shard on meanwhile
            for shard, row in rows.items():
                shards[shard] = _sum(shards.get(shard, {}), row)
            if block == serving:
                live = rows
        return Worker(values, {shard: shards[shard] | _gauges(row) for shard, row in live.items()})

    def _of(self, slot: int) -> Iterable[int]:
        return (self.block(slot, generation) for generation in range(GENERATIONS))


def _add(values: dict[str, int], more: Mapping[str, int], names: Iterable[str]) -> None:
    for name in names:
        values[name] += more[name]


def _sum(counted: Mapping[str, int], row: Mapping[str, int]) -> dict[str, int]:
    return {name: counted.get(name, 0) + row[name] for name in SHARD_COUNTED}


def _gauges(row: Mapping[str, int]) -> dict[str, int]:
    return {name: row[name] for name in SHARD_GAUGES}
