"""SQL of `projected`: the notes about which batch (its pm:seq on the shard) wrote which version of a link.

A busy shard has millions of them: each statement here reads and writes a bounded number. A limit may be overshot by one
batch, because the notes of a batch are never parted.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from control.db import Connection
from control.projection.store import NO_FLOOR, ShardState

# Of one statement: about a tenth of a second where notes are queued again, far from the ten that a statement may take.
NOTES_MAX: Final = 10_000


async def requeue_lost(connection: Connection, shard_id: str, recovered: int, limit: int = NOTES_MAX) -> int:
    """Queue again, waiting for the shard, what batches above `recovered` had written there; returns how many rows."""
    total = 0
    async for after, last in _ranges(connection, shard_id, recovered, limit):
        total += await connection.fetchval(
            """
            WITH lost AS (
                DELETE FROM projected WHERE shard_id = $1 AND seq > $2 AND seq <= $3 RETURNING link_id, version
            ), queued AS (
                INSERT INTO outbox (link_id, version, waiting_shard)
                SELECT link_id, max(version), $1 FROM lost GROUP BY link_id RETURNING 1
            )
            SELECT count(*) FROM queued
            """,
            shard_id,
            after,
            last,
        )
    return total


async def forget(connection: Connection, shard_id: str, limit: int = NOTES_MAX) -> None:
    """Drop the notes about a shard whose content is written anew."""
    async for after, last in _ranges(connection, shard_id, 0, limit):
        await _delete(connection, shard_id, after, last)


async def purge(connection: Connection, shard_id: str, keep_s: float, limit: int = NOTES_MAX) -> int:
    """Drop notes older than `keep_s` and raise the floor by which the shard can be recovered without them.

    Returns how many; `limit` or more: there may be others. The transaction must hold the shard's state: a keeper that
    reads the floor before and the notes after this would take a batch as never written.
    """
    # The oldest notes first, and then their age: the other way round, where none is old all would be read.
    last = await connection.fetchval(
        """
        SELECT max(seq) FILTER (WHERE projected_at < now() - make_interval(secs => $2))
        FROM (SELECT seq, projected_at FROM projected WHERE shard_id = $1 ORDER BY seq LIMIT $3) AS oldest
        """,
        shard_id,
        keep_s,
        limit,
    )
    if last is None:
        return 0
    await connection.execute("UPDATE shards SET floor_seq = greatest(floor_seq, $2) WHERE id = $1", shard_id, last)
    return await _delete(connection, shard_id, 0, last)


async def highest_number(connection: Connection, state: ShardState) -> int:
    """The highest batch number that PostgreSQL knows to have been used on the shard."""
    number: int = await connection.fetchval("SELECT coalesce(max(seq), 0) FROM projected WHERE shard_id = $1", state.id)
    floor_seq = 0 if state.floor_seq == NO_FLOOR else state.floor_seq
    return max(number, floor_seq, state.base_seq)


async def numbers_of(
    connection: Connection, changes: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], tuple[int, dict[str, int]]]:
    """For each link and version: the link's hash, and by shard the number of the batch that first wrote this version
    there, or a newer one. What nobody has written is not in it."""
    rows = await connection.fetch(
        """
        SELECT wanted.link_id, wanted.version, key_hash, shard_id, min(seq) AS number
        FROM unnest($1::bigint[], $2::bigint[]) AS wanted (link_id, version)
        JOIN projected ON projected.link_id = wanted.link_id AND projected.version >= wanted.version
        JOIN links ON links.id = wanted.link_id
        GROUP BY wanted.link_id, wanted.version, key_hash, shard_id
        """,
        [link_id for link_id, _ in changes],
        [version for _, version in changes],
    )
    found: dict[tuple[int, int], tuple[int, dict[str, int]]] = {}
    for row in rows:
        _, numbers = found.setdefault((row["link_id"], row["version"]), (row["key_hash"], {}))
        numbers[row["shard_id"]] = row["number"]
    return found


async def versions_of(connection: Connection, link_ids: Sequence[int]) -> dict[tuple[str, int], int]:
    """The highest version that was written, by shard and link. A shard that loses it is told again by its keeper."""
    rows = await connection.fetch(
        "SELECT shard_id, link_id, max(version) AS version FROM projected WHERE link_id = ANY ($1) GROUP BY 1, 2",
        link_ids,
    )
    return {(row["shard_id"], row["link_id"]): row["version"] for row in rows}


async def _ranges(connection: Connection, shard_id: str, after: int, limit: int) -> AsyncIterator[tuple[int, int]]:
    """The notes above the number `after`, as ranges of numbers (without the first, with the last) of `limit` notes.

    The caller deletes a range before it asks for the next one. The search goes on behind it: begun anew it would walk
    over all that the transaction has deleted, longer with each range.
    """
    while True:
        last = await connection.fetchval(
            """
            SELECT max(seq) FROM (
                SELECT seq FROM projected WHERE shard_id = $1 AND seq > $2 ORDER BY seq LIMIT $3
            ) AS following
            """,
            shard_id,
            after,
            limit,
        )
        if last is None:
            return
        yield after, last
        after = last


async def _delete(connection: Connection, shard_id: str, after: int, last: int) -> int:
    status: str = await connection.execute(
        "DELETE FROM projected WHERE shard_id = $1 AND seq > $2 AND seq <= $3", shard_id, after, last
    )
    return int(status.rpartition(" ")[2])
