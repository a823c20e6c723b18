"""Storing a batch of frames: everything of it or nothing, each frame once (I3).

    look up identities ─▶ judge ─▶ decode, enrich, group ─▶ [ lock ─▶ look up again ─▶ merge ─▶ write ─▶ commit ]

What takes long is done before the lock, on identities that may be out of date by then: another consumer may have
committed one of these frames, which came over two shards. So they are read again under the lock, where nobody else can
change them, and a batch that would count something else than it had prepared is prepared anew. That happens at most as
often as it has frames: each time, one of them has become a duplicate.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final

import asyncpg

from control.clicks import books, dead_frames, merging, model, ranges, salts, store
from control.clicks._fold import Added, Batch, FoldError, Groups
from control.clicks.books import Counts
from control.clicks.dead_frames import DeadFrame
from control.clicks.enrichment import Enricher, Facts
from control.clicks.model import Arrival, Dead, Segment, SegmentKey, Verdict, Work
from control.config import ControlConfig
from control.db import Connection, Database
from control.errors import Error
from wire import FormatError
from wire.click import CLICK_BYTES_MIN
from wire.report import Report

# Frames behind these can be counted once what was wrong is repaired; the others' bytes are no frame.
_REPLAYABLE: Final = ("body", "overlap", "too_old", "too_new", "value", "frame", "checksum")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What of the settings concerns storing."""

    keeps_rows: bool
    segments_days: int
    dead_frames_max: int


def options_of(config: ControlConfig) -> Options:
    """What the settings say."""
    return Options(
        keeps_rows=config.clicks_raw == "on",
        segments_days=config.clicks_segments_days,
        dead_frames_max=config.clicks_dead_max,
    )


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a batch. `stored` frames and their clicks were counted by this batch's transaction."""

    stored: int = 0
    duplicates: int = 0
    clicks: int = 0
    unknown: int = 0
    dead: Counter[str] = field(default_factory=Counter)
    evicted: int = 0
    retries: int = 0
    # What the edges may delete: everything whose identity is known.
    acknowledged: list[Arrival] = field(default_factory=list)
    final: list[Report] = field(default_factory=list)
    batch: Batch | None = None


@dataclass(slots=True)
class _Prepared:
    """The frames of a verdict that can be counted, decoded and enriched, and those that cannot."""

    batch: Batch
    added: list[tuple[Arrival, Added]] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    links: Groups | None = None  # None without clicks
    rows: bytes | None = None  # None if they are not kept


class _StillDeadError(Exception):
    """Undoes the transaction of a replay."""


class Intake:
    """Stores batches. One for each process: its enricher is used in one thread."""

    def __init__(self, enricher: Enricher, options: Options) -> None:
        self._enricher = enricher
        self._options = options
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clicks")

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False)

    async def store(self, connection: Connection, work: Work) -> Outcome:
        """Store a batch, on a connection without a transaction.

        A frame whose values PostgreSQL refuses would make its batch fail for ever, so it is looked for, one by one, and
        laid aside.
        """
        try:
            return await self._store(connection, work)
        except asyncpg.DataError as error:
            if len(work.arrivals) > 1:
                return await self._store_singly(connection, work)
            if work.fault is not None or not work.arrivals:
                raise
            return await self._store(connection, replace(work, fault=str(error)))

    async def replay(self, connection: Connection, dead: DeadFrame) -> bool:
        """Try to count a dead frame; whether it is out of the dead letters now. Its way is that of every frame."""
        if dead.reason not in _REPLAYABLE:
            return False
        try:
            arrival = model.read_frame(dead.shard_id, dead.data)
        except FormatError:
            return False
        try:
            await self._store(connection, Work(arrivals=[arrival]), dead)
        except (_StillDeadError, asyncpg.DataError):
            return False
        return True

    async def _store_singly(self, connection: Connection, work: Work) -> Outcome:
        whole = await self._store(connection, replace(work, arrivals=[]))
        for arrival in work.arrivals:
            part = await self.store(connection, Work(arrivals=[arrival]))
            whole.acknowledged += part.acknowledged
            whole.dead += part.dead
            for name in ("stored", "duplicates", "clicks", "unknown", "evicted", "retries"):
                setattr(whole, name, getattr(whole, name) + getattr(part, name))
        return whole

    async def _store(self, connection: Connection, work: Work, replayed: DeadFrame | None = None) -> Outcome:
        verdict = await self._judge(connection, work, replayed)
        retries = 0
        while True:
            if replayed is None and not (verdict.fresh or verdict.dead or work.dead or work.reports):
                return Outcome(duplicates=len(verdict.duplicates), acknowledged=verdict.duplicates)
            prepared = await self._prepare(connection, verdict.fresh)
            async with connection.transaction():
                await store.begin_merge(connection)
                if replayed is not None and not await self._revive(connection, work.arrivals[0], replayed):
                    return Outcome(retries=retries)
                again = await self._judge(connection, work)
                if replayed is not None and (again.dead or prepared.dead):
                    raise _StillDeadError
                if again.fresh == verdict.fresh:
                    outcome = await self._write(connection, work, again, prepared)
                    outcome.retries = retries
                    return outcome
                if replayed is not None:
                    raise Error("not_ready", "the frame was counted meanwhile; replay it again")
            verdict = again
            retries += 1

    async def _judge(self, connection: Connection, work: Work, replayed: DeadFrame | None = None) -> Verdict:
        known = await store.segments(connection, [arrival.key for arrival in work.arrivals])
        if replayed is not None:
            known = _without(known, work.arrivals[0])
        now_ms = await store.clock_ms(connection)
        return model.judge(work, known, model.window(now_ms, self._options.segments_days))

    async def _prepare(self, connection: Connection, fresh: Sequence[Arrival]) -> _Prepared:
        run = asyncio.get_running_loop().run_in_executor
        prepared = await run(self._thread, _decode, fresh)
        batch = prepared.batch
        if len(batch) == 0:
            return prepared
        linked = await store.facts(connection, batch.link_ids())
        day_salts = await salts.of_days(connection, batch.days())
        hosts = await store.hosts(connection)
        await run(self._thread, self._enrich, prepared, linked, day_salts, hosts)
        return prepared

    def _enrich(
        self, prepared: _Prepared, linked: Sequence[Any], day_salts: dict[int, int], hosts: Sequence[str]
    ) -> None:
        """In one go: the enricher's numbers hold for one batch, and all consumers of the process share it."""
        enricher = self._enricher
        enricher.own(hosts)
        enricher.begin()
        facts = {
            row["id"]: Facts(
                tags=tuple(row["tags"]),
                campaign=(0, 0, 0) if row["target"] is None else enricher.target_campaign(row["target"]),
            )
            for row in linked
        }
        prepared.batch.enrich(enricher, facts, day_salts)
        prepared.links = prepared.batch.links()
        if self._options.keeps_rows:
            prepared.rows = prepared.batch.rows()

    async def _revive(self, connection: Connection, arrival: Arrival, replayed: DeadFrame) -> bool:
        """Take a dead frame out of the dead letters, as if it had never come; False if somebody else has."""
        if not await dead_frames.take(connection, replayed.id):
            return False
        known = (await store.segments(connection, [arrival.key])).get(arrival.key, Segment())
        if ranges.contains(known.dead, arrival.frame.start, arrival.end):
            await store.revive_range(connection, arrival)
            less = Counts(edge_id=arrival.frame.edge_id, dead=-replayed.clicks, dead_unknown=-replayed.unknown)
            await _settle(connection, {arrival.frame.writer: less}, [])
        return True

    async def _write(self, connection: Connection, work: Work, verdict: Verdict, prepared: _Prepared) -> Outcome:
        dead = [*work.dead, *verdict.dead, *prepared.dead]
        dead_arrivals = [one.arrival for one in dead if one.arrival is not None]
        stored = [arrival for arrival, _ in prepared.added]
        if stored or dead_arrivals:
            await store.add_ranges(connection, stored, dead_arrivals)
        if prepared.links is not None:
            await store.add_totals(connection, prepared.batch.totals())
            dead += await merging.merge(connection, prepared.batch, prepared.links)
        if prepared.rows is not None:
            await store.copy_rows(connection, prepared.rows)
        await _settle(connection, _counts(prepared.added, dead), work.reports)
        evicted = 0
        if dead:
            await dead_frames.insert(connection, dead)
            evicted = await dead_frames.evict(connection, self._options.dead_frames_max)
        return Outcome(
            stored=len(stored),
            duplicates=len(verdict.duplicates),
            clicks=sum(added.clicks for _, added in prepared.added),
            unknown=sum(added.unknown for _, added in prepared.added),
            dead=Counter(one.reason for one in dead),
            evicted=evicted,
            acknowledged=[*stored, *verdict.duplicates, *dead_arrivals],
            final=[report for report in work.reports if report.is_final],
            batch=prepared.batch,
        )


@dataclass(slots=True, kw_only=True)
class Replayed:
    """How far a replay has come, of how many dead frames."""

    total: int
    tried: int = 0
    revived: int = 0


async def replay(
    database: Database,
    intake: Intake,
    dead_ids: Sequence[int] | None = None,
    on_progress: Callable[[Replayed], None] = lambda _: None,
) -> Replayed:
    """Try to count the dead frames that are there now, or these; what cannot be counted stays, and counts nothing."""
    async with database.dedicated() as connection:
        ids = await dead_frames.ids(connection, dead_ids)
        progress = Replayed(total=len(ids))
        for dead_id in ids:
            dead = await dead_frames.find(connection, dead_id)
            progress.tried += 1
            progress.revived += dead is not None and await intake.replay(connection, dead)
            on_progress(progress)
    return progress


def _decode(fresh: Sequence[Arrival]) -> _Prepared:
    # No click is smaller, so there is always room.
    batch = Batch(max(1, sum(len(arrival.frame.body) for arrival in fresh) // CLICK_BYTES_MIN))
    prepared = _Prepared(batch)
    for arrival in fresh:
        try:
            prepared.added.append((arrival, batch.add(arrival.frame.body)))
        except FoldError as error:
            prepared.dead.append(model.dead_of(arrival, "body", str(error)))
    return prepared


def _without(known: dict[SegmentKey, Segment], arrival: Arrival) -> dict[SegmentKey, Segment]:
    segment = known.get(arrival.key, Segment())
    dead = ranges.removed(segment.dead, arrival.frame.start, arrival.end)
    return {arrival.key: replace(segment, dead=dead)}


def _counts(added: Sequence[tuple[Arrival, Added]], dead: Sequence[Dead]) -> dict[int, Counts]:
    """What a batch adds to the books, by writer."""
    counts: dict[int, Counts] = {}

    def count(arrival: Arrival, more: Counts) -> None:
        writer = arrival.frame.writer
        counts[writer] = counts[writer].plus(more) if writer in counts else more

    for arrival, one in added:
        count(arrival, Counts(edge_id=arrival.frame.edge_id, stored=one.clicks, stored_unknown=one.unknown))
    for one_dead in dead:
        if one_dead.arrival is not None:
            clicks, unknown = dead_frames.tell_clicks(one_dead.arrival.frame.body)
            edge_id = one_dead.arrival.frame.edge_id
            count(one_dead.arrival, Counts(edge_id=edge_id, dead=clicks, dead_unknown=unknown))
    return counts


async def _settle(connection: Connection, counts: dict[int, Counts], reports: Sequence[Report]) -> None:
    writers = counts.keys() | {report.writer for report in reports}
    if writers:
        known = await store.books(connection, writers)
        await store.save_books(connection, books.settle(known, counts, reports))
