"""Links whose keys differed when a page was compared: looked at again, and repaired if they still differ.

Most differences are no faults but changes on their way: PostgreSQL was read before a change, a shard after it, or the
other way round. So the shards are read again between two reads of PostgreSQL, until the answer is beyond doubt.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from control.db import Database
from control.errors import Error
from control.moves import expected
from control.moves.expected import Expected
from control.projection import shard_writer
from control.projection.model import TOMBSTONE_TTL_MS, Write
from control.projection.shard_writer import KEYS_PER_CALL
from control.shards.connection import ShardConnection

# A change takes milliseconds from its commit to the shards, on a busy day a second.
LOOK_INTERVAL_S: Final = 0.1
LOOKS_MAX: Final = 50
# More is no drift but a fault that repairing does not mend: a shard that forgets, a database from an old backup.
REPAIRS_MAX: Final = 1000


class TooManyRepairs(Exception):  # noqa: N818  (a finding)
    """More is wrong than is repaired."""


@dataclass(slots=True)
class Repairs:
    """What was repaired in a verification."""

    lacking: int = 0  # was missing or old
    forced: int = 0  # was newer than PostgreSQL, or of the same version and different

    def count(self, lacking: int, forced: int) -> None:
        """What is about to be repaired; raises TooManyRepairs."""
        self.lacking += lacking
        self.forced += forced
        if self.lacking + self.forced > REPAIRS_MAX:
            raise TooManyRepairs


@dataclass(frozen=True, slots=True)
class Look:
    """One key at one shard, to be compared with what PostgreSQL said `before`."""

    shard: ShardConnection
    before: Expected
    wrong: bytes | None = None  # what made it wrong at the look before

    @property
    def key(self) -> bytes:
        """The key."""
        return self.before.write.key


@dataclass(frozen=True, slots=True)
class Mending:
    """What mending needs: nothing is written under a fence later than `epoch`; `pause` is called between two looks."""

    database: Database
    epoch: int
    repairs: Repairs
    pause: Callable[[], Awaitable[None]]


async def settle(looks: Iterable[Look], mending: Mending) -> dict[bytes, Expected | None]:
    """Look until every key is right, and repair what is not; returns what each holds now, None for a purged link.

    Raises TooManyRepairs before it repairs too much, and Error("shard_unavailable") for changes that do not arrive.
    """
    settled: dict[bytes, Expected | None] = {}
    still_open = list(looks)
    for _ in range(LOOKS_MAX):
        still_open = await _look(still_open, settled, mending)
        if not still_open:
            return settled
        await mending.pause()
        await asyncio.sleep(LOOK_INTERVAL_S)
    raise Error(
        "shard_unavailable",
        f"{len(still_open)} changes have not reached shard {still_open[0].shard.shard_id}; see the outbox's backlog",
    )


async def _look(looks: Sequence[Look], settled: dict[bytes, Expected | None], mending: Mending) -> list[Look]:
    """Read the keys, then their rows; judge and repair. Returns what is to be looked at again."""
    held = await _held(looks)
    async with mending.database.connection() as connection:
        rows = await expected.read(connection, {look.key for look in looks})
    again: list[Look] = []
    writes: dict[ShardConnection, list[Write]] = {}
    forced: list[tuple[ShardConnection, Write, bytes]] = []
    for look, value in zip(looks, held, strict=True):
        after = settled[look.key] = rows.get(look.key)
        verdict = expected.judge(look.before, value, after)
        if verdict == "right" or after is None:
            continue
        again.append(Look(look.shard, after, value if verdict == "wrong" else None))
        if verdict == "lacking":
            writes.setdefault(look.shard, []).append(after.write)
        elif verdict == "wrong" and value is not None and value == look.wrong:
            forced.append((look.shard, after.write, value))
    mending.repairs.count(sum(map(len, writes.values())), len(forced))
    for shard, items in writes.items():
        await shard_writer.write(shard, items, mending.epoch)
    for shard, write, value in forced:
        await _replace(shard, write, value, mending)
    return again


async def _replace(shard: ShardConnection, write: Write, held: bytes, mending: Mending) -> None:
    """Force a record, and then write what PostgreSQL says now, if that is newer.

    1. A shard holds version 9 of a link that PostgreSQL has in version 5.
    2. The link is changed, and version 6 projected: it does not replace 9.
    3. Version 5 replaces 9, and nobody would ever write 6.
    """
    await force(shard, write, held)
    async with mending.database.connection() as connection:
        now = await expected.read(connection, [write.key])
    await shard_writer.write(shard, [found.write for found in now.values()], mending.epoch)


async def _held(looks: Sequence[Look]) -> list[bytes | None]:
    """What the shards hold for each look, in order."""
    by_shard: dict[ShardConnection, list[int]] = {}
    for index, look in enumerate(looks):
        by_shard.setdefault(look.shard, []).append(index)
    held: list[bytes | None] = [None] * len(looks)
    for shard, indexes in by_shard.items():
        values = await mget(shard, [looks[index].key for index in indexes])
        for index, value in zip(indexes, values, strict=True):
            held[index] = value
    return held


async def mget(shard: ShardConnection, link_keys: Sequence[bytes]) -> list[bytes | None]:
    """The values of the keys, however many they are."""
    replies = await shard.pipeline(
        [("MGET", *link_keys[start : start + KEYS_PER_CALL]) for start in range(0, len(link_keys), KEYS_PER_CALL)]
    )
    return [value for values in replies for value in values]


async def force(shard: ShardConnection, write: Write, held: bytes) -> None:
    """Put PostgreSQL's record in the place of `held`, unless that has changed meanwhile."""
    await shard.execute("EVALSHA", shard.scripts["force"], 1, write.key, held, write.data, TOMBSTONE_TTL_MS)
