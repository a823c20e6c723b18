"""SQL of what a batch of frames writes: identities, totals, day documents, raw rows, writers."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import asyncpg

from control.clicks._fold import LINK_SCOPE
from control.clicks.books import Book
from control.clicks.model import Arrival, Segment, SegmentKey
from control.clicks.ranges import Ranges
from control.db import Connection

# "pnts", "clck" in ASCII: the transaction lock of whoever merges into the rollups.
_MERGE_LOCK: Final = 0x706E7473636C636B
# Others hold it for about a second each; with ten of them waiting a statement's ten seconds could be over.
LOCK_TIMEOUT_S: Final = 60.0
# What a merge may compute between two statements; most take a tenth of a second. A process that was stopped or whose
# machine was paused, and one to which the way is cut, would keep all others waiting until somebody ends it. PostgreSQL
# ends its session instead, which undoes what it did. Half of LOCK_TIMEOUT_S: whoever waits gets the lock in time.
SILENCE_MS_MAX: Final = 30_000
# Rows of one statement: about half a second, far from the ten that it may take.
PAGE_ROWS: Final = 20_000
# One COPY has all rows of a batch: seconds where the disk is fast, and the smaller batches of a retry cost more.
COPY_TIMEOUT_S: Final = 60.0
# Of a link's clicks on one day; the document holds more, and 2^31 are 25,000 a second all day long.
LINK_DAY_CLICKS_MAX: Final = 2**31 - 1
_BOOK_COLUMNS: Final = (
    "writer, edge_id, (extract(epoch FROM started_at) * 1000)::bigint AS started_ms, "
    "(extract(epoch FROM reported_at) * 1000)::bigint AS reported_ms, recorded, dropped, unknown_recorded, "
    "unknown_dropped, stored, stored_unknown, dead, dead_unknown, is_final"
)
# What enrichment needs to know of links. Most targets have no campaign and stay where they are.
_FACTS: Final = (
    "SELECT id, tags, CASE WHEN target LIKE '%utm_%' THEN target END AS target FROM links WHERE id = ANY ($1)"
)

DocumentKey = tuple[int, int]
"""Subject and day."""


async def begin_merge(connection: Connection) -> None:
    """Wait until no other transaction merges. What is read by the statements after this one cannot change any more.

    A frame is acknowledged when its transaction is committed, and then the edge deletes it: the commit must be on disk
    whatever the server's default is. And whoever falls silent loses the lock: PostgreSQL ends a session that sends no
    statement for SILENCE_MS_MAX; see also `end_silent_merge`.
    """
    await connection.execute(
        """
        SELECT set_config('synchronous_commit', 'on', true),
            set_config('idle_in_transaction_session_timeout', $2, true), pg_advisory_xact_lock($1)
        """,
        _MERGE_LOCK,
        str(SILENCE_MS_MAX),
        timeout=LOCK_TIMEOUT_S,
    )


async def end_silent_merge(connection: Connection) -> None:
    """End the session that holds the lock of `begin_merge` and is silent inside a statement.

    PostgreSQL itself does not look there: a COPY may lack its end, a statement its parameters, an answer a reader. No
    statement of a merge lasts longer than a COPY may; whoever waits for its client for longer has none.
    """
    await connection.execute(
        """
        SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE locktype = 'advisory' AND classid::bigint = $1::bigint >> 32 AND objid::bigint = $1 & 4294967295
            AND objsubid = 1 AND granted AND datname = current_database()
            AND wait_event_type = 'Client' AND state_change < clock_timestamp() - make_interval(secs => $2)
        """,
        _MERGE_LOCK,
        COPY_TIMEOUT_S,
    )


async def clock_ms(connection: Connection) -> int:
    """The instant by PostgreSQL's clock, which is one for all control processes; identities are kept by it too."""
    instant: int = await connection.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    return instant


async def segments(connection: Connection, keys: Iterable[SegmentKey]) -> dict[SegmentKey, Segment]:
    """What is known of these segments."""
    wanted = sorted(set(keys))
    rows = await connection.fetch(
        """
        SELECT writer, segment, committed, dead
        FROM unnest($1::bigint[], $2::integer[]) AS wanted(writer, segment) JOIN click_segments USING (writer, segment)
        """,
        [writer for writer, _ in wanted],
        [segment for _, segment in wanted],
    )
    return {
        (row["writer"], row["segment"]): Segment(committed=_ranges(row["committed"]), dead=_ranges(row["dead"]))
        for row in rows
    }


async def add_ranges(connection: Connection, committed: Sequence[Arrival], dead: Sequence[Arrival]) -> None:
    """Note which frames are counted, and which are in the dead letters."""
    arrivals = [*committed, *dead]
    await connection.execute(
        """
        INSERT INTO click_segments AS known (writer, segment, edge_id, created_at, committed, dead)
        SELECT writer, segment, min(edge_id),
            to_timestamp(least(min(created_ms), extract(epoch FROM now()) * 1000) / 1000.0),
            coalesce(range_agg(int4range(low, high)) FILTER (WHERE NOT is_dead), '{}'),
            coalesce(range_agg(int4range(low, high)) FILTER (WHERE is_dead), '{}')
        FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::bigint[], $5::integer[], $6::integer[], $7::boolean[])
            AS frames(writer, segment, edge_id, created_ms, low, high, is_dead)
        GROUP BY writer, segment ORDER BY writer, segment
        ON CONFLICT (writer, segment) DO UPDATE SET updated_at = now(),
            committed = known.committed + excluded.committed, dead = known.dead + excluded.dead
        """,
        [arrival.frame.writer for arrival in arrivals],
        [arrival.frame.segment for arrival in arrivals],
        [arrival.frame.edge_id for arrival in arrivals],
        [arrival.frame.created_ms for arrival in arrivals],
        [arrival.frame.start for arrival in arrivals],
        [arrival.end for arrival in arrivals],
        [False] * len(committed) + [True] * len(dead),
    )


async def revive_range(connection: Connection, arrival: Arrival) -> None:
    """Forget that a frame was dead, so that it can be judged anew."""
    await connection.execute(
        "UPDATE click_segments SET dead = dead - int4multirange(int4range($3, $4)) WHERE writer = $1 AND segment = $2",
        *arrival.key,
        arrival.frame.start,
        arrival.end,
    )


async def facts(connection: Connection, link_ids: Sequence[int]) -> list[Any]:
    """(id, tags, target if it may name a campaign) of the links that are there."""
    rows: list[Any] = []
    for page in _pages(link_ids):
        rows += await connection.fetch(_FACTS, page)
    return rows


async def hosts(connection: Connection) -> list[str]:
    """The hosts of our domains."""
    return [row["host"] for row in await connection.fetch("SELECT host FROM domains")]


async def add_totals(connection: Connection, totals: Sequence[tuple[int, int, int, int, int, int, int]]) -> None:
    """Add to the links' totals: (link id, humans, bots, previews, heads, first ms, last ms) each."""
    for page in _pages(totals):
        await connection.execute(
            """
            INSERT INTO click_totals AS known (link_id, clicks, humans, bots, previews, heads, first_at, last_at)
            SELECT link_id, humans + bots, humans, bots, previews, heads,
                to_timestamp(first_ms / 1000.0), to_timestamp(last_ms / 1000.0)
            FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                $7::bigint[]) AS added(link_id, humans, bots, previews, heads, first_ms, last_ms)
            ON CONFLICT (link_id) DO UPDATE SET clicks = known.clicks + excluded.clicks,
                humans = known.humans + excluded.humans, bots = known.bots + excluded.bots,
                previews = known.previews + excluded.previews, heads = known.heads + excluded.heads,
                first_at = least(known.first_at, excluded.first_at), last_at = greatest(known.last_at, excluded.last_at)
            """,
            *map(list, zip(*page, strict=True)),
        )


async def documents(connection: Connection, scope: int, keys: Sequence[DocumentKey]) -> list[bytes | None]:
    """The day documents of a scope's subjects, in the order of the keys."""
    subjects, days = map(list, zip(*keys, strict=True))
    if scope == LINK_SCOPE:
        rows = await connection.fetch(
            """
            SELECT link_id AS subject, day, document FROM unnest($1::bigint[], $2::integer[]) AS wanted(link_id, day)
            JOIN click_link_days USING (link_id, day)
            WHERE day BETWEEN $3 AND $4  -- by which PostgreSQL leaves out the partitions of other months
            """,
            subjects,
            days,
            min(days),
            max(days),
        )
    else:
        rows = await connection.fetch(
            """
            SELECT subject, day, document FROM unnest($2::bigint[], $3::integer[]) AS wanted(subject, day)
            JOIN click_scope_days USING (subject, day) WHERE scope = $1
            """,
            scope,
            subjects,
            days,
        )
    found = {(row["subject"], row["day"]): row["document"] for row in rows}
    return [found.get(key) for key in keys]


async def save_documents(
    connection: Connection, scope: int, keys: Sequence[DocumentKey], clicks: Sequence[int], merged: Sequence[bytes]
) -> None:
    """Put merged documents in their place; `clicks` is what they have."""
    subjects, days = map(list, zip(*keys, strict=True))
    if scope == LINK_SCOPE:
        await connection.execute(
            """
            INSERT INTO click_link_days (link_id, day, clicks, document)
            SELECT * FROM unnest($1::bigint[], $2::integer[], $3::integer[], $4::bytea[])
            ON CONFLICT (link_id, day) DO UPDATE SET clicks = excluded.clicks, document = excluded.document
            """,
            subjects,
            days,
            [min(count, LINK_DAY_CLICKS_MAX) for count in clicks],
            merged,
        )
    else:
        await connection.execute(
            """
            INSERT INTO click_scope_days (scope, subject, day, clicks, document)
            SELECT $1, * FROM unnest($2::bigint[], $3::integer[], $4::bigint[], $5::bytea[])
            ON CONFLICT (scope, subject, day) DO UPDATE SET clicks = excluded.clicks, document = excluded.document
            """,
            scope,
            subjects,
            days,
            clicks,
            merged,
        )


async def copy_rows(connection: Connection, rows: bytes) -> None:
    """Append raw clicks, in COPY's binary format."""
    await connection.copy_to_table("click_rows", source=io.BytesIO(rows), format="binary", timeout=COPY_TIMEOUT_S)


async def books(connection: Connection, writers: Iterable[int]) -> list[Book]:
    """The books of these writers, as far as they have any."""
    rows = await connection.fetch(
        f"SELECT {_BOOK_COLUMNS} FROM click_writers WHERE writer = ANY ($1)",  # noqa: S608 (constant)
        sorted(set(writers)),
    )
    return [Book(**{**row, "dropped": json.loads(row["dropped"])}) for row in map(dict, rows)]


async def save_books(connection: Connection, settled: Sequence[Book]) -> None:
    """Replace them."""
    columns: Mapping[str, str] = {
        "writer": "bigint",
        "edge_id": "text",
        "started_ms": "bigint",
        "reported_ms": "bigint",
        "recorded": "bigint",
        "dropped": "text",
        "unknown_recorded": "bigint",
        "unknown_dropped": "bigint",
        "stored": "bigint",
        "stored_unknown": "bigint",
        "dead": "bigint",
        "dead_unknown": "bigint",
        "is_final": "boolean",
    }
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(columns.values(), 1))
    await connection.execute(
        f"""
        INSERT INTO click_writers (writer, edge_id, started_at, reported_at, recorded, dropped, unknown_recorded,
            unknown_dropped, stored, stored_unknown, dead, dead_unknown, is_final)
        SELECT writer, edge_id, to_timestamp(started_ms / 1000.0), to_timestamp(reported_ms / 1000.0), recorded,
            dropped::jsonb, unknown_recorded, unknown_dropped, stored, stored_unknown, dead, dead_unknown, is_final
        FROM unnest({arrays}) AS books({", ".join(columns)})
        ON CONFLICT (writer) DO UPDATE SET updated_at = now(), edge_id = excluded.edge_id,
            started_at = excluded.started_at, reported_at = excluded.reported_at, recorded = excluded.recorded,
            dropped = excluded.dropped, unknown_recorded = excluded.unknown_recorded,
            unknown_dropped = excluded.unknown_dropped, stored = excluded.stored,
            stored_unknown = excluded.stored_unknown, dead = excluded.dead, dead_unknown = excluded.dead_unknown,
            is_final = excluded.is_final
        """,  # noqa: S608 (constants)
        *(
            [json.dumps(book.dropped) if name == "dropped" else getattr(book, name) for book in settled]
            for name in columns
        ),
    )


def _ranges(value: Sequence["asyncpg.Range"]) -> Ranges:
    return tuple((part.lower, part.upper) for part in value)


def _pages(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), PAGE_ROWS):
        yield rows[start : start + PAGE_ROWS]
