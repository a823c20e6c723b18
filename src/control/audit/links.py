"""One page of links, compared with what their owners hold."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from control.audit import drift
from control.audit.connections import Connections
from control.audit.drift import Drift
from control.db import Database
from control.errors import Error
from control.moves._pages import Batch, hashes
from control.moves.second_look import mget
from control.projection.store import ShardState
from control.shards.connection import ShardConnection
from control.shards.current import Placement


@dataclass(slots=True, kw_only=True)
class Compared:
    """What came of a shard's part of a page."""

    shard_id: str
    shard: ShardConnection | None = None
    count: int = 0
    skipped: int = 0
    drifts: Sequence[Drift] = ()


class Owned:
    """The links of a page by the shards that own them, on either ring."""

    def __init__(self, batch: Batch, placement: Placement) -> None:
        self._batch = batch
        self._keys = batch.keys
        self._records: list[bytes | None] | None = None
        self._by_index: dict[int, list[int]] = {}
        self.placement = placement
        for at, key_hash in enumerate(hashes(self._keys)):
            for index in placement.owners(key_hash):
                self._by_index.setdefault(index, []).append(at)

    @property
    def shards(self) -> Iterator[tuple[int, list[int]]]:
        """Indexes into the topology, each with its indexes into the page."""
        yield from self._by_index.items()

    def key_of(self, at: int) -> bytes:
        """A key of the page."""
        return self._keys[at]

    async def differing(self, shard: ShardConnection, owned: Sequence[int]) -> list[bytes]:
        """Which of the shard's keys are not as the page says."""
        values = await mget(shard, [self._keys[at] for at in owned])
        # In the places of links that are not the shard's own stands what no comparison objects to.
        if self._records is None:
            self._records = [self._batch.record(at) for at in range(self._batch.count)]
        beside = list(self._records)
        for at, value in zip(owned, values, strict=True):
            beside[at] = value
        found = self._batch.compare(beside)
        return [self._keys[at] for kind in found[:4] for at in kind]


async def compare(
    database: Database,
    connections: Connections,
    owned: Owned,
    states: Mapping[str, ShardState],
    shard_id: str | None,
) -> list[Compared]:
    """Compare the page with all of its shards, or with the one of that id. Raises TopologyChanged."""
    found, tasks = [], []
    topology = owned.placement.topology
    for index, members in owned.shards:
        shard = topology.shards[index]
        if shard_id in (None, shard.id):
            found.append(Compared(shard_id=shard.id, shard=await connections.judged(shard, states)))
            tasks.append(_compare(database, owned, members, found[-1], topology.epoch))
    # All come to their end, so that no connection is left with replies under way.
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if outcome is not None:
            raise outcome
    return found


async def _compare(database: Database, owned: Owned, members: Sequence[int], compared: Compared, epoch: int) -> None:
    if compared.shard is None:
        compared.skipped = len(members)
        return
    try:
        differing = await owned.differing(compared.shard, members)
        if differing:
            compared.drifts, compared.skipped = await drift.settle(database, compared.shard, differing, epoch)
        compared.count = len(members) - compared.skipped
    except Error as error:
        if error.code != "shard_unavailable":
            raise
        compared.skipped = len(members)
