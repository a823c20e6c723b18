"""What becomes of L1 when links get another owner: which entries may stay, and when an epoch may be acknowledged.

An entry is right while its shard is written and pushes to this worker. So what was filled by the owners on some ring
may stay as long as that ring is read, or is the second one after a cut-over: it was read a moment ago, is whole, and
gets each change. What is not its owner's any more is ended by a walk meanwhile, before control stops writing to it:

    covered     every entry is from its owner on the ring that is read
    walking     some may be from the owner on another ring that is still written
    covered ──another ring is read, the old one is the second──▶ walking ──the walk is over──▶ covered
    any     ──a ring that L1 was filled by is no longer written──▶ covered: all shards are distrusted at once

The last is no part of a move that this worker has followed: it missed epochs.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from edge._front import Front
from edge._owners import OwnerWalk
from edge.topology import Map, Placement, placement, second_placement

log = structlog.get_logger("edge.handover")

SLICE_ENTRIES: Final = 1024  # a quarter of a millisecond with cold memory
# Between two slices, as long as nobody waits for the walk's end: what is ended must be looked up again, and that
# spreads over seconds. Half a million entries take 2.5 s.
PAUSE_MS: Final = 5
COVERING_MODES: Final = ("cut-over", "soaking")  # in which the second ring was read before, and is whole


class Handover:
    """One worker's. `on_acknowledged` is called when `acknowledged` has risen because a walk is over."""

    def __init__(self, front: Front, on_acknowledged: Callable[[], None]) -> None:
        self.acknowledged = 0  # the epoch up to which nothing older can be answered
        self._front = front
        self._counters = front.counters
        self._on_acknowledged = on_acknowledged
        self._filled_by: set[Placement] = set()
        self._map: Map | None = None
        self._walk: OwnerWalk | None = None
        self._is_due = asyncio.Event()

    def adopt(self, new_map: Map) -> bool:
        """Take another map on; whether all that L1 holds must be distrusted for it, at once."""
        self._map = new_map
        is_lost = not self._filled_by <= covered(new_map)
        if is_lost:
            self._filled_by.clear()
        self._walk = None
        read = placement(new_map.topology)
        if self._filled_by - {read}:
            self._walk = OwnerWalk(self._front, new_map.rings.read, new_map.numbers)
            self._counters.add("l1_walks")
            self._is_due.set()
        self._filled_by.add(read)
        self._settle()
        self._show()
        return is_lost

    async def run(self) -> None:
        """Walk whenever that is due, until cancelled."""
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            while self._walk is not None:
                self._step(self._walk)
                await asyncio.sleep(0 if self._is_waited_for() else PAUSE_MS / 1000)

    def _step(self, walk: OwnerWalk) -> None:
        """One slice."""
        self._counters.add("l1_walk_ended", walk.take(SLICE_ENTRIES))
        if walk.is_over:
            assert self._map is not None
            self._walk = None
            self._filled_by = {placement(self._map.topology)}
            self._settle()
            self._on_acknowledged()
            log.info("entries of former owners have ended", epoch=self._map.topology.epoch)
        self._show()

    def _is_waited_for(self) -> bool:
        """Whether the epoch may only be acknowledged when the walk is over: control stops writing to the second ring.

        A document of mode steady comes next; whoever adopted that in the middle of a walk would have to distrust all.
        """
        return self._walk is not None and self._map is not None and self._map.topology.mode != "cut-over"

    def _settle(self) -> None:
        assert self._map is not None
        if not self._is_waited_for():
            self.acknowledged = self._map.topology.epoch
            self._counters.set("epoch_acknowledged", self.acknowledged)

    def _show(self) -> None:
        self._counters.set("l1_walk_left_bytes", 0 if self._walk is None else self._walk.left_bytes)


def covered(held: Map) -> set[Placement]:
    """The placements whose owners are written, whole, under this map."""
    topology = held.topology
    second = {second_placement(topology)} if topology.mode in COVERING_MODES else set()
    return {placement(topology)} | second
