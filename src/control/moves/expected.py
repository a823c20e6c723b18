"""What a shard should hold for a link, according to PostgreSQL, and whether what it holds can be right; pure but for SQL."""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from control.db import Connection
from control.projection.model import LINK_COLUMNS, Write, write_of

_KEY: Final = re.compile(rb"l:([1-9][0-9]{0,9}):([0-9A-Za-z_-]{1,64})")
_DOMAIN_ID_MAX: Final = 2**31 - 1
_VERSION: Final = struct.Struct("<I")
_VERSION_AT: Final = 4

Verdict = Literal["right", "pending", "lacking", "wrong"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A link's record, and whether a change of it is still on its way to the shards.

    A deleted link's key may as well be missing: tombstones live a day, rows of deleted links longer.
    """

    write: Write
    is_deleted: bool
    is_queued: bool


def judge(before: Expected, held: bytes | None, after: Expected | None) -> Verdict:
    """What to make of `held`, read from a shard between two reads of PostgreSQL.

    What a shard holds was committed before it was written: nothing can be newer than `after`. And what had been
    committed and was not queued any more at `before`, had been written: nothing can be older than that.
    """
    if after is None:  # the row was purged meanwhile; the key goes with the others that have no row
        return "right"
    if held is None:
        if before.is_deleted:
            return "right"
        return "pending" if before.is_queued else "lacking"
    version = version_of(held)
    for known in (before, after):
        if version == known.write.version:
            return "right" if held == known.write.data else "wrong"
    if version > after.write.version:
        return "wrong"
    if version > before.write.version:
        return "right"
    return "pending" if before.is_queued else "lacking"


def version_of(held: bytes) -> int:
    """The version in a record; -1 in what is too short to have one."""
    if len(held) < _VERSION_AT + _VERSION.size:
        return -1
    version: int = _VERSION.unpack_from(held, _VERSION_AT)[0]
    return version


def name_of(key: bytes) -> tuple[int, str]:
    """The domain id and the code of a link's key; raises ValueError for a key that no link can have."""
    match = _KEY.fullmatch(key)
    if match is None or int(match[1]) > _DOMAIN_ID_MAX:
        raise ValueError(f"{key!r} is no link's key")
    return int(match[1]), match[2].decode("ascii")


async def read(connection: Connection, link_keys: Sequence[bytes]) -> dict[bytes, Expected]:
    """What is expected at the keys now; those without a row, or whose row no record can hold, are left out."""
    names = [name_of(key) for key in link_keys]
    rows = await connection.fetch(
        f"""
        SELECT {LINK_COLUMNS},
            EXISTS (SELECT FROM outbox o WHERE o.link_id = l.id AND o.reason IS NULL) AS is_queued
        FROM unnest($1::integer[], $2::text[]) AS wanted (domain_id, code)
        JOIN links l ON l.domain_id = wanted.domain_id AND l.code = wanted.code
        """,  # noqa: S608 (constant)
        [domain_id for domain_id, _ in names],
        [code for _, code in names],
    )
    found = {}
    for row in rows:
        expected = _expected(row)
        if expected is not None:
            found[expected.write.key] = expected
    return found


async def without_row(connection: Connection, link_keys: Sequence[bytes]) -> list[bytes]:
    """Those of the keys that stand for no row of links, not even a deleted one's."""
    names = {}
    strange = []
    for key in link_keys:
        try:
            names[name_of(key)] = key
        except ValueError:
            strange.append(key)
    rows = await connection.fetch(
        """
        SELECT domain_id, code FROM unnest($1::integer[], $2::text[]) AS wanted (domain_id, code)
        WHERE NOT EXISTS (SELECT FROM links l WHERE l.domain_id = wanted.domain_id AND l.code = wanted.code)
        """,
        [domain_id for domain_id, _ in names],
        [code for _, code in names],
    )
    return strange + [names[row["domain_id"], row["code"]] for row in rows]


def _expected(row: Any) -> Expected | None:
    try:
        write = write_of(row)
    except (ValueError, OverflowError):
        return None
    return Expected(write=write, is_deleted=row["deleted_at"] is not None, is_queued=row["is_queued"])
