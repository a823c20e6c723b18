"""The shards of the topology that a worker holds: numbered, connected, told of every epoch.

    a map is adopted:   1. numbers, connections to new shards   2. look-ups go by the new map
                        3. what L1 must not answer any more is distrusted   4. sessions with those that left end
                        5. replies are judged by the new epoch, and what can be acknowledged is

All of it happens in one turn of the loop: no request sees a part of it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from edge._front import Front
from edge.config import EdgeConfig
from edge.handover import Handover
from edge.replicas import Replicas
from edge.resolver import Resolver
from edge.shards import Listener, Shard
from edge.topology import Map, Rings, build
from wire.topology import MODES, Topology
from wire.topology import Shard as ShardDescription

log = structlog.get_logger("edge.membership")

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Membership:
    """One worker's. `spawn` starts the task that keeps a shard connected; `edge_id` is the worker's for the shards."""

    def __init__(
        self, front: Front, resolver: Resolver, config: EdgeConfig, *, listener: Listener, edge_id: str, spawn: Spawn
    ) -> None:
        self.map: Map | None = None
        self.shards: dict[int, Shard] = {}
        self.handover = Handover(front, self._acknowledge)
        self._front = front
        self._counters = front.counters
        self._resolver = resolver
        self._config = config
        self._listener = listener
        self._edge_id = edge_id
        self._spawn = spawn
        self._tasks: dict[Shard, asyncio.Task[None]] = {}

    def adopt(self, topology: Topology, rings: Rings) -> None:
        """Hold another topology."""
        taken = {shard.id: number for number, shard in self.shards.items()}
        new_map = build(topology, rings, taken)
        before, self.shards = self.shards, self._connected(new_map)
        self.map = new_map
        self._resolver.route(new_map, self.shards)
        if self.handover.adopt(new_map):
            for number in {*before, *self.shards}:
                self._front.distrust(number)
        for number, shard in before.items():
            if self.shards.get(number) is not shard:
                self._part_with(number, shard)
        for shard in self.shards.values():
            shard.hold(topology.epoch)
        self._acknowledge()
        self._show(topology)
        log.info("topology adopted", epoch=topology.epoch, mode=topology.mode, shards=len(self.shards))

    @property
    def is_whole(self) -> bool:
        """Whether every shard from which keys are read can be asked."""
        if self.map is None:
            return False
        described = zip(self.map.numbers, self.map.topology.shards, strict=True)
        return all(self.shards[number].is_usable for number, shard in described if shard.weight > 0)

    @property
    def is_confirmed(self) -> bool:
        """Whether any shard answers for the topology: without one, all of it may have been replaced."""
        return any(shard.is_confirming for shard in self.shards.values())

    @property
    def epoch(self) -> int:
        """Of the topology held; 0 without one."""
        return 0 if self.map is None else self.map.topology.epoch

    @property
    def urls(self) -> set[str]:
        """Where the shards are."""
        return {shard.url for shard in self.shards.values()}

    @property
    def usable_count(self) -> int:
        """How many shards can be asked."""
        return sum(shard.is_usable for shard in self.shards.values())

    @property
    def replicas_usable(self) -> int:
        """How many replicas can be asked."""
        return sum(shard.replicas.usable_count for shard in self.shards.values() if shard.replicas is not None)

    async def leave(self) -> None:
        """Take the heartbeats away."""
        await asyncio.gather(*(shard.leave() for shard in self.shards.values()))

    def _connected(self, new_map: Map) -> dict[int, Shard]:
        shards = {}
        for number, described in zip(new_map.numbers, new_map.topology.shards, strict=True):
            known = self.shards.get(number)
            is_same = known is not None and (known.id, known.url) == (described.id, described.url)
            shard = shards[number] = known if known is not None and is_same else self._open(described, number)
            if shard.replicas is not None:
                shard.replicas.follow(described.replicas)
        return shards

    def _open(self, described: ShardDescription, number: int) -> Shard:
        """A shard, and the task that keeps it connected: it does not begin before this turn ends."""
        shard = Shard(
            described.id, described.url, number, front=self._front, config=self._config, listener=self._listener
        )
        shard.replicas = Replicas(
            described.id,
            shard.progress,
            self._listener.on_document,
            config=self._config,
            counters=self._counters,
            edge_id=self._edge_id,
            spawn=self._spawn,
        )
        self._tasks[shard] = self._spawn(shard.run(self._edge_id))
        return shard

    def _part_with(self, number: int, shard: Shard) -> None:
        """No entry of a shard that left is believed again, whoever gets its number."""
        shard.retire()
        if shard.replicas is not None:
            shard.replicas.follow(())
        self._tasks.pop(shard).cancel()
        if number not in self.shards:
            self._counters.shard(number).clear()

    def _acknowledge(self) -> None:
        for shard in self.shards.values():
            shard.acknowledge(self.handover.acknowledged)

    def _show(self, topology: Topology) -> None:
        self._counters.set("epoch", topology.epoch)
        self._counters.set("shards_known", len(self.shards))
        for mode in MODES:
            self._counters.set(f"is_mode_{mode}", int(topology.mode == mode))
