"""Full projection: every link, to the shards that need it, in one pass over the table.

A page is read from PostgreSQL while the page before it is on its way to the shards. What changes meanwhile is projected
by the outbox as ever; compare-and-set by version settles which write was later.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from control.db import Connection
from control.projection import model, shard_writer, store
from control.shards.connection import ShardConnection
from control.shards.current import Placement

PAGE_ROWS: Final = 4000

OnProgress = Callable[[int], None]


async def project(
    connection: Connection, placement: Placement, shards: Sequence[ShardConnection], on_progress: OnProgress
) -> int:
    """Write every link that one of `shards` owns, on whichever ring; returns how many cannot be projected.

    Those are left to the outbox, which sets them aside with their reason when they are next changed.
    """
    by_index = {placement.index_of(shard.shard_id): shard for shard in shards}
    faulty = 0
    rows = await store.links_after(connection, 0, PAGE_ROWS)
    while rows:
        following = asyncio.ensure_future(store.links_after(connection, rows[-1]["link_id"], PAGE_ROWS))
        try:
            faulty += await _write_page(rows, placement, by_index)
        except BaseException:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            raise
        on_progress(len(rows))
        rows = await following
    return faulty


async def _write_page(rows: Sequence[Any], placement: Placement, by_index: dict[int, ShardConnection]) -> int:
    writes: dict[int, list[model.Write]] = {index: [] for index in by_index}
    faulty = 0
    for row in rows:
        wanted = [writes[index] for index in placement.owners(model.key_hash_of(row)) if index in writes]
        if not wanted:
            continue
        try:
            write = model.write_of(row)
        except (ValueError, OverflowError):
            faulty += 1
            continue
        for items in wanted:
            items.append(write)
    await asyncio.gather(*(shard_writer.write(by_index[index], items) for index, items in writes.items() if items))
    return faulty
