"""SQL of click_dead_frames: what could not be counted, kept for a look and another try."""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from control.clicks.model import DEAD_REASONS, Dead
from control.db import Connection
from wire.click import CLICK, ITEM_BYTES_MIN, Flag

MESSAGE_LENGTH_MAX: Final = 500
# No frame is longer, and no document. Of anything else the beginning is enough to see what it is.
DATA_BYTES_MAX: Final = 1 << 20
_HEAD: Final = struct.Struct("<HBB")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFrame:
    """A row, as far as a replay needs it."""

    id: int
    shard_id: str
    reason: str
    clicks: int
    unknown: int
    data: bytes


def tell_clicks(body: bytes) -> tuple[int, int]:
    """How many clicks of links and of unknown codes can be told apart in a body that may be malformed."""
    clicks = unknown = at = 0
    while at + ITEM_BYTES_MIN <= len(body):
        size, kind, flags = _HEAD.unpack_from(body, at)
        if size < ITEM_BYTES_MIN or at + size > len(body):
            break
        if kind == CLICK:
            unknown += bool(flags & Flag.UNKNOWN_CODE)
            clicks += not flags & Flag.UNKNOWN_CODE
        at += size
    return clicks, unknown


async def insert(connection: Connection, dead: Sequence[Dead]) -> None:
    """Keep them; bytes that are there already are not kept twice."""
    frames = [None if one.arrival is None else one.arrival.frame for one in dead]
    told = [(0, 0) if frame is None else tell_clicks(frame.body) for frame in frames]
    await connection.execute(
        """
        INSERT INTO click_dead_frames (shard_id, reason, message, writer, segment, range, clicks, unknown, data, sha256)
        SELECT shard_id, reason, message, writer, segment, CASE WHEN low IS NOT NULL THEN int4range(low, high) END,
            clicks, unknown, data, sha256
        FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::integer[], $6::integer[], $7::integer[],
            $8::integer[], $9::integer[], $10::bytea[], $11::bytea[])
            AS dead(shard_id, reason, message, writer, segment, low, high, clicks, unknown, data, sha256)
        ON CONFLICT (sha256) DO NOTHING
        """,
        [one.shard_id for one in dead],
        [one.reason for one in dead],
        [_storable(one.message) for one in dead],
        [None if frame is None else frame.writer for frame in frames],
        [None if frame is None else frame.segment for frame in frames],
        [None if frame is None else frame.start for frame in frames],
        [None if one.arrival is None else one.arrival.end for one in dead],
        [clicks for clicks, _ in told],
        [unknown for _, unknown in told],
        [one.data[:DATA_BYTES_MAX] for one in dead],
        [hashlib.sha256(one.data).digest() for one in dead],
    )


async def evict(connection: Connection, frames_max: int) -> int:
    """Drop the oldest beyond `frames_max`; returns how many."""
    status: str = await connection.execute(
        """
        DELETE FROM click_dead_frames
        WHERE id <= (SELECT id FROM click_dead_frames ORDER BY id DESC OFFSET $1 LIMIT 1)
        """,
        frames_max,
    )
    return int(status.rpartition(" ")[2])


async def ids(connection: Connection, wanted: Sequence[int] | None) -> list[int]:
    """The ids of all, or of those of `wanted` that are there; oldest first."""
    rows = await connection.fetch(
        "SELECT id FROM click_dead_frames WHERE $1::bigint[] IS NULL OR id = ANY ($1) ORDER BY id", wanted
    )
    return [row["id"] for row in rows]


async def find(connection: Connection, dead_id: int) -> DeadFrame | None:
    """One of them; None if it is gone."""
    row = await connection.fetchrow(
        "SELECT id, shard_id, reason, clicks, unknown, data FROM click_dead_frames WHERE id = $1", dead_id
    )
    return DeadFrame(**row) if row else None


async def take(connection: Connection, dead_id: int) -> bool:
    """Remove one; False if it is gone."""
    status: str = await connection.execute("DELETE FROM click_dead_frames WHERE id = $1", dead_id)
    return status.endswith(" 1")


async def count_dead(connection: Connection) -> dict[str, int]:
    """How many there are, by reason; each reason is there."""
    rows = await connection.fetch("SELECT reason, count(*) AS count FROM click_dead_frames GROUP BY reason")
    return dict.fromkeys(DEAD_REASONS, 0) | {row["reason"]: row["count"] for row in rows}


def _storable(message: str) -> str:
    """Text that PostgreSQL can hold."""
    return message.replace("\0", "\\0")[:MESSAGE_LENGTH_MAX]
