"""The workers' counters over the generations of their processes.

A slot has two blocks in the shared memory: while a worker drains, its successor counts in the other one. When a
process has ended, what it counted is added to the slot's sums and its block is emptied; so a total never goes down,
whatever was restarted, and Prometheus sees no reset before the edge's own.
"""

import mmap
import os
from collections.abc import Iterable
from typing import Final

from edge._counters import BLOCK_BYTES, NAMES, Counters
from edge.metrics import METRICS

# What is true of an instant and ends with its process. Everything else is counted for ever.
GAUGES: Final = {counter for metric in METRICS if metric.kind == "gauge" for _, counter in metric.series} | {"beat_ms"}
# Of these, an amount of both of a slot's processes is the sum; of the rest that of the one that serves stands.
AMOUNTS: Final = {
    counter for metric in METRICS if metric.kind == "gauge" and not metric.is_per_worker for _, counter in metric.series
}
COUNTED: Final = tuple(name for name in NAMES if name not in GAUGES)
GENERATIONS: Final = 2


class Tally:
    """The blocks and the sums of all slots. `memory` is the descriptor that workers inherit."""

    def __init__(self, slots: int) -> None:
        size = BLOCK_BYTES * slots * GENERATIONS
        self.memory = os.memfd_create("pointsman-counters")
        os.ftruncate(self.memory, size)
        mapping = mmap.mmap(self.memory, size)
        self._slots = slots
        self._blocks = [Counters(mapping, block) for block in range(slots * GENERATIONS)]
        self._ended = [dict.fromkeys(NAMES, 0) for _ in range(slots)]

    def block(self, slot: int, generation: int) -> int:
        """The number of the block in which a slot's worker of that generation counts."""
        return slot + self._slots * (generation % GENERATIONS)

    def counters(self, block: int) -> Counters:
        """What the process with that block reports at this instant."""
        return self._blocks[block]

    def end(self, slot: int, block: int) -> None:
        """Keep what a process counted, now that it has ended."""
        sums, counters = self._ended[slot], self._blocks[block]
        for name in COUNTED:
            sums[name] += counters.get(name)
        counters.clear()

    def read(self, slot: int, serving: int | None) -> dict[str, int]:
        """The slot's counters over all of its processes; `serving` is the block of the one that serves."""
        values = dict(self._ended[slot])
        if serving is not None:
            values |= {name: self._blocks[serving].get(name) for name in GAUGES}
        for block in self._of(slot):
            counters = self._blocks[block].read()
            for name in COUNTED:
                values[name] += counters[name]
            if block != serving:
                for name in AMOUNTS:
                    values[name] += counters[name]
        return values

    def _of(self, slot: int) -> Iterable[int]:
        return (self.block(slot, generation) for generation in range(GENERATIONS))
