"""Links whose keys differed when a page was compared: looked at again, and repaired if they still differ.

Most differences are no faults but changes on their way: PostgreSQL was read before a change, a shard after it, or the
other way round. So the shards are read again between two reads of PostgreSQL, until the answer is beyond doubt.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from control.db import Connection
from control.errors import Error
from control.moves import expected
from control.moves.expected import Expected
from control.projection import shard_writer
from control.projection.model import TOMBSTONE_TTL_MS, Write
from control.shards.connection import ShardConnection

# What a projector has before it takes a tenth of a second to reach the shards, on a busy day a second.
LOOK_INTERVAL_S: Final = 0.1
LOOKS_MAX: Final = 50
# More is no drift but a fault that no repair mends: a shard that forgets, a database brought back from a backup.
REPAIRS_MAX: Final = 1000

Place = tuple[bytes, ShardConnection]  # a key, and where it was read


@dataclass(slots=True)
class Repairs:
    """What was repaired in a verification; `forced` are keys that held what PostgreSQL never said."""

    lacking: int = 0
    forced: int = 0

    def add(self, kind: str, shard_id: str) -> None:
        """Count one, unless that is one too many: Error("move_refused")."""
        if kind == "lacking":
            self.lacking += 1
        else:
            self.forced += 1
        if self.lacking + self.forced > REPAIRS_MAX:
            raise Error(
                "move_refused",
                f"more than {REPAIRS_MAX} links differed from PostgreSQL, lastly on shard {shard_id}: {self.lacking} "
                f"were missing or old, {self.forced} newer or different; abort the move and find out why",
            )


@dataclass(slots=True)
class _Look:
    """One key of one shard."""

    key: bytes
    shard: ShardConnection
    before: Expected
    wrong: bytes | None = None  # what was wrong there at the look before


@dataclass(slots=True)
class _Round:
    """What one look came to."""

    open: list[_Look] = field(default_factory=list)
    writes: dict[str, list[Write]] = field(default_factory=dict)


async def settle(
    connection: Connection, differing: Iterable[tuple[Expected, ShardConnection]], repairs: Repairs
) -> None:
    """Look until every key is right; repairs what is not. Raises Error("move_refused", "shard_unavailable")."""
    looks = [_Look(before.write.key, shard, before) for before, shard in differing]
    for _ in range(LOOKS_MAX):
        if not looks:
            return
        looks = await _look(connection, looks, repairs)
        if looks:
            await asyncio.sleep(LOOK_INTERVAL_S)
    if looks:
        raise Error(
            "shard_unavailable",
            f"{len(looks)} changes have not reached shard {looks[0].shard.shard_id}; see the outbox's backlog",
        )


async def _look(connection: Connection, looks: Sequence[_Look], repairs: Repairs) -> list[_Look]:
    """Read the keys, then their rows, judge and repair; returns what is to be looked at again."""
    held = await _held(looks)
    rows = await expected.read(connection, list({look.key for look in looks}))
    still_open = []
    writes: dict[ShardConnection, list[Write]] = {}
    for look, value in zip(looks, held, strict=True):
        after = rows.get(look.key)
        verdict = expected.judge(look.before, value, after)
        if after is None or verdict == "right":
            continue
        if verdict == "lacking":
            repairs.add("lacking", look.shard.shard_id)
            writes.setdefault(look.shard, []).append(after.write)
        elif verdict == "wrong" and value is not None and value == look.wrong:
            await _force(look.shard, after.write, value, repairs)
        still_open.append(_Look(look.key, look.shard, after, value if verdict == "wrong" else None))
    for shard, items in writes.items():
        await shard_writer.write(shard, items)
    return still_open


async def _held(looks: Sequence[_Look]) -> list[bytes | None]:
    """What the shards hold for each look, in order."""
    at_shard: dict[ShardConnection, list[int]] = {}
    for index, look in enumerate(looks):
        at_shard.setdefault(look.shard, []).append(index)
    held: list[bytes | None] = [None] * len(looks)
    for shard, indexes in at_shard.items():
        for index, value in zip(indexes, await shard.execute("MGET", *(looks[i].key for i in indexes)), strict=True):
            held[index] = value
    return held


async def _force(shard: ShardConnection, write: Write, held: bytes, repairs: Repairs) -> None:
    """Put PostgreSQL's record in the place of `held`, unless that has changed meanwhile."""
    repairs.add("forced", shard.shard_id)
    await shard.execute("EVALSHA", shard.scripts["force"], 1, write.key, held, write.data, TOMBSTONE_TTL_MS)
