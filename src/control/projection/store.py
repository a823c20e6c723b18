"""SQL of the outbox and of the shards' state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from control.db import Connection, LockKind
from control.errors import Error
from control.projection.model import HAS_TOMBSTONE, LINK_COLUMNS, Numbered

# Advisory locks are pairs (kind, hash of the shard's id).
_BATCH_LOCK: Final = LockKind.BATCHES
_KEEPER_LOCK: Final = LockKind.KEEPER
# The longest pause within a transaction is that of a batch for a shard that does not answer: a second or two. Whoever
# pauses longer was stopped, and what he has locked is given to others; he does his work once more when he wakes.
IDLE_IN_TRANSACTION_MS: Final = 5000
# The floor of a shard about which nothing can be told by notes: no number is as high.
NO_FLOOR: Final = 2**63 - 1
FORGET_ROWS_MAX: Final = 10_000
# So many are counted in a millisecond or two. PostgreSQL takes a small table that was never analyzed for a larger one.
LINKS_COUNTED_MAX: Final = 10_000
RETRY_FIRST_S: Final = 2.0
RETRY_MAX_S: Final = 600.0

_TAKE: Final = """
WITH taken AS MATERIALIZED (
    SELECT id, link_id, created_at FROM outbox WHERE {which} ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
)
SELECT taken.id AS outbox_id, taken.created_at AS queued_at, {columns}
FROM taken LEFT JOIN links l ON l.id = taken.link_id
ORDER BY taken.id
"""
_TAKE_READY: Final = _TAKE.format(which="waiting_shard IS NULL AND retry_at IS NULL", columns=LINK_COLUMNS)
_TAKE_WAITING: Final = _TAKE.format(which="waiting_shard = $2", columns=LINK_COLUMNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardState:
    """A row of shards; see the package's docstring."""

    id: str
    run_id: str | None
    is_complete: bool
    is_joining: bool
    floor_seq: int
    base_seq: int


_STATE: Final = "id, run_id, is_complete, is_joining, floor_seq, base_seq"


async def end_when_stopped(connection: Connection) -> None:
    """Let PostgreSQL end the connection if its process stops in the middle of a transaction."""
    await connection.execute(f"SET idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_MS}")


async def take_ready(connection: Connection, limit: int) -> list[Any]:
    """Lock and return outbox rows that can be projected now, with their links' current state."""
    rows: list[Any] = await connection.fetch(_TAKE_READY, limit)
    return rows


async def take_waiting(connection: Connection, shard_id: str, limit: int) -> list[Any]:
    """The same for the rows that wait for a shard."""
    rows: list[Any] = await connection.fetch(_TAKE_WAITING, limit, shard_id)
    return rows


async def try_batch_locks(connection: Connection, shard_ids: Sequence[str]) -> set[str]:
    """The shards of `shard_ids` whose shared batch lock the transaction now holds."""
    rows = await connection.fetch(
        "SELECT id FROM unnest($1::text[]) AS id WHERE pg_try_advisory_xact_lock_shared($2, hashtext(id))",
        shard_ids,
        _BATCH_LOCK,
    )
    return {row["id"] for row in rows}


async def lock_batches(connection: Connection, shard_id: str) -> None:
    """Wait for every batch in flight on the shard, and keep new ones out until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", _BATCH_LOCK, shard_id)


async def try_keeper_lock(connection: Connection, shard_id: str) -> bool:
    """Become the one keeper of the shard, until the connection ends or the lock is released."""
    taken: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1, hashtext($2))", _KEEPER_LOCK, shard_id)
    return taken


async def wait_for_keeper_lock(connection: Connection, shard_id: str, timeout_s: float) -> bool:
    """The same, waiting for a keeper that is at work; False if it still is."""
    try:
        await connection.execute("SELECT pg_advisory_lock($1, hashtext($2))", _KEEPER_LOCK, shard_id, timeout=timeout_s)
    except TimeoutError:
        return False
    return True


async def states(connection: Connection, shard_ids: Sequence[str]) -> dict[str, ShardState]:
    """The state of each shard."""
    rows = await connection.fetch(f"SELECT {_STATE} FROM shards WHERE id = ANY ($1)", shard_ids)  # noqa: S608 (constant)
    return {row["id"]: ShardState(**row) for row in rows}


async def all_states(connection: Connection) -> dict[str, ShardState]:
    """The state of every shard that is known."""
    rows = await connection.fetch(f"SELECT {_STATE} FROM shards")  # noqa: S608 (constant)
    return {row["id"]: ShardState(**row) for row in rows}


async def highest_noted(connection: Connection, shard_id: str) -> int:
    """The highest batch number of which there is a note for the shard; 0 without any."""
    number: int = await connection.fetchval("SELECT coalesce(max(seq), 0) FROM projected WHERE shard_id = $1", shard_id)
    return number


async def state_for_update(connection: Connection, shard_id: str) -> ShardState:
    """A shard's state, locked against changes until the transaction ends; raises Error("shard_unavailable")."""
    row = await connection.fetchrow(f"SELECT {_STATE} FROM shards WHERE id = $1 FOR UPDATE", shard_id)  # noqa: S608 (constant)
    if row is None:
        raise Error("shard_unavailable", f"shard {shard_id} has been forgotten")
    return ShardState(**row)


async def try_state_for_update(connection: Connection, shard_id: str) -> ShardState | None:
    """The same, without waiting for a keeper that has it; None then."""
    row = await connection.fetchrow(
        f"SELECT {_STATE} FROM shards WHERE id = $1 FOR UPDATE SKIP LOCKED",  # noqa: S608 (constant)
        shard_id,
    )
    return ShardState(**row) if row else None


async def save_state(connection: Connection, state: ShardState) -> None:
    """Replace a shard's state."""
    await connection.execute(
        """
        UPDATE shards SET run_id = $2, is_complete = $3, is_joining = $4, floor_seq = $5, base_seq = $6 WHERE id = $1
        """,
        state.id,
        state.run_id,
        state.is_complete,
        state.is_joining,
        state.floor_seq,
        state.base_seq,
    )


async def forget_shard(connection: Connection, shard_id: str) -> bool:
    """Remove a part of what is known of a shard that has left: that outbox rows wait for it, notes, in the end the row.

    Returns whether there is more of it. Each part is a bounded one, for a transaction of its own. Raises
    Error("shard_unavailable") for rows that somebody else has locked: nothing would free them without the shard.
    """
    if await unpark(connection, shard_id, FORGET_ROWS_MAX) or await _forget_notes(connection, shard_id):
        return True
    if await connection.fetchval("SELECT EXISTS (SELECT FROM outbox WHERE waiting_shard = $1)", shard_id):
        message = f"changes that wait for shard {shard_id}, which has left, are in the hands of another process"
        raise Error("shard_unavailable", message)
    await connection.execute("DELETE FROM shards WHERE id = $1", shard_id)
    return False


async def _forget_notes(connection: Connection, shard_id: str) -> bool:
    status: str = await connection.execute(
        """
        DELETE FROM projected WHERE shard_id = $1 AND seq <= (
            SELECT max(seq) FROM (SELECT seq FROM projected WHERE shard_id = $1 ORDER BY seq LIMIT $2) AS oldest
        )
        """,
        shard_id,
        FORGET_ROWS_MAX,
    )
    return status != "DELETE 0"


async def finish(connection: Connection, outbox_ids: Sequence[int], batches: Sequence[Numbered]) -> None:
    """Note what has been written to shards, and remove the outbox rows that have been written everywhere."""
    notes = [(batch.shard_id, batch.number, write) for batch in batches for write in batch.writes]
    await connection.execute(
        """
        WITH done AS (DELETE FROM outbox WHERE id = ANY ($1))
        INSERT INTO projected (shard_id, seq, link_id, version)
        SELECT shard_id, seq, link_id, max(version)
        FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[]) AS t(shard_id, seq, link_id, version)
        GROUP BY shard_id, seq, link_id
        """,
        outbox_ids,
        [shard_id for shard_id, _, _ in notes],
        [number for _, number, _ in notes],
        [write.link_id for _, _, write in notes],
        [write.version for _, _, write in notes],
    )


async def drop(connection: Connection, outbox_ids: Sequence[int]) -> None:
    """Remove outbox rows that have nothing to write."""
    await connection.execute("DELETE FROM outbox WHERE id = ANY ($1)", outbox_ids)


async def park(connection: Connection, outbox_ids: Sequence[int], shard_id: str) -> None:
    """Let outbox rows wait for their shard, out of the way of the others."""
    await connection.execute("UPDATE outbox SET waiting_shard = $2 WHERE id = ANY ($1)", outbox_ids, shard_id)


async def park_too(connection: Connection, link_ids: Sequence[int], shard_id: str) -> None:
    """Let a row of each link wait for a shard, beside the one that waits for another; those that have one need no more.

    Looks once through all that waits for the shard: tens of milliseconds for a hundred thousand rows.
    """
    await connection.execute(
        """
        INSERT INTO outbox (link_id, version, waiting_shard)
        SELECT id, version, $2 FROM links
        WHERE id IN (SELECT unnest($1::bigint[]) EXCEPT SELECT link_id FROM outbox WHERE waiting_shard = $2)
        """,
        link_ids,
        shard_id,
    )


async def unpark(connection: Connection, shard_id: str, limit: int) -> int:
    """Make at most `limit` rows that wait for a shard ready again; returns how many."""
    count: int = await connection.fetchval(
        """
        WITH waiting AS (
            SELECT id FROM outbox WHERE waiting_shard = $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
        ), freed AS (
            UPDATE outbox SET waiting_shard = NULL FROM waiting WHERE outbox.id = waiting.id RETURNING 1
        )
        SELECT count(*) FROM freed
        """,
        shard_id,
        limit,
    )
    return count


async def set_aside(connection: Connection, outbox_id: int, reason: str) -> None:
    """Keep an outbox row that cannot be projected, with its reason, for a later try."""
    await connection.execute(
        """
        UPDATE outbox SET reason = $2, attempts = attempts + 1, waiting_shard = NULL,
            retry_at = now() + least($3 * 2 ^ least(attempts, 20), $4) * interval '1 second'
        WHERE id = $1
        """,
        outbox_id,
        reason[:500],
        RETRY_FIRST_S,
        RETRY_MAX_S,
    )


async def retry_set_aside(connection: Connection, limit: int) -> int:
    """Make rows ready whose time of retrial has come; returns how many."""
    count: int = await connection.fetchval(
        """
        WITH due AS (SELECT id FROM outbox WHERE retry_at <= now() ORDER BY retry_at LIMIT $1 FOR UPDATE SKIP LOCKED),
        freed AS (UPDATE outbox SET retry_at = NULL FROM due WHERE outbox.id = due.id RETURNING 1)
        SELECT count(*) FROM freed
        """,
        limit,
    )
    return count


async def links_after(connection: Connection, link_id: int, limit: int) -> list[Any]:
    """A page of all links, those that were deleted lately too, by rising id."""
    rows: list[Any] = await connection.fetch(
        f"SELECT {LINK_COLUMNS} FROM links l WHERE l.id > $1 AND {HAS_TOMBSTONE} ORDER BY l.id LIMIT $2",  # noqa: S608 (constants)
        link_id,
        limit,
    )
    return rows


async def links_estimate(connection: Connection) -> int:
    """Roughly how many links there are: counted if they are few, else as PostgreSQL's planner has it, which goes by the
    size that the table has now, however long ago it was analyzed."""
    counted: int = await connection.fetchval("SELECT count(*) FROM (SELECT FROM links LIMIT $1) few", LINKS_COUNTED_MAX)
    if counted < LINKS_COUNTED_MAX:
        return counted
    plan = await connection.fetchval("EXPLAIN (FORMAT JSON) SELECT FROM links")
    return max(counted, int(orjson.loads(plan)[0]["Plan"]["Plan Rows"]))


async def list_set_aside(connection: Connection, limit: int) -> list[Any]:
    """The oldest rows that cannot be projected, with their reasons."""
    rows: list[Any] = await connection.fetch(
        """
        SELECT o.id, d.host AS domain, l.code, o.version, o.reason, o.attempts, o.created_at, o.retry_at
        FROM outbox o LEFT JOIN links l ON l.id = o.link_id LEFT JOIN domains d ON d.id = l.domain_id
        WHERE o.reason IS NOT NULL ORDER BY o.id LIMIT $1
        """,
        limit,
    )
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How much is in the outbox."""

    ready: int
    waiting: int
    set_aside: int
    oldest_s: float


async def backlog(connection: Connection, limit: int) -> Backlog:
    """The outbox by kind; kinds of more than `limit` rows are counted as `limit`."""
    row = await connection.fetchrow(
        """
        SELECT
            (SELECT count(*) FROM (
                SELECT FROM outbox WHERE waiting_shard IS NULL AND retry_at IS NULL LIMIT $1) a) AS ready,
            (SELECT count(*) FROM (SELECT FROM outbox WHERE waiting_shard IS NOT NULL LIMIT $1) b) AS waiting,
            (SELECT count(*) FROM (SELECT FROM outbox WHERE retry_at IS NOT NULL LIMIT $1) c) AS set_aside,
            coalesce(extract(epoch FROM clock_timestamp() - least(
                (SELECT created_at FROM outbox WHERE waiting_shard IS NULL AND retry_at IS NULL ORDER BY id LIMIT 1),
                (SELECT min((SELECT created_at FROM outbox WHERE waiting_shard = s.id ORDER BY outbox.id LIMIT 1))
                 FROM shards s)
            )), 0)::float8 AS oldest_s
        """,
        limit,
    )
    return Backlog(**row)
