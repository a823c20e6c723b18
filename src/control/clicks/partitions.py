"""The monthly partitions of click_link_days and click_rows: made ahead, and dropped as a whole.

What comes before its partition is there waits in the default one, and is moved when the partition is made: PostgreSQL
refuses a partition whose rows are in the default one. Both happen under the lock of those who merge, so no row can be
added in between.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Self

import asyncpg

from control.clicks import store
from control.db import Connection, Database

AHEAD_MONTHS: Final = 2
# For whoever reads the table while a partition comes or goes. A query that takes longer is left alone until the next
# time: an export may take an hour, and storing waits for whoever makes a partition.
LOCK_TIMEOUT_MS: Final = 1000
# Moving what came too early: a month of rows at worst, when control was not running.
MOVE_TIMEOUT_S: Final = 600.0
_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Table:
    """A partitioned table and how its column says when."""

    name: str
    column: str
    is_by_day: bool
    storage: str = ""

    def bound(self, first: date) -> str:
        """The literal of the beginning of a day."""
        return str(day_of(first)) if self.is_by_day else f"'{first.isoformat()} 00:00:00+00'"


# Documents are replaced again and again: a page with room takes the new one without touching the index.
LINK_DAYS: Final = Table("click_link_days", "day", is_by_day=True, storage=" WITH (fillfactor = 70)")
ROWS: Final = Table("click_rows", "at", is_by_day=False)


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A month of the calendar, in UTC."""

    year: int
    month: int

    @classmethod
    def of(cls, day: date) -> Self:
        """The month of a day."""
        return cls(day.year, day.month)

    @property
    def first(self) -> date:
        """Its first day."""
        return date(self.year, self.month, 1)

    def next(self) -> "Month":
        """The month after it."""
        return Month.of(self.first + timedelta(days=31))


def day_of(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - _EPOCH).days


def date_of(day: int) -> date:
    """The date of a number of days since 1970-01-01."""
    return _EPOCH + timedelta(days=day)


def today(now: datetime) -> date:
    """The day in UTC."""
    return now.astimezone(UTC).date()


def partition_name(table: Table, month: Month) -> str:
    """What the partition of a month is called."""
    return f"{table.name}_{month.year:04}{month.month:02}"


def wanted(first: date, now: date) -> list[Month]:
    """The months from that of `first` on that should be there now."""
    last = Month.of(now)
    for _ in range(AHEAD_MONTHS):
        last = last.next()
    months = [Month.of(first)]
    while months[-1] < last:
        months.append(months[-1].next())
    return months


async def existing(connection: Connection, table: Table) -> list[Month]:
    """The months that have a partition, ascending."""
    rows = await connection.fetch(
        """
        SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = to_regclass($1) ORDER BY relname
        """,
        table.name,
    )
    pattern = re.compile(rf"{table.name}_(\d{{4}})(\d{{2}})")
    matches = (pattern.fullmatch(row["relname"]) for row in rows)
    return [Month(int(match[1]), int(match[2])) for match in matches if match]


async def make(database: Database, table: Table, months: list[Month]) -> int:
    """Make the partitions that are missing; returns how many.

    One that readers are in the way of waits for another time, and what belongs there in the default one.
    """
    async with database.connection() as connection:
        there = set(await existing(connection, table))
    made = 0
    for month in months:
        if month not in there:
            try:
                async with database.transaction() as connection:
                    made += await _make(connection, table, month)
            except asyncpg.LockNotAvailableError:
                break
    return made


async def drop(database: Database, table: Table, month: Month) -> bool:
    """Drop a month; False if somebody reads the table for too long."""
    name = partition_name(table, month)
    try:
        async with database.transaction() as connection:
            await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
            await connection.execute(f"DROP TABLE IF EXISTS {name}")
    except asyncpg.LockNotAvailableError:
        return False
    return True


async def _make(connection: Connection, table: Table, month: Month) -> bool:
    name = partition_name(table, month)
    await store.begin_merge(connection)
    if month in await existing(connection, table):
        return False  # another control process was quicker
    await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
    # What moving and attaching would wait for in the end, before anything was moved.
    await connection.execute(f"LOCK TABLE {table.name}_default IN ACCESS EXCLUSIVE MODE")
    low, high = table.bound(month.first), table.bound(month.next().first)
    await connection.execute(f"CREATE TABLE {name} (LIKE {table.name} INCLUDING ALL){table.storage}")
    await connection.execute(
        f"""
        WITH moved AS (
            DELETE FROM {table.name}_default WHERE {table.column} >= {low} AND {table.column} < {high} RETURNING *
        )
        INSERT INTO {name} SELECT * FROM moved
        """,  # noqa: S608 (names and dates of ours)
        timeout=MOVE_TIMEOUT_S,
    )
    await connection.execute(
        f"ALTER TABLE {table.name} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})", timeout=MOVE_TIMEOUT_S
    )
    return True
