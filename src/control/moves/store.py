"""SQL of moves and of what happened in them.

What a driver changes, it changes only as long as its token is the row's. What an operator asks for is a flag in the
row, so that any control process can take the request.
"""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from control.db import Connection, LockKind
from control.moves import steps
from control.moves.model import Move, MoveEvent, Plan, Wanted
from control.moves.plan import Size
from control.moves.steps import STEPS
from control.projection import store as projection_store
from wire import topology as wire_topology

# Whoever drives holds it.
DRIVER_LOCK: Final = LockKind.DRIVER
# PostgreSQL ends the session of a driver that says nothing for this long (stopped, or on a machine that is away) and
# frees its lock. It says something every few seconds.
DRIVER_SILENT_MAX_S: Final = 15
# The same within a transaction, which may keep projectors waiting.
_TRANSACTION_IDLE_MAX: Final = "5s"
# A move has some twenty events; one that copies anew again and again, or is paused by a script, has any number.
EVENTS_MAX: Final = 1000
_SAMPLED_LINKS: Final = 1000

_MOVE: Final = (
    "id, kind, shard_id, phase, extract(epoch FROM clock_timestamp() - phase_since)::float8 AS phase_s, is_paused, "
    "is_reversed, wanted, lost, waits_for, waits_since, error, driver, epoch, before, after, plan::text AS plan, "
    "work::text AS work, created_at, updated_at, ended_at"
)


async def try_driver_lock(connection: Connection) -> bool:
    """Become the one driver until the connection ends, or until this process is silent for too long."""
    await connection.execute(f"SET idle_session_timeout = '{DRIVER_SILENT_MAX_S}s'")
    taken: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1, 0)", DRIVER_LOCK)
    return taken


async def say_something(connection: Connection) -> None:
    """Keep the session that holds the driver's lock."""
    await connection.execute("SELECT 1")


async def take_over(connection: Connection) -> Move | None:
    """The move under way, with a new token that makes all earlier drivers strangers; None if there is none."""
    row = await connection.fetchrow(
        f"UPDATE moves SET driver = driver + 1 WHERE ended_at IS NULL RETURNING {_MOVE}"  # noqa: S608 (constant)
    )
    return _move(row) if row else None


async def insert(connection: Connection, planned: Plan, summary: dict[str, Any]) -> int:
    """A new move in its first phase."""
    move_id: int = await connection.fetchval(
        """
        INSERT INTO moves (kind, shard_id, phase, epoch, before, after, plan)
        VALUES ($1, $2, 'planned', $3, $4, $5, $6) RETURNING id
        """,
        planned.kind,
        planned.shard_id,
        planned.before.epoch,
        wire_topology.encode(planned.before).decode(),
        wire_topology.encode(planned.after).decode(),
        orjson.dumps(summary).decode(),
    )
    return move_id


async def get(connection: Connection, move_id: int) -> Move | None:
    """A move; None if there is none of this id."""
    row = await connection.fetchrow(f"SELECT {_MOVE} FROM moves WHERE id = $1", move_id)  # noqa: S608 (constant)
    return _move(row) if row else None


async def get_for_update(connection: Connection, move_id: int) -> Move | None:
    """The same, locked until the transaction ends: a driver's step comes before what follows, or after it."""
    await _limit_idle(connection)
    row = await connection.fetchrow(f"SELECT {_MOVE} FROM moves WHERE id = $1 FOR UPDATE", move_id)  # noqa: S608 (constant)
    return _move(row) if row else None


async def under_way(connection: Connection) -> int | None:
    """The id of the move under way."""
    move_id: int | None = await connection.fetchval("SELECT id FROM moves WHERE ended_at IS NULL")
    return move_id


async def page(connection: Connection, before: int | None, limit: int) -> list[Move]:
    """Moves, newest first, older than `before`."""
    rows = await connection.fetch(
        f"SELECT {_MOVE} FROM moves WHERE $1::bigint IS NULL OR id < $1 ORDER BY id DESC LIMIT $2",  # noqa: S608 (constant)
        before,
        limit,
    )
    return [_move(row) for row in rows]


async def events(connection: Connection, move_id: int) -> list[MoveEvent]:
    """The history of a move, oldest first; of a very long one its end."""
    rows = await connection.fetch(
        """
        SELECT number, at, event, phase, epoch, detail::text AS detail FROM (
            SELECT * FROM move_events WHERE move_id = $1 ORDER BY number DESC LIMIT $2
        ) AS newest
        ORDER BY number
        """,
        move_id,
        EVENTS_MAX,
    )
    return [MoveEvent(**{**dict(row), "detail": orjson.loads(row["detail"])}) for row in rows]


async def add_event(connection: Connection, move: Move, event: str, detail: dict[str, Any]) -> None:
    """Note what happened; the row of the move must be locked."""
    await connection.execute(
        """
        INSERT INTO move_events (move_id, number, event, phase, epoch, detail)
        SELECT $1, 1 + coalesce((SELECT max(number) FROM move_events WHERE move_id = $1), 0), $2, $3, $4, $5
        """,
        move.id,
        event,
        move.phase,
        move.epoch,
        orjson.dumps(detail).decode(),
    )


async def hold(connection: Connection, move_id: int, driver: int) -> Move | None:
    """Lock the row against everybody until the transaction ends; None if another driver has it now."""
    move = await get_for_update(connection, move_id)
    return move if move is not None and move.driver == driver else None


async def enter(connection: Connection, move: Move) -> None:
    """Put the row into the phase, epoch, work and direction of `move`; it must be held."""
    await connection.execute(
        """
        UPDATE moves SET phase = $2, phase_since = clock_timestamp(), epoch = $3, work = $4, is_reversed = $5,
            wanted = NULL, waits_for = NULL, waits_since = NULL, error = NULL, updated_at = clock_timestamp(),
            ended_at = CASE WHEN $6 THEN clock_timestamp() END
        WHERE id = $1
        """,
        move.id,
        move.phase,
        move.epoch,
        orjson.dumps(move.work).decode(),
        move.is_reversed,
        STEPS[move.phase].is_end,
    )


async def report(connection: Connection, move: Move, work: dict[str, Any]) -> bool:
    """Keep what a work has done; false if it is to stop: paused, aborted, or somebody else's.

    What it has waited for is over when it has come further. One that looks again and again reports, too.
    """
    status: str = await connection.execute(
        """
        UPDATE moves SET work = $3, updated_at = clock_timestamp(),
            waits_for = CASE WHEN work -> 'cursor' = $3::jsonb -> 'cursor' THEN waits_for END,
            waits_since = CASE WHEN work -> 'cursor' = $3::jsonb -> 'cursor' THEN waits_since END,
            error = CASE WHEN work -> 'cursor' = $3::jsonb -> 'cursor' THEN error END
        WHERE id = $1 AND driver = $2 AND NOT is_paused AND wanted IS NULL
        """,
        move.id,
        move.driver,
        orjson.dumps(work).decode(),
    )
    return status == "UPDATE 1"


async def note(connection: Connection, move: Move, waits_for: str | None, error: str | None, *, is_time: bool) -> bool:
    """Say what the move waits for, and what went wrong; false if somebody else drives it."""
    status: str = await connection.execute(
        """
        UPDATE moves SET waits_for = $3, error = $4, updated_at = clock_timestamp(),
            waits_since = CASE WHEN $3::text IS NOT NULL AND NOT $5 THEN coalesce(waits_since, clock_timestamp()) END
        WHERE id = $1 AND driver = $2
        """,
        move.id,
        move.driver,
        waits_for,
        error,
        is_time,
    )
    return status == "UPDATE 1"


async def begin_soak(connection: Connection, move: Move, work: dict[str, Any]) -> None:
    """Count the time in the phase from now on; the row must be held."""
    await connection.execute(
        "UPDATE moves SET phase_since = clock_timestamp(), work = $2 WHERE id = $1",
        move.id,
        orjson.dumps(work).decode(),
    )


async def set_paused(connection: Connection, move_id: int, is_paused: bool) -> None:
    """Pause or resume."""
    await connection.execute(
        "UPDATE moves SET is_paused = $2, updated_at = clock_timestamp() WHERE id = $1", move_id, is_paused
    )


async def set_wanted(connection: Connection, move_id: int, wanted: Wanted) -> None:
    """Ask the driver to turn back, also when it is paused."""
    await connection.execute(
        "UPDATE moves SET wanted = $2, is_paused = false, updated_at = clock_timestamp() WHERE id = $1", move_id, wanted
    )


async def add_lost(connection: Connection, move_id: int, shard_id: str) -> None:
    """Give a shard up."""
    await connection.execute(
        """
        UPDATE moves SET lost = array_append(lost, $2), updated_at = clock_timestamp()
        WHERE id = $1 AND NOT $2 = ANY (lost)
        """,
        move_id,
        shard_id,
    )


async def set_leftovers(connection: Connection, move: Move, leftovers: dict[str, int]) -> None:
    """What is still to be removed; the row must be held."""
    await connection.execute(
        "UPDATE moves SET work = jsonb_set(work, '{leftovers}', $2), updated_at = clock_timestamp() WHERE id = $1",
        move.id,
        orjson.dumps(leftovers).decode(),
    )


async def distrust(connection: Connection, shard_ids: list[str]) -> None:
    """Have shards swept and filled when they come back: they hold links that nobody could remove."""
    await connection.execute(
        "UPDATE shards SET run_id = NULL, is_complete = false WHERE id = ANY ($1::text[])", shard_ids
    )


async def forget_leftovers(connection: Connection, shard_ids: list[str]) -> None:
    """What earlier moves have left over on these shards is gone."""
    await connection.execute(
        """
        UPDATE moves SET work = jsonb_set(work, '{leftovers}', (work -> 'leftovers') - $1::text[])
        WHERE work -> 'leftovers' ?| $1::text[]
        """,
        shard_ids,
    )


async def shard_of_run(connection: Connection, run_id: str) -> str | None:
    """The shard that this Redis process is."""
    shard_id: str | None = await connection.fetchval("SELECT id FROM shards WHERE run_id = $1", run_id)
    return shard_id


async def size(connection: Connection) -> Size:
    """How many links there are and how long they are, roughly."""
    text_bytes = await connection.fetchval(
        """
        SELECT coalesce((SELECT sum(avg_width) FROM pg_stats
                         WHERE schemaname = current_schema() AND tablename = 'links' AND attname IN ('code', 'target')),
                        (SELECT avg(octet_length(code) + octet_length(target))
                         FROM (SELECT code, target FROM links LIMIT $1) sampled), 0)::float8
        """,
        _SAMPLED_LINKS,
    )
    return Size(links=await projection_store.links_estimate(connection), text_bytes=text_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """What is measured of moves."""

    under_way: int
    progress: float
    waits_s: float
    leftovers: int


async def gauges(connection: Connection) -> Gauges:
    """The move under way, and what all moves have left over."""
    row = await connection.fetchrow(
        """
        SELECT phase, coalesce((work ->> 'fraction')::float8, 0) AS fraction,
            coalesce(extract(epoch FROM clock_timestamp() - waits_since), 0)::float8 AS waits_s
        FROM moves WHERE ended_at IS NULL
        """
    )
    leftovers = await connection.fetchval(
        "SELECT coalesce(sum(value::bigint), 0)::bigint FROM moves, jsonb_each_text(work -> 'leftovers')"
    )
    return Gauges(
        under_way=1 if row else 0,
        progress=steps.progress(row["phase"], row["fraction"]) if row else 0.0,
        waits_s=row["waits_s"] if row else 0.0,
        leftovers=leftovers,
    )


async def _limit_idle(connection: Connection) -> None:
    await connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{_TRANSACTION_IDLE_MAX}'")


def _move(row: Any) -> Move:
    values = dict(row)
    for name in ("before", "after"):
        values[name] = wire_topology.decode(values[name].encode())
    for name in ("plan", "work"):
        values[name] = orjson.loads(values[name])
    return Move(**{**values, "lost": tuple(values["lost"])})
