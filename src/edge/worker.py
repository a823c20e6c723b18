"""One worker of the edge: what is built, in which order, and how it stops. Read this first.

    config ─▶ counters ─▶ origin ─▶ resolver ─▶ front ─▶ shards (seeds, then the topology's) ─▶ entrance
                                                 ├─▶ keeper: L1 out of the last snapshot
                                                 └─▶ writer: segments for the clicks

A worker serves once it has a segment for clicks or knows that it can have none, holds a topology, and every shard of
it has accepted its heartbeat or is known to be down.
It drains on SIGTERM: what is queued is accepted, then nothing more; every answer closes its connection; one that is
idle may ask once more within drain_idle_ms; after drain_ms what is left is cut. Then it writes a snapshot of L1
and closes its clicks.
"""

import asyncio
import email.utils
import resource
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import structlog

from edge._cache import Cache
from edge._counters import Counters
from edge._front import Front
from edge.assignment import Assignment
from edge.clock import monotonic_ms
from edge.config import EdgeConfig
from edge.entrance import Entrance
from edge.lag import Lag
from edge.origin import Origin
from edge.resolver import Resolver
from edge.shards import Listener, Shard
from edge.snapshot import Keeper, warm
from edge.topology import Map, Store, build, placement, read_domains, read_topology
from edge.writer import Writer
from wire import keys
from wire.domains import Domains
from wire.topology import Shard as ShardDescription

log = structlog.get_logger("edge.worker")

SWEEP_MS: Final = 50  # how late a deadline may be noticed
PAGE_BYTES: Final = resource.getpagesize()


class Worker:
    """The parts of one worker, and what connects them."""

    def __init__(self, config: EdgeConfig, assignment: Assignment, name: str = "") -> None:
        self._config = config
        self._assignment = assignment
        # By block, not by slot: a draining worker and its successor each speak for themselves.
        self._edge_id = f"{config.id}.{name or assignment.block}"
        self._counters = Counters(assignment.counters, assignment.block)
        self._origin = Origin(config, self._counters)
        self.resolver = Resolver(config, self._counters, self._origin)
        self.front = Front(
            self._counters,
            Cache(config.cache_bytes),
            Cache(config.absence_cache_bytes),
            self.resolver.resolve,
            self.resolver.refresh,
            config,
        )
        self.resolver.bind(self.front)
        self._listener = Listener(self._on_document, self.resolver.on_invalidated)
        self._entrance = Entrance(config, self.front, assignment, self._until)
        self._store = Store(config.state_dir)
        self._keeper = Keeper(config, assignment.slot, self.front.links, self._counters)
        self._writer = Writer(config, self.front.clicks, self._counters)
        self._map: Map | None = None
        self._domains: Domains | None = None
        self._shards: dict[int, Shard] = {}
        self._tasks: dict[Shard, asyncio.Task[None]] = {}
        self._seeds: dict[Shard, asyncio.Task[None]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._stopping = asyncio.Event()
        self._restored: list[bytes] = []
        self._is_serving = False
        self._date_s = 0

    # ---- the listener of the shards

    def _on_document(self, key: bytes, data: bytes) -> None:
        """A shard had a topology or domains document."""
        self._adopt(key, data, is_stored=False)

    def _adopt(self, key: bytes, data: bytes, is_stored: bool) -> None:
        if key == keys.TOPOLOGY:
            topology = read_topology(data, self._map.topology if self._map else None)
            if topology is None:
                return
            self._swap(build(topology, {shard.id: number for number, shard in self._shards.items()}))
        else:
            domains = read_domains(data, self._domains)
            if domains is None:
                return
            self._domains = domains
            default = domains.default_id if self._config.unknown_host == "default" else 0
            self.front.set_hosts({host.encode("ascii"): number for host, number in domains.hosts.items()}, default)
        if not is_stored:
            self._keep(key, data)

    def _keep(self, key: bytes, data: bytes) -> None:
        try:
            self._store.write(key, data)
        except OSError as error:
            log.warning(
                "cannot keep the topology for a later start", directory=self._config.state_dir, error=str(error)
            )

    def _swap(self, new_map: Map) -> None:
        """Hold another topology: connect to its shards, then look keys up by its ring."""
        old = self._map
        shards = {}
        for number, described in zip(new_map.numbers, new_map.topology.shards, strict=True):
            known = self._shards.get(number)
            shards[number] = known if known and known.url == described.url else self._open(described, number)
            shards[number].set_epoch(new_map.topology.epoch)
        for number, shard in self._shards.items():
            if shards.get(number) is not shard:
                self._tasks.pop(shard).cancel()
        for number in self._shards.keys() - shards.keys():
            self._counters.shard(number).clear()
        if old is not None and placement(old.topology) != placement(new_map.topology):
            # An entry is covered by pushes only while its shard owns its key.
            for number in {*self._shards, *shards}:
                self.front.distrust(number)
        self._map, self._shards = new_map, shards
        self.resolver.route(new_map, shards)
        self._counters.set("epoch", new_map.topology.epoch)
        self._counters.set("shards_known", len(shards))
        log.info("topology adopted", epoch=new_map.topology.epoch, shards=len(shards))

    def _open(self, described: ShardDescription, number: int) -> Shard:
        shard = Shard(
            described.id, described.url, number, front=self.front, config=self._config, listener=self._listener
        )
        self._tasks[shard] = self._spawn(shard.run(self._edge_id))
        return shard

    # ---- life

    def stop(self) -> None:
        """Drain, then end."""
        self._stopping.set()

    async def until_serving(self, timeout_ms: int) -> bool:
        """Wait until it serves; whether it does in time."""
        await self._until(lambda: self._is_serving or self._stopping.is_set(), timeout_ms)
        return self._is_serving

    async def run(self) -> None:
        """Serve until `stop`; raises what ended a background task that should not have ended."""
        self._counters.clear()
        await self._writer.open()
        self._spawn(self._origin.run())
        self._spawn(self._sweep())
        try:
            if await self._boot():
                self._entrance.begin()
                self._is_serving = True
                log.info("worker serves")
                self._spawn(self._keeper.run())
                self._spawn(warm(self._restored, self.resolver.refresh, self._config.stale_ms))
                await self._stopping.wait()
                await self._entrance.drain()
                await asyncio.gather(*(shard.leave() for shard in self._shards.values()))
                await self._keeper.write()
            await self._writer.close()
        finally:
            self._counters.set("is_ready", 0)
            for task in set(self._background):
                task.cancel()
        if self._failure is not None:
            raise self._failure

    async def _boot(self) -> bool:
        """Wait for a topology, then for its shards; whether the worker may serve."""
        self._restored = await self._keeper.restore()
        for key in (keys.DOMAINS, keys.TOPOLOGY):
            data = self._store.read(key)
            if data is not None:
                self._adopt(key, data, is_stored=True)
        for url in self._config.seeds:
            seed = Shard("seed", url, None, front=self.front, config=self._config, listener=self._listener)
            self._seeds[seed] = self._spawn(seed.run(self._edge_id))
        await self._until(lambda: self._stopping.is_set() or None not in (self._map, self._domains))
        # A shard that is down must not keep the others' links from being served: the origin has its links.
        await self._until(
            lambda: self._stopping.is_set() or all(shard.is_usable for shard in self._shards.values()),
            timeout_ms=2 * self._config.connect_timeout_ms,
        )
        if any(shard.is_usable for shard in self._shards.values()):
            for task in self._seeds.values():  # else they stay: the stored topology may name shards that have moved
                task.cancel()
            self._seeds.clear()
        if self._assignment.is_successor:
            # It takes clients from a worker that serves: better none than such as it could not answer.
            await self._until(lambda: self._stopping.is_set() or self._can_resolve())
        return not self._stopping.is_set()

    async def _sweep(self) -> None:
        """The worker's one coarse timer: deadlines, the date, how late the loop is, what the supervisor reads."""
        lag = Lag(self._counters, monotonic_ms())
        while True:
            now_ms = monotonic_ms()
            for shard in (*self._shards.values(), *self._seeds):
                shard.sweep(now_ms)
            self._origin.sweep(now_ms)
            self.resolver.report()
            self._entrance.sweep()
            self._writer.tend(now_ms)
            self._report(now_ms)
            slept_us = time.monotonic_ns() // 1000
            await asyncio.sleep(SWEEP_MS / 1000)
            lag.note(max(0, time.monotonic_ns() // 1000 - slept_us - SWEEP_MS * 1000), monotonic_ms())

    def _report(self, now_ms: int) -> None:
        second = int(time.time())
        if second != self._date_s:
            self._date_s = second
            self.front.set_date(email.utils.formatdate(second, usegmt=True).encode("ascii"))
            for name, cache in (("link", self.front.links), ("absence", self.front.absences)):
                self._counters.set(f"l1_{name}_bytes", cache.used_bytes)
                self._counters.set(f"l1_{name}_entries", len(cache))
            self._counters.set("memory_bytes", _memory_bytes())
        usable = sum(shard.is_usable for shard in self._shards.values())
        self._counters.set("shards_trusted", usable)
        self._counters.set("is_ready", int(self._is_serving and self._can_resolve()))
        self._counters.set("beat_ms", now_ms)

    def _can_resolve(self) -> bool:
        """Whether any link can be looked up now."""
        is_whole = len(self._shards) > 0 and all(shard.is_usable for shard in self._shards.values())
        return is_whole or (self._map is not None and self._counters.get("is_origin_reachable") == 1)

    async def _until(self, condition: Callable[[], bool], timeout_ms: int | None = None) -> None:
        """Wait for the condition, which is looked at as often as deadlines are swept."""
        deadline_ms = None if timeout_ms is None else monotonic_ms() + timeout_ms
        # The conditions span shards and connections; there is no one event to wait for.
        while not condition() and (deadline_ms is None or monotonic_ms() < deadline_ms):  # noqa: ASYNC110
            await asyncio.sleep(SWEEP_MS / 1000)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run in the background; if it fails the worker stops, and the supervisor starts another."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self._stopping.set()


def _memory_bytes() -> int:
    """The resident size of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES
