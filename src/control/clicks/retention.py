"""How long what is kept: partitions are dropped as a whole, rows of the other tables in bounded steps.

`plan` says what would go, `apply` lets it go; the background does both again and again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from control.clicks import partitions, salts
from control.clicks.partitions import LINK_DAYS, ROWS, Month, Table
from control.config import ControlConfig
from control.db import Connection, Database

# Of one statement: some tens of milliseconds.
STEP_ROWS_MAX: Final = 5000
# A frame is refused by the age of its segment; the identities stay longer by what clocks and slow batches may differ.
SEGMENTS_MARGIN_DAYS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Days for which the tables keep what they have."""

    raw: int
    links: int
    scopes: int
    unknown: int
    segments: int
    dead: int
    writers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Something that has had its time: a partition, or the rows of a table from before a day."""

    table: str
    before: date
    rows: int
    partition: str | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    table: str
    condition: str  # $1 is the first day that is kept, as a number or as an instant
    is_by_day: bool
    days: Callable[[Keep], int]


_RULES: Final = (
    _Rule("click_link_days_default", "day < $1", True, lambda keep: keep.links),
    _Rule("click_rows_default", "at < $1", False, lambda keep: keep.raw),
    _Rule("click_scope_days", "day < $1 AND scope <> 4", True, lambda keep: keep.scopes),
    _Rule("click_scope_days", "day < $1 AND scope = 4", True, lambda keep: keep.unknown),
    _Rule("click_salts", "day < $1", True, lambda _: salts.KEEP_DAYS),
    _Rule(
        "click_segments",
        "created_at < $1 AND updated_at < $1",
        False,
        lambda keep: keep.segments + SEGMENTS_MARGIN_DAYS,
    ),
    _Rule("click_dead_frames", "received_at < $1", False, lambda keep: keep.dead),
    _Rule("click_writers", "updated_at < $1", False, lambda keep: keep.writers),
)
_PARTITIONED: Final[tuple[tuple[Table, Callable[[Keep], int]], ...]] = (
    (LINK_DAYS, lambda keep: keep.links),
    (ROWS, lambda keep: keep.raw),
)


def keep_of(config: ControlConfig) -> Keep:
    """What the settings say."""
    return Keep(
        raw=config.clicks_raw_days,
        links=config.clicks_links_days,
        scopes=config.clicks_scopes_days,
        unknown=config.clicks_unknown_days,
        segments=config.clicks_segments_days,
        dead=config.clicks_dead_days,
        writers=config.clicks_writers_days,
    )


async def plan(database: Database, keep: Keep, now: datetime) -> list[Removal]:
    """What has had its time. Rows of partitions are PostgreSQL's estimate, others are counted."""
    async with database.connection() as connection:
        today = await _today(connection, now)
        removals = []
        for table, days in _PARTITIONED:
            first = today - timedelta(days=days(keep))
            for month in await _past(connection, table, first):
                name = partitions.partition_name(table, month)
                rows = await connection.fetchval(
                    "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass($1)", name
                )
                removals.append(Removal(table=table.name, before=first, rows=max(0, rows), partition=name))
        for rule in _RULES:
            first = today - timedelta(days=rule.days(keep))
            query = f"SELECT count(*) FROM {rule.table} WHERE {rule.condition}"  # noqa: S608 (constants)
            if rows := await connection.fetchval(query, _bound(rule, first)):
                removals.append(Removal(table=rule.table, before=first, rows=rows))
    return removals


async def apply(
    database: Database, keep: Keep, now: datetime, on_removed: Callable[[str, int], None] = lambda *_: None
) -> None:
    """Let go of what has had its time; `on_removed` hears of each step: the table or partition, and how many rows."""
    async with database.connection() as connection:
        today = await _today(connection, now)
    for table, days in _PARTITIONED:
        async with database.connection() as connection:
            past = await _past(connection, table, today - timedelta(days=days(keep)))
        for month in past:
            if await partitions.drop(database, table, month):
                on_removed(partitions.partition_name(table, month), 0)
    for rule in _RULES:
        bound = _bound(rule, today - timedelta(days=rule.days(keep)))
        count = STEP_ROWS_MAX
        while count == STEP_ROWS_MAX:
            async with database.transaction() as connection:
                count = await _remove_step(connection, rule, bound)
            on_removed(rule.table, count)


async def tidy(database: Database, keep: Keep, now: datetime | None = None) -> None:
    """Make partitions ahead, and let go of what has had its time. Any number of processes may do it at once."""
    instant = now or datetime.now(UTC)
    today = partitions.today(instant)
    for table, days in _PARTITIONED:
        # No click can be older than its segment; what has a partition already needs no other.
        first = today - timedelta(days=min(days(keep), keep.segments))
        await partitions.make(database, table, partitions.wanted(first, today))
    await apply(database, keep, instant)


async def _today(connection: Connection, now: datetime) -> date:
    """By the clock that is behind, ours or PostgreSQL's: what one that is a year ahead lets go does not come back."""
    instant: datetime = await connection.fetchval("SELECT now()")
    return partitions.today(min(now, instant))


async def _past(connection: Connection, table: Table, first: date) -> list[Month]:
    """The partitions that end before the first day that is kept, or with it."""
    return [month for month in await partitions.existing(connection, table) if month.next().first <= first]


async def _remove_step(connection: Connection, rule: _Rule, bound: Any) -> int:
    """At most STEP_ROWS_MAX rows. Those that a batch has locked are left for the next time: nobody waits."""
    status: str = await connection.execute(
        f"""
        DELETE FROM {rule.table} WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM {rule.table} WHERE {rule.condition} LIMIT {STEP_ROWS_MAX} FOR UPDATE SKIP LOCKED
        ))
        """,  # noqa: S608 (constants)
        bound,
    )
    return int(status.rpartition(" ")[2])


def _bound(rule: _Rule, first: date) -> int | datetime:
    return partitions.day_of(first) if rule.is_by_day else datetime.combine(first, time(), UTC)
