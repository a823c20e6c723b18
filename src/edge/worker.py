"""One worker of the edge: what is built, in which order, and how it stops. Read this first.

    config ─▶ counters ─▶ origin ─▶ resolver ─▶ front ─▶ members (seeds, then the topology's shards) ─▶ entrance
                                                 ├─▶ keeper: L1 out of the last snapshot
                                                 └─▶ writer: segments for the clicks

    a shard's document ──▶ adoption: rings, in a thread ──▶ members: another topology is held

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
from edge.membership import Membership
from edge.origin import Origin
from edge.resolver import Resolver
from edge.seeds import Seeds
from edge.session import redacted
from edge.shards import Listener, Shard
from edge.snapshot import Keeper, warm
from edge.topology import Adoption, Store, read_domains
from edge.writer import Writer
from wire import keys
from wire.domains import Domains

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
        self._members = Membership(
            self.front,
            self.resolver,
            config,
            listener=self._listener,
            edge_id=self._edge_id,
            spawn=self._spawn,
        )
        self._adoption = Adoption(self._members.adopt)
        self._store = Store(config.state_dir)
        self._storing = asyncio.Lock()  # a later document must not be overtaken by an earlier one
        self._keeper = Keeper(config, assignment.slot, self.front.links, self._counters)
        self._writer = Writer(config, self.front.clicks, self._counters)
        self._domains: Domains | None = None
        self._seeds = Seeds(config.seeds, self._edge_id, self._seed, self._spawn)
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
        is_newer = self._adoption.offer(data) if key == keys.TOPOLOGY else self._adopt_domains(data)
        if is_newer and not is_stored:
            self._spawn(self._keep(key, data))

    def _adopt_domains(self, data: bytes) -> bool:
        domains = read_domains(data, self._domains)
        if domains is None:
            return False
        self._domains = domains
        default = domains.default_id if self._config.unknown_host == "default" else 0
        self.front.set_hosts({host.encode("ascii"): number for host, number in domains.hosts.items()}, default)
        return True

    async def _keep(self, key: bytes, data: bytes) -> None:
        """Put a document on disk, in a thread: that may take as long as the disk likes."""
        async with self._storing:
            try:
                await asyncio.to_thread(self._store.write, key, data)
            except OSError as error:
                directory = self._config.state_dir
                log.warning("cannot keep the topology for a later start", directory=directory, error=str(error))

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
        self._counters.set("started_ms", time.time_ns() // 1_000_000)
        await self._writer.open()
        self._spawn(self._origin.run())
        self._spawn(self._adoption.run())
        self._spawn(self._members.handover.run())
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
                await self._members.leave()
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
        self._seeds.start()
        await self._until(lambda: self._stopping.is_set() or None not in (self._members.map, self._domains))
        # A shard that is down must not keep the others' links from being served: the origin has its links.
        await self._until(
            lambda: self._stopping.is_set() or self._members.usable_count == len(self._members.shards),
            timeout_ms=2 * self._config.connect_timeout_ms,
        )
        self._seeds.end_start(is_found=self._members.usable_count > 0)
        if self._assignment.is_successor:
            # It takes clients from a worker that serves: better none than such as it could not answer.
            await self._until(lambda: self._stopping.is_set() or self._can_resolve())
        return not self._stopping.is_set()

    def _seed(self, url: str) -> Shard:
        name = f"seed {redacted(url)}"
        return Shard(name, url, None, front=self.front, config=self._config, listener=self._listener)

    async def _sweep(self) -> None:
        """The worker's one coarse timer: deadlines, the date, how late the loop is, what the supervisor reads."""
        lag = Lag(self._counters, monotonic_ms())
        while True:
            now_ms = monotonic_ms()
            for shard in self._members.shards.values():
                shard.sweep(now_ms)
            self._seeds.sweep(now_ms, self._members)
            self._origin.sweep(now_ms)
            self.resolver.sweep(now_ms)
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
            self.resolver.inspect()
        self._counters.set("shards_trusted", self._members.usable_count)
        self._counters.set("replicas_usable", self._members.replicas_usable)
        self._counters.set("is_ready", int(self._is_serving and self._can_resolve()))
        self._counters.set("beat_ms", now_ms)

    def _can_resolve(self) -> bool:
        """Whether any link can be looked up now."""
        has_origin = self._members.map is not None and self._counters.get("is_origin_reachable") == 1
        return has_origin or self._members.is_whole

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
