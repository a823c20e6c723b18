"""Keys of a target that PostgreSQL knows no link for, not even a deleted one: found by looking through it, and dropped.

They are left from former lives of the shard. While one is there, a new link of that code would not be written over it.
"""

from collections.abc import Sequence

from control.db import Connection
from control.moves import expected, misplaced
from control.moves.second_look import mget
from control.projection import shard_writer
from control.projection.shard_writer import KEYS_PER_CALL
from control.shards.connection import ShardConnection
from control.shards.current import Placement


def moved_to(link_keys: Sequence[bytes], placement: Placement, index: int) -> list[bytes]:
    """Those of the keys that move to the shard: it owns them on the second ring, and not on the one that is read."""
    found = []
    for key in link_keys:
        owners = placement.owners(misplaced.hash_of(key))
        if owners[0] != index and index in owners:
            found.append(key)
    return found


async def drop_strays(connection: Connection, shard: ShardConnection, link_keys: Sequence[bytes], epoch: int) -> int:
    """Drop those of the keys that stand for no row; returns how many.

    1. A key is read, and PostgreSQL has no row for it.
    2. A link of that code is created. Its write finds the stray with a higher version, and leaves it.
    3. The stray is dropped, and the link is nowhere.
    So PostgreSQL is asked once more afterwards, and what has appeared is written.
    """
    strays = await expected.without_row(connection, link_keys)
    if not strays:
        return 0
    values = await mget(shard, strays)
    held = [(key, value) for key, value in zip(strays, values, strict=True) if value is not None]
    dropped = 0
    for start in range(0, len(held), KEYS_PER_CALL):
        chunk = held[start : start + KEYS_PER_CALL]
        command = ("EVALSHA", shard.scripts["drop"], len(chunk), *(key for key, _ in chunk), *(v for _, v in chunk))
        dropped += await shard.execute(*command)
    appeared = await expected.read(connection, strays)
    await shard_writer.write(shard, [found.write for found in appeared.values()], epoch)
    return dropped
