"""The salt of each day, by which visitors are hashed, and forgotten with the day.

Without its salt, the sketch of a day cannot be asked whether some address was there. A frame that comes more than two
days late finds its day's salt gone and gets a new one: its visitors are counted once more.
"""

import secrets
from collections.abc import Sequence
from typing import Final

from control.db import Connection

KEEP_DAYS: Final = 2


async def of_days(connection: Connection, days: Sequence[int]) -> dict[int, int]:
    """The salts of these days; a day without one gets one. Whoever comes first chooses it."""
    found = await _read(connection, days)
    missing = [day for day in days if day not in found]
    if not missing:
        return found
    await connection.execute(
        "INSERT INTO click_salts (day, salt) SELECT * FROM unnest($1::integer[], $2::bigint[]) ON CONFLICT DO NOTHING",
        missing,
        [secrets.randbits(63) for _ in missing],
    )
    return found | await _read(connection, missing)


async def _read(connection: Connection, days: Sequence[int]) -> dict[int, int]:
    rows = await connection.fetch("SELECT day, salt FROM click_salts WHERE day = ANY ($1)", days)
    return {row["day"]: row["salt"] for row in rows}
