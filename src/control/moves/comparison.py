"""One batch of links, compared with what the shards hold at its keys.

The digest is that of `_pages.Batch`: the sum, modulo 2^64, of the hash of each record seeded with the hash of its key.
So it depends on no order, grows from batch to batch, and a link that has changed can be taken out of it and put in
again. Tombstones have no part in it: those of a shard end by themselves.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from control.errors import Error
from control.moves._pages import Batch, hashes
from control.moves.expected import Expected, version_of
from control.moves.second_look import Look, Mending, mget, settle
from control.projection.model import Write
from control.shards.connection import ShardConnection
from edge._fast import xxh64

_DIGESTS: Final = 2**64
_LINK_ID: Final = struct.Struct("<Q")
_LINK_ID_AT: Final = 8
_FLAGS_AT: Final = 1
_TOMBSTONE: Final = 1


@dataclass(frozen=True, slots=True)
class Sum:
    """Count and digest of links."""

    links: int = 0
    digest: int = 0

    def __add__(self, other: "Sum") -> "Sum":
        return Sum(self.links + other.links, (self.digest + other.digest) % _DIGESTS)

    def __sub__(self, other: "Sum") -> "Sum":
        return Sum(self.links - other.links, (self.digest - other.digest) % _DIGESTS)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What PostgreSQL and every shard agree on, perhaps after a second look; and how many keys needed that."""

    agreed: Sum
    differed: int


async def compare(
    batch: Batch, shards: Sequence[ShardConnection], strokes: AsyncIterator[slice], mending: Mending
) -> Comparison:
    """Compare what is read in `strokes`, and see to what differs; raises TooManyRepairs."""
    link_keys = batch.keys
    held: list[list[bytes | None]] = [[] for _ in shards]
    async for stroke in strokes:
        parts = await asyncio.gather(*(mget(shard, link_keys[stroke]) for shard in shards))
        for values, part in zip(held, parts, strict=True):
            values.extend(part)
    found = [batch.compare(values) for values in held]
    indexes = sorted({index for differences in found for kind in differences[:4] for index in kind})
    if not indexes:
        sums = {Sum(batch.links, batch.digest), *(Sum(differences.links, differences.digest) for differences in found)}
        if len(sums) > 1:
            raise Error("internal", f"links that are equal one by one have different sums: {sums}")
        return Comparison(sums.pop(), 0)
    before = [_expected(link_keys[index], batch.record(index)) for index in indexes]
    looks = [Look(shard, item) for shard in shards for item in before]
    settled = await settle(looks, mending)
    changed = _sum(before)
    agreed = Sum(batch.links, batch.digest) - changed + _sum(item for item in settled.values() if item is not None)
    return Comparison(agreed, len(indexes))


def _expected(key: bytes, record: bytes) -> Expected:
    """What PostgreSQL said when the batch was read. Whether the link was queued then is not known: perhaps it was."""
    link_id: int = _LINK_ID.unpack_from(record, _LINK_ID_AT)[0]
    write = Write(key, record, link_id, version_of(record))
    return Expected(write=write, is_deleted=bool(record[_FLAGS_AT] & _TOMBSTONE), is_queued=True)


def _sum(items: Iterable[Expected]) -> Sum:
    alive = [item.write for item in items if not item.is_deleted]
    seeds = hashes([write.key for write in alive])
    digests = (xxh64(write.data, seed) for write, seed in zip(alive, seeds, strict=True))
    return Sum(len(alive), sum(digests) % _DIGESTS)
