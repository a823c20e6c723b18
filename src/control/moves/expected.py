"""What a shard should hold for a link, by PostgreSQL, and whether what it holds can be right."""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from control.db import Connection
from control.projection.model import LINK_COLUMNS, Write, write_of

_KEY: Final = re.compile(rb"l:([1-9][0-9]{0,9}):([0-9A-Za-z_-]{1,64})")
_DOMAIN_ID_MAX: Final = 2**31 - 1
_VERSION: Final = struct.Struct("<I")
_VERSION_AT: Final = 4
_NO_VERSION: Final = -1
_NAMED: Final = """
FROM unnest($1::integer[], $2::text[]) AS wanted (domain_id, code)
JOIN links l ON l.domain_id = wanted.domain_id AND l.code = wanted.code
"""
_READ: Final = f"""
SELECT {LINK_COLUMNS}, EXISTS (SELECT FROM outbox o WHERE o.link_id = l.id AND o.reason IS NULL) AS is_queued {_NAMED}
"""  # noqa: S608 (constant)
_FIND: Final = f"SELECT l.domain_id, l.code {_NAMED}"

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
    if after is None or (held is None and before.is_deleted):
        return "right"  # a purged link's key goes with the others that have no row
    version = _NO_VERSION if held is None else version_of(held)
    if version < before.write.version:
        return "pending" if before.is_queued else "lacking"
    for known in (before, after):
        if version == known.write.version:
            return "right" if held == known.write.data else "wrong"
    return "right" if version < after.write.version else "wrong"


def version_of(held: bytes) -> int:
    """The version in a record, or _NO_VERSION in what is too short to have one."""
    if len(held) < _VERSION_AT + _VERSION.size:
        return _NO_VERSION
    version: int = _VERSION.unpack_from(held, _VERSION_AT)[0]
    return version


def name_of(key: bytes) -> tuple[int, str] | None:
    """The domain id and the code of a link's key; None for a key that no link can have."""
    match = _KEY.fullmatch(key)
    if match is None or int(match[1]) > _DOMAIN_ID_MAX:
        return None
    return int(match[1]), match[2].decode("ascii")


async def read(connection: Connection, link_keys: Iterable[bytes]) -> dict[bytes, Expected]:
    """What is expected at the keys now; those without a row, or whose row no record can hold, are left out."""
    names = [name for key in link_keys if (name := name_of(key)) is not None]
    rows = await connection.fetch(_READ, [domain_id for domain_id, _ in names], [code for _, code in names])
    found = (_expected(row) for row in rows)
    return {item.write.key: item for item in found if item is not None}


async def without_row(connection: Connection, link_keys: Iterable[bytes]) -> list[bytes]:
    """Those of the keys that stand for no row of links, not even a deleted one's."""
    names = {key: name_of(key) for key in link_keys}
    asked = [name for name in names.values() if name is not None]
    rows = await connection.fetch(_FIND, [domain_id for domain_id, _ in asked], [code for _, code in asked])
    found = {(row["domain_id"], row["code"]) for row in rows}
    return [key for key, name in names.items() if name not in found]


def _expected(row: Any) -> Expected | None:
    try:
        write = write_of(row)
    except (ValueError, OverflowError):
        return None
    return Expected(write=write, is_deleted=row["deleted_at"] is not None, is_queued=row["is_queued"])
