"""From a link's row to what a shard holds for it; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from control.links.model import HASH_OFFSET
from control.shards.current import Placement
from wire import keys, record
from wire.record import LinkRecord, Tombstone

TOMBSTONE_TTL_MS: Final = 24 * 60 * 60 * 1000
# Whether a tombstone of the link has not had its time yet. Later, who fills a shard writes none: it could outlive the
# row, and a link that takes the code when that is gone begins with version 1.
HAS_TOMBSTONE: Final = f"(l.deleted_at IS NULL OR l.deleted_at > now() - interval '{TOMBSTONE_TTL_MS} milliseconds')"
LINK_COLUMNS: Final = (
    "l.id AS link_id, l.domain_id, l.code, l.key_hash, l.version, l.status, l.target, l.is_enabled, "
    "l.not_before, l.not_after, l.cache_max_age_s, l.deleted_at"
)


@dataclass(frozen=True, slots=True)
class Write:
    """One key of a shard, and the version that it is to have at least."""

    key: bytes
    data: bytes
    link_id: int
    version: int


@dataclass(frozen=True, slots=True)
class Numbered:
    """What was written to a shard under one batch number."""

    shard_id: str
    number: int
    writes: list[Write]


def write_of(row: Any) -> Write:
    """The write for a row with LINK_COLUMNS; raises ValueError for a link that the record cannot hold."""
    key = keys.link_key(row["domain_id"], row["code"])
    return Write(key, record.encode(_record_of(row)), row["link_id"], row["version"])


def key_hash_of(row: Any) -> int:
    """The link's hash as rings take it; PostgreSQL has no unsigned numbers."""
    key_hash: int = row["key_hash"] + HASH_OFFSET
    return key_hash


def _record_of(row: Any) -> LinkRecord | Tombstone:
    if row["deleted_at"] is not None:
        return Tombstone(link_id=row["link_id"], version=row["version"])
    return LinkRecord(
        link_id=row["link_id"],
        version=row["version"],
        status=row["status"],
        target=row["target"].encode(),
        is_disabled=not row["is_enabled"],
        not_before_ms=record.milliseconds(row["not_before"]),
        not_after_ms=record.milliseconds(row["not_after"]),
        cache_max_age_s=row["cache_max_age_s"],
    )


@dataclass(frozen=True, slots=True)
class Row:
    """An outbox row that is to be written, and the shards that it has to be written to."""

    outbox_id: int
    write: Write
    shard_ids: tuple[str, ...]


@dataclass(slots=True)
class Plan:
    """What one batch of outbox rows comes to."""

    rows: list[Row]
    writes: dict[str, list[Write]]  # by shard id
    gone: list[int]  # outbox rows whose link's row does not exist any more: there is nothing to write
    faulty: list[tuple[int, str]]  # outbox rows that cannot be projected, with the reason


def plan(rows: Sequence[Any], placement: Placement) -> Plan:
    """Plan the writes of outbox rows, joined with their links' current state: each to all of its owners."""
    result = Plan(rows=[], writes={}, gone=[], faulty=[])
    for row in rows:
        if row["link_id"] is None:
            result.gone.append(row["outbox_id"])
            continue
        try:
            write = write_of(row)
        except (ValueError, OverflowError) as error:
            result.faulty.append((row["outbox_id"], str(error)))
            continue
        shard_ids = placement.owner_ids(key_hash_of(row))
        result.rows.append(Row(row["outbox_id"], write, shard_ids))
        for shard_id in shard_ids:
            result.writes.setdefault(shard_id, []).append(write)
    return result
