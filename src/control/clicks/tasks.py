"""What runs in the background of every control process: a consumer and a gauge for each shard, and what tidies up."""

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from control.background import Background, Pulse
from control.bell import Bell, heard
from control.clicks import retention, store, stream
from control.clicks.model import DEAD_REASONS, Entry, Work
from control.clicks.retention import Keep
from control.clicks.service import Intake, Outcome
from control.clicks.stream import Lag
from control.db import Connection, Database
from control.metrics import Metrics
from control.shards import store as shard_store
from control.shards.connection import ShardConnection
from wire.click import FRAME_BYTES_MAX
from wire.topology import Shard, Topology

TOPOLOGY_INTERVAL_S: Final = 1.0
LAG_INTERVAL_S: Final = 1.0
# Edges look for a new topology every five seconds; what one that slept sends later to a shard that has left, it sends
# again to another one.
DRAIN_S: Final = 30.0
# A shard that has left and does not answer was stopped by its operator.
DRAIN_MAX_S: Final = 60.0
TIDY_INTERVAL_S: Final = 600.0
# Half of the deadline for a reply (control.shards.connection).
BLOCK_MS: Final = 500
# Small frames of many workers are worth waiting for: a transaction costs as much as a thousand clicks.
GATHER_S: Final = 0.2
# About 400,000 clicks: 80 MB of memory while they are stored, and that of a page of documents (merging). Of clicks on a
# hundred thousand links the larger batch writes fewer rows: 4 MiB took three quarters more time. And what a batch of
# the smallest frames may cost to judge.
BATCH_BODY_BYTES_MAX: Final = 16 * 1024 * 1024
BATCH_ENTRIES_MAX: Final = 512
# A consumer that holds nothing and has been silent for so long has ended; one that sleeps reads under a new name or its
# own, which the group makes anew.
FORGET_CONSUMERS_MS: Final = 3_600_000
RETIRE_INTERVAL_S: Final = 600.0

Offer = Callable[[ShardConnection, int, Callable[[int], Sequence[dict[str, Any]]]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What all consumers of a process share."""

    database: Database
    intake: Intake
    metrics: Metrics
    claim_idle_ms: int
    # Called after each batch with how many clicks it has, and what gives the newest of them.
    offer: Offer | None = None


def consumer_name() -> bytes:
    """A name for this process's consumers, which no other process has or will have."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}".encode()


class Consumer:
    """Brings what comes over one shard's stream into PostgreSQL.

    First what it was given before (a batch that failed), then what others have had for too long, then what is new. An
    entry leaves the stream after its transaction is committed; until then it can be claimed by others, and that two of
    them may store it at once does no harm.
    """

    def __init__(self, shard: Shard, name: bytes, tools: Tools) -> None:
        self._shard = shard
        self._name = name
        self._tools = tools

    async def run(self, pulse: Pulse) -> None:
        """Consume until a connection breaks; called again by Background."""
        async with self._tools.database.dedicated() as connection:
            # What was waited for in vain, if that is why this one failed.
            await store.end_silent_merge(connection)
            shard = await stream.connect_stream(self._shard)
            try:
                await self._consume(connection, shard, pulse)
            finally:
                await shard.close()

    async def _consume(self, connection: Connection, shard: ShardConnection, pulse: Pulse) -> None:
        await self._finish_own(connection, shard)
        clock = asyncio.get_running_loop().time
        claim_at = retire_at = clock()
        while True:
            if clock() >= claim_at:
                await self._claim(connection, shard)
                claim_at = clock() + self._tools.claim_idle_ms / 2000
            if clock() >= retire_at:
                await stream.retire_dead(shard, self._name, FORGET_CONSUMERS_MS)
                retire_at = clock() + RETIRE_INTERVAL_S
            entries, work = await self._gather(shard)
            await self._store(connection, shard, entries, work)
            pulse.beat()

    async def _finish_own(self, connection: Connection, shard: ShardConnection) -> None:
        after = b"0"
        while entries := await stream.read_own(shard, self._name, after):
            await self._store_entries(connection, shard, entries)
            after = entries[-1].id

    async def _claim(self, connection: Connection, shard: ShardConnection) -> None:
        cursor = b"0-0"
        while True:
            cursor, entries = await stream.claim(shard, self._name, self._tools.claim_idle_ms, cursor)
            await self._take_over(connection, shard, entries)
            if cursor == b"0-0":
                break
        while entries := await stream.claim_lost(shard, self._name):
            await self._take_over(connection, shard, entries)

    async def _take_over(self, connection: Connection, shard: ShardConnection, entries: list[Entry]) -> None:
        self._tools.metrics.clicks.claimed.add(len(entries))
        await self._store_entries(connection, shard, entries)

    async def _gather(self, shard: ShardConnection) -> tuple[list[Entry], Work]:
        """The entries of a batch: what is there, or comes soon after the first."""
        clock = asyncio.get_running_loop().time
        entries = await stream.read_new(shard, self._name, BLOCK_MS)
        work = Work()
        work.take(self._shard.id, entries)
        end = clock() + GATHER_S
        while entries and _has_room(len(entries), work.body_bytes) and (rest_s := end - clock()) > 0.001:
            more = await stream.read_new(shard, self._name, int(rest_s * 1000))
            work.take(self._shard.id, more)
            entries += more
        return entries, work

    async def _store_entries(self, connection: Connection, shard: ShardConnection, entries: list[Entry]) -> None:
        work = Work()
        work.take(self._shard.id, entries)
        await self._store(connection, shard, entries, work)

    async def _store(self, connection: Connection, shard: ShardConnection, entries: list[Entry], work: Work) -> None:
        if not entries:
            return
        begun = asyncio.get_running_loop().time()
        outcome = await self._tools.intake.store(connection, work)
        await stream.finish(shard, [entry.id for entry in entries], outcome.acknowledged, outcome.final)
        self._measure(work, outcome, asyncio.get_running_loop().time() - begun)
        if self._tools.offer is not None and outcome.batch is not None:
            await self._tools.offer(shard, len(outcome.batch), outcome.batch.samples)

    def _measure(self, work: Work, outcome: Outcome, took_s: float) -> None:
        metrics = self._tools.metrics.clicks
        metrics.batch_seconds.observe(took_s)
        metrics.stored.add(outcome.clicks)
        metrics.unknown.add(outcome.unknown)
        metrics.frames.add(outcome.stored, outcome="stored")
        metrics.frames.add(outcome.duplicates, outcome="duplicate")
        metrics.reports.add(len(work.reports))
        metrics.retries.add(outcome.retries)
        metrics.evicted.add(outcome.evicted)
        for reason, count in outcome.dead.items():
            metrics.dead.add(count, reason=reason)


def _has_room(entries: int, body_bytes: int) -> bool:
    """Whether another read fits into the batch, however large its frames are."""
    bytes_left = BATCH_BODY_BYTES_MAX - body_bytes
    return entries + stream.READ_ENTRIES_MAX <= BATCH_ENTRIES_MAX and bytes_left >= (
        stream.READ_ENTRIES_MAX * FRAME_BYTES_MAX
    )


class LagWatch:
    """Measures what waits on one shard, on a connection of its own: a consumer that is stuck cannot say so."""

    def __init__(self, shard: Shard, metrics: Metrics) -> None:
        self._shard = shard
        self._metrics = metrics.clicks
        self.last: tuple[float, Lag] = (0.0, Lag())  # when it was measured by the loop's clock, and what it was

    async def run(self, pulse: Pulse) -> None:
        """Measure until the connection breaks; called again by Background."""
        shard = await stream.connect_stream(self._shard)
        try:
            while True:
                lag = await stream.measure(shard)
                self.last = (asyncio.get_running_loop().time(), lag)
                self._set(lag)
                pulse.beat()
                await asyncio.sleep(LAG_INTERVAL_S)
        finally:
            await shard.close()

    def forget(self) -> None:
        """The shard is no longer one of ours."""
        self._set(Lag())

    def _set(self, lag: Lag) -> None:
        shard_id = self._shard.id
        self._metrics.lag_frames.set(lag.frames, shard=shard_id)
        self._metrics.lag_bytes.set(lag.bytes, shard=shard_id)
        self._metrics.lag_seconds.set(lag.oldest_ms / 1000, shard=shard_id)
        self._metrics.pending.set(lag.pending, shard=shard_id)


@dataclass(slots=True)
class Member:
    """A shard whose stream is consumed; `left_s` is since when it is not in the topology any more."""

    shard: Shard
    watch: LagWatch
    left_s: float | None = None

    def is_drained(self, now_s: float) -> bool:
        """Whether no edge sends there any more, and everything was stored, or nobody has reached it for long."""
        if self.left_s is None or now_s - self.left_s < DRAIN_S:
            return False
        measured_s, lag = self.watch.last
        return now_s - max(measured_s, self.left_s) >= DRAIN_MAX_S or (measured_s > self.left_s and not lag.frames)


class Consumers:
    """Starts a consumer and a gauge for each shard of the topology in force, and tidies up.

    A shard that has left is consumed until its stream is empty. Edges send there for some seconds more, until they have
    the new topology, and what they sent and were not told about they then send again to another shard: so nothing is
    lost even if nobody drains it, as when control is started anew meanwhile, but it would come twice.
    """

    def __init__(self, tools: Tools, background: Background, keep: Keep, bell: Bell) -> None:
        self._tools = tools
        self._background = background
        self._keep = keep
        self._bell = bell
        self._name = consumer_name()
        self._members: dict[str, Member] = {}
        # Prometheus sees no increase in a series that begins with its first event, which may be the only one.
        tools.metrics.clicks.evicted.add(0)
        for reason in DEAD_REASONS:
            tools.metrics.clicks.dead.add(0, reason=reason)

    async def follow_topology(self, pulse: Pulse) -> None:
        """Have one consumer for each shard of the topology in force; what does not change goes on untouched."""
        while True:
            changed = self._bell.listen()
            async with self._tools.database.connection() as connection:
                topology = await shard_store.current(connection)
            if topology is not None:
                await self._follow(topology)
            pulse.beat()
            await heard(changed, TOPOLOGY_INTERVAL_S)

    async def tidy(self, pulse: Pulse) -> None:
        """Make partitions ahead, and remove what has had its time."""
        while True:
            await retention.tidy(self._tools.database, self._keep)
            pulse.beat()
            await asyncio.sleep(TIDY_INTERVAL_S)

    async def _follow(self, topology: Topology) -> None:
        now_s = asyncio.get_running_loop().time()
        wanted = {shard.id: shard for shard in topology.shards}
        for shard_id, member in list(self._members.items()):
            following = wanted.get(shard_id)
            if following is None and member.left_s is None:
                member.left_s = now_s
            elif following is not None:
                member.left_s = None
            if member.is_drained(now_s) or (following is not None and following.url != member.shard.url):
                await self._drop(shard_id)
        for shard in topology.shards:
            if shard.id not in self._members:
                self._consume(shard)

    def _consume(self, shard: Shard) -> None:
        watch = LagWatch(shard, self._tools.metrics)
        self._members[shard.id] = Member(shard, watch)
        self._background.start(f"clicks {shard.id}", Consumer(shard, self._name, self._tools).run)
        self._background.start(f"click lag {shard.id}", watch.run)

    async def _drop(self, shard_id: str) -> None:
        member = self._members.pop(shard_id)
        await self._background.stop_one(f"clicks {shard_id}")
        await self._background.stop_one(f"click lag {shard_id}")
        member.watch.forget()
