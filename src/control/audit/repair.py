"""Repairing drift.

What is missing or older is projected again like any change: compare-and-set by version replaces it. That would leave
what is newer than PostgreSQL, or another record of the same version: it is replaced in place, if it still is what was
seen. An outbox row follows, because of this:

1. A shard holds version 9 of a link that PostgreSQL has in version 5.
2. The link is changed, and version 6 projected: it does not replace 9.
3. Version 5 replaces 9, and nobody would ever write 6.
"""

from collections.abc import Sequence

from control.audit import store
from control.audit.drift import Drift
from control.db import Database
from control.errors import Error
from control.moves import expected
from control.moves.second_look import force
from control.projection.shard_writer import KEYS_PER_CALL
from control.shards.connection import ShardConnection
from wire import keys


async def project_again(database: Database, shard: ShardConnection, drifts: Sequence[Drift]) -> int:
    """Repair links that are missing, older, newer or different; returns how many."""
    writes = [drift.write for drift in drifts if drift.write is not None]
    for drift in drifts:
        if drift.kind in ("newer", "different") and drift.write is not None and drift.held is not None:
            await force(shard, drift.write, drift.held)
    if writes:
        async with database.connection() as connection:
            await store.queue(connection, [(write.link_id, write.version) for write in writes])
    return len(writes)


async def remove(database: Database, shard: ShardConnection, drifts: Sequence[Drift], fence: bytes) -> int:
    """Remove keys that should not be there; returns how many.

    Raises Error("shard_unavailable"), and removes no more, if the fence is another one. A link of that code that was
    created meanwhile may have found the key and left it, so what has a row now is projected again.
    """
    removed = 0
    for start in range(0, len(drifts), KEYS_PER_CALL):
        chunk = drifts[start : start + KEYS_PER_CALL]
        link_keys, values = [drift.key for drift in chunk], [drift.held for drift in chunk]
        sha = shard.scripts["remove"]
        count = int(await shard.execute("EVALSHA", sha, len(chunk) + 1, keys.FENCE, *link_keys, fence, *values))
        if count < 0:
            raise Error("shard_unavailable", f"the fence of shard {shard.shard_id} was changed by somebody else")
        removed += count
    orphans = [drift.key for drift in drifts if drift.kind == "orphan"]
    async with database.connection() as connection:
        appeared = await expected.read(connection, orphans)
        if appeared:
            await store.queue(connection, [(item.write.link_id, item.write.version) for item in appeared.values()])
    return removed
