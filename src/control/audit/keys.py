"""The keys of one shard, looked through for those that should not be there."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from control.audit import store
from control.audit.drift import Drift, TopologyChanged, held_by
from control.audit.model import Kind, Scan
from control.db import Database
from control.errors import Error
from control.moves import expected, misplaced
from control.moves.misplaced import SCAN_BEGIN
from control.shards.connection import ShardConnection
from control.shards.current import Placement
from wire import FormatError, keys
from wire import fence as wire_fence

# What is too much at first sight may be gone a moment later: a row that has just been purged, say.
LOOK_INTERVAL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Searched:
    """A shard whose keys are looked through by a placement, under the fence of its epoch."""

    shard: ShardConnection
    placement: Placement
    fence: bytes


async def search(shard: ShardConnection, placement: Placement) -> Searched:
    """Begin, or go on; raises Error("shard_unavailable") if the fence is not that of the topology in force."""
    data = await shard.execute("GET", keys.FENCE)
    try:
        fence = None if data is None else wire_fence.decode(data)
    except FormatError:
        fence = None
    if fence is None or (fence.epoch, fence.run_id) != (placement.topology.epoch, shard.run_id):
        raise Error("shard_unavailable", f"shard {shard.shard_id} has no fence of the topology in force yet")
    return Searched(shard, placement, data)


async def begin(searched: Searched, scan: Scan | None) -> Scan:
    """Where this process goes on."""
    if scan is not None and scan.run_id == searched.shard.run_id:
        return scan
    return Scan(run_id=searched.shard.run_id, cursor=SCAN_BEGIN, of=await searched.shard.execute("DBSIZE"))


async def look(database: Database, searched: Searched, scan: Scan, count: int) -> tuple[int, list[Drift]]:
    """The next page of keys: how many they were, and what of them is too much. Moves `scan` on.

    Raises TopologyChanged, and Error("shard_unavailable") if the shard is not complete any more.
    """
    assert scan.cursor is not None
    following, found = await misplaced.scan(searched.shard, scan.cursor, count)
    suspects = await _suspects(database, searched, found)
    drifts: list[Drift] = []
    if suspects:
        first = await held_by(searched.shard, list(suspects))
        await asyncio.sleep(LOOK_INTERVAL_S)
        again = await _suspects(database, searched, list(suspects))
        second = await held_by(searched.shard, list(suspects))
        # Read after the shard: by the topology that came meanwhile the key may be where it belongs.
        async with database.connection() as connection:
            if (await store.situation(connection)).epoch != searched.placement.topology.epoch:
                raise TopologyChanged
        for key, one, other in zip(suspects, first, second, strict=True):
            if one is not None and one == other and key in again:
                drifts.append(Drift(searched.shard.shard_id, again[key], key, one, None))
    scan.cursor = following
    scan.looked_through += len(found)
    return len(found), drifts


async def _suspects(database: Database, searched: Searched, link_keys: Sequence[bytes]) -> dict[bytes, Kind]:
    index = searched.placement.index_of(searched.shard.shard_id)
    suspects: dict[bytes, Kind] = dict.fromkeys(
        misplaced.misplaced_of(link_keys, searched.placement, index), "misplaced"
    )
    own = [key for key in link_keys if key not in suspects]
    if own:
        async with database.connection() as connection:
            suspects |= dict.fromkeys(await expected.without_row(connection, own), "orphan")
    return suspects
