"""Partitions are there before they are needed, and what has had its time goes, and nothing else."""

import asyncio
import itertools
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from control.clicks import partitions, retention, store
from control.clicks.partitions import LINK_DAYS, ROWS, Month, day_of
from control.clicks.retention import Keep
from tests.control.clicks.depot import OPTIONS, Depot, Segment, plain_sum, play, some_frames

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TODAY = day_of(NOW.date())
DAY_MS = 86_400_000
KEEP = Keep(raw=40, links=100, scopes=200, unknown=50, segments=35, dead=60, writers=300)
ROWS_KEPT = replace(OPTIONS, keeps_rows=True, segments_days=10_000)


def _names(months: list[Month]) -> list[str]:
    return [f"{month.year}-{month.month}" for month in months]


def test_partitions_are_made_ahead(database_url: str) -> None:
    """From the oldest click that may still come to two months from now; made once, whoever comes first."""

    async def work(depot: Depot) -> None:
        await asyncio.gather(*(retention.tidy(depot.database, KEEP, NOW) for _ in range(3)))
        async with depot.database.connection() as connection:
            for table in (LINK_DAYS, ROWS):
                months = await partitions.existing(connection, table)
                assert _names(months) == ["2026-2", "2026-3", "2026-4", "2026-5"]
        later = NOW + timedelta(days=40)
        await retention.tidy(depot.database, KEEP, later)
        async with depot.database.connection() as connection:
            assert _names(await partitions.existing(connection, LINK_DAYS))[-1] == "2026-6"

    play(database_url, [], work)


def test_what_came_before_its_partition_is_moved_into_it(database_url: str) -> None:
    """Strays wait in the default partition; afterwards they count on, in their own one."""
    segment = Segment()
    frames = [segment.cut([1, 2], TODAY * DAY_MS), segment.cut([1], (TODAY + 3000) * DAY_MS)]

    async def work(depot: Depot) -> None:
        await depot.store(*frames)
        assert await _where(depot) == {"click_link_days_default": 3, "click_rows_default": 3}
        await retention.tidy(depot.database, KEEP, NOW)
        expected = {
            "click_link_days_202603": 2,
            "click_link_days_default": 1,
            "click_rows_202603": 2,
            "click_rows_default": 1,
        }
        assert await _where(depot) == expected
        more = segment.cut([1], TODAY * DAY_MS)
        await depot.store(more)
        assert await depot.totals() == plain_sum([*frames, more])

    play(database_url, [], work, ROWS_KEPT)


def test_making_partitions_does_not_race_with_batches(database_url: str) -> None:
    """Batches go on while their rows are moved."""
    frames = some_frames(21, 60)

    async def work(depot: Depot) -> None:
        await depot.store(*frames[:10])
        batches = (depot.store(*frames[at : at + 10]) for at in range(10, 60, 10))
        await asyncio.gather(retention.tidy(depot.database, KEEP), retention.tidy(depot.database, KEEP), *batches)
        assert await depot.totals() == plain_sum(frames)
        assert not [name for name in await _where(depot) if name.endswith("default")]

    play(database_url, [], work, ROWS_KEPT)


def _aged(days: int) -> datetime:
    return datetime.combine(NOW.date() - timedelta(days=days), datetime.min.time(), UTC)


_INSERTS = (
    (
        KEEP.segments + 2,
        "INSERT INTO click_segments (created_at, updated_at, writer, segment, edge_id) VALUES ($1, $1, 1, $2, 'e')",
    ),
    (
        KEEP.dead,
        "INSERT INTO click_dead_frames (received_at, shard_id, reason, message, data, sha256) "
        "VALUES ($1, 's', 'body', '', '', sha256($2::integer::text::bytea))",
    ),
    (KEEP.writers, "INSERT INTO click_writers (updated_at, writer, edge_id) VALUES ($1, $2, 'e')"),
)


async def _fill(depot: Depot) -> None:
    """One row just kept and one just not, in each table."""
    for kept, query in _INSERTS:
        for age in (kept, kept + 1):
            await depot.rows(query, _aged(age), age)
    for scope, kept in ((1, KEEP.scopes), (4, KEEP.unknown)):
        for age in (kept, kept + 1):
            await depot.rows("INSERT INTO click_scope_days VALUES ($1, 1, $2, 1, '')", scope, TODAY - age)
    for age in (2, 3):
        await depot.rows("INSERT INTO click_salts VALUES ($1, 1)", TODAY - age)


COUNTS = {"click_segments": 1, "click_dead_frames": 1, "click_writers": 1, "click_scope_days": 2, "click_salts": 1}


def test_each_table_keeps_what_its_setting_says(database_url: str) -> None:
    """The plan says what would go and changes nothing; then just that goes."""

    async def work(depot: Depot) -> None:
        await _fill(depot)
        planned = await retention.plan(depot.database, KEEP, NOW)
        assert sorted((removal.table, removal.rows) for removal in planned) == sorted(
            [(table, 1) for table in COUNTS] + [("click_scope_days", 1)]
        )
        for table, kept in COUNTS.items():
            assert await depot.rows(f"SELECT count(*) FROM {table}") == [(2 * kept,)]
        removed: dict[str, int] = {}

        def on_removed(name: str, rows: int) -> None:
            removed[name] = removed.get(name, 0) + rows

        await retention.apply(depot.database, KEEP, NOW, on_removed)
        assert {name: count for name, count in removed.items() if count} == COUNTS
        assert await retention.plan(depot.database, KEEP, NOW) == []
        for table, kept in COUNTS.items():
            assert await depot.rows(f"SELECT count(*) FROM {table}") == [(kept,)]

    play(database_url, [], work)


def test_a_clock_that_is_ahead_removes_nothing(database_url: str) -> None:
    """The one that is behind decides, ours or PostgreSQL's; here it is PostgreSQL's."""
    segment = Segment()

    async def work(depot: Depot) -> None:
        await retention.tidy(depot.database, KEEP)
        await depot.store(segment.cut([1]))
        kept = await _where(depot)
        ahead = datetime.now(UTC) + timedelta(days=1000)
        assert await retention.plan(depot.database, KEEP, ahead) == []
        await retention.apply(depot.database, KEEP, ahead)
        assert await _where(depot) == kept
        assert await depot.rows("SELECT count(*) FROM click_segments") == [(1,)]
        assert await depot.rows("SELECT count(*) FROM click_salts") == [(1,)]

    play(database_url, [], work)


def test_partitions_go_as_a_whole_when_all_of_them_is_old(database_url: str) -> None:
    """A month of which a day is kept stays; strays of the default partition go by the day."""
    segment = Segment()
    days = [date(2026, 1, 31), date(2026, 2, 1), date(2010, 1, 1)]
    frames = [segment.cut([1], day_of(day) * DAY_MS) for day in days]

    async def work(depot: Depot) -> None:
        for table in (LINK_DAYS, ROWS):
            await partitions.make(depot.database, table, [Month(2026, 1), Month(2026, 2)])
        await depot.store(*frames)
        keep = replace(KEEP, raw=20, links=37)  # from 2026-02-18 and 2026-02-01
        planned = await retention.plan(depot.database, keep, NOW)
        assert {(one.table, one.partition) for one in planned if "default" not in one.table} >= {
            ("click_link_days", "click_link_days_202601"),
            ("click_rows", "click_rows_202601"),
        }
        await retention.apply(depot.database, keep, NOW)
        assert await _where(depot) == {"click_link_days_202602": 1, "click_rows_202602": 1}
        assert await depot.rows("SELECT clicks FROM click_totals") == [(3,)]

    play(database_url, [], work, ROWS_KEPT)


def test_partition_that_is_being_read_is_left_for_the_next_time(database_url: str) -> None:
    """Nobody waits behind a drop that waits for a long query."""

    async def work(depot: Depot) -> None:
        await partitions.make(depot.database, ROWS, [Month(2020, 1)])
        reader = await asyncpg.connect(database_url)
        await reader.execute("BEGIN; SELECT count(*) FROM click_rows")
        await retention.apply(depot.database, KEEP, NOW)
        async with depot.database.connection() as connection:
            assert _names(await partitions.existing(connection, ROWS)) == ["2020-1"]
        await reader.close()
        await retention.apply(depot.database, KEEP, NOW)
        async with depot.database.connection() as connection:
            assert await partitions.existing(connection, ROWS) == []

    play(database_url, [], work)


def test_partition_that_readers_are_in_the_way_of_is_made_another_time(database_url: str) -> None:
    """Nor does storing wait behind one that waits for a long export."""

    async def work(depot: Depot) -> None:
        reader = await asyncpg.connect(database_url)
        await reader.execute("BEGIN; SELECT count(*) FROM click_rows")
        assert await partitions.make(depot.database, ROWS, [Month(2020, 1), Month(2020, 2)]) == 0
        async with depot.database.transaction() as connection:
            await store.begin_merge(connection)
            assert await partitions.existing(connection, ROWS) == []
        await reader.close()
        assert await partitions.make(depot.database, ROWS, [Month(2020, 1), Month(2020, 2)]) == 2

    play(database_url, [], work)


@pytest.mark.parametrize(
    ("now", "expected"),
    [(date(2026, 12, 31), "2027-2"), (date(2026, 1, 31), "2026-3"), (date(2028, 2, 29), "2028-4")],
)
def test_months_follow_the_calendar(now: date, expected: str) -> None:
    """Over the turn of a year and short months."""
    months = partitions.wanted(now - timedelta(days=35), now)
    assert _names(months)[-1] == expected
    assert all(first.next() == second for first, second in itertools.pairwise(months))


async def _where(depot: Depot) -> dict[str, int]:
    """Rows by partition."""
    rows = await depot.rows(
        "SELECT tableoid::regclass::text, count(*) FROM click_link_days GROUP BY 1 "
        "UNION ALL SELECT tableoid::regclass::text, count(*) FROM click_rows GROUP BY 1"
    )
    return dict(rows)
