"""Rows of links, and the COPY in binary format that PostgreSQL makes of them: in plain Python, as tests want them."""

import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from control.links.model import stored_hash

HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"
EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


def link(number: int, **changes: Any) -> dict[str, Any]:
    """A row with projection's LINK_COLUMNS."""
    row = {
        "link_id": number,
        "domain_id": 1,
        "code": f"code{number}",
        "key_hash": stored_hash(1, f"code{number}"),
        "version": 1,
        "status": 302,
        "target": f"https://example.com/{number}",
        "is_enabled": True,
        "not_before": None,
        "not_after": None,
        "cache_max_age_s": None,
        "deleted_at": None,
    }
    return row | changes


def row_bytes(row: dict[str, Any], target: int = 0) -> bytes:
    """One row of _pages.COLUMNS."""
    fields = (
        struct.pack(">q", row["link_id"]),
        struct.pack(">i", row["domain_id"]),
        row["code"].encode(),
        struct.pack(">q", row["key_hash"]),
        struct.pack(">q", row["version"]),
        struct.pack(">h", row["status"]),
        row["target"].encode(),
        struct.pack(">?", row["is_enabled"]),
        _instant(row["not_before"]),
        _instant(row["not_after"]),
        None if row["cache_max_age_s"] is None else struct.pack(">i", row["cache_max_age_s"]),
        struct.pack(">?", row["deleted_at"] is not None),
        struct.pack(">i", target),
    )
    return struct.pack(">h", len(fields)) + b"".join(map(_field, fields))


def copy_bytes(rows: Iterable[tuple[dict[str, Any], int]]) -> bytes:
    """A whole COPY of rows with their targets."""
    return HEAD + b"".join(row_bytes(row, target) for row, target in rows) + TRAILER


def _instant(instant: datetime | None) -> bytes | None:
    return None if instant is None else struct.pack(">q", (instant - EPOCH) // timedelta(microseconds=1))


def _field(data: bytes | None) -> bytes:
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data
