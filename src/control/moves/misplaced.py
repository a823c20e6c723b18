"""The keys of a shard, looked through by SCAN: which of them belong there."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from control.shards.connection import ShardConnection
from control.shards.current import Placement
from edge._fast import xxh64
from wire import keys

# Of one call: it holds up the shard for a fraction of a millisecond.
SCAN_COUNT: Final = 1000
# To walk over a key costs a shard about a tenth of what it costs to read, write or remove it.
SCANNED_PER_LINK: Final = 10
SCAN_BEGIN: Final = "0"
NOT_IN_TOPOLOGY: Final = -1


@dataclass(frozen=True, slots=True)
class Misplaced:
    """How many link keys a shard has that it owns on no ring, of how many, and the first of them."""

    count: int
    of: int
    sample: list[bytes]


async def scan(shard: ShardConnection, cursor: str, count: int = SCAN_COUNT) -> tuple[str | None, list[bytes]]:
    """The next link keys of a pass that began with SCAN_BEGIN, and where it goes on; None at its end."""
    following, found = await shard.execute("SCAN", cursor, "MATCH", keys.LINK_PREFIX + b"*", "COUNT", count)
    text = following.decode()
    return (None if text == SCAN_BEGIN else text), found


def hash_of(key: bytes) -> int:
    """The hash by which a link's key is placed."""
    return xxh64(key[len(keys.LINK_PREFIX) :])


def index_of(placement: Placement, shard_id: str) -> int:
    """The shard's index on the rings; NOT_IN_TOPOLOGY if it has none."""
    ids = [shard.id for shard in placement.topology.shards]
    return ids.index(shard_id) if shard_id in ids else NOT_IN_TOPOLOGY


def misplaced_of(link_keys: Iterable[bytes], placement: Placement, index: int) -> list[bytes]:
    """Those of the keys that the shard of this index owns on no ring."""
    return [key for key in link_keys if index not in placement.owners(hash_of(key))]


async def misplaced(shard: ShardConnection, placement: Placement, index: int, sample_max: int = 10) -> Misplaced:
    """Look through the whole shard. What is written or removed meanwhile may be counted or not."""
    sample: list[bytes] = []
    of = count = 0
    cursor: str | None = SCAN_BEGIN
    while cursor is not None:
        cursor, page = await scan(shard, cursor)
        wrong = misplaced_of(page, placement, index)
        of += len(page)
        count += len(wrong)
        sample += wrong[: sample_max - len(sample)]
    return Misplaced(count, of, sample)
