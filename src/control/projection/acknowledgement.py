"""Waiting until the edges have seen a change (?wait=edges): first its projection, then their acknowledgements."""

import asyncio
from dataclasses import dataclass
from typing import Final

from control.db import Database
from control.errors import Error
from control.links.model import HASH_OFFSET
from control.projection import notes
from control.projection.batch import BatchResult
from control.shards.current import CurrentPlacement, Placement
from control.shards.edges import Edges

WAITS_MAX: Final = 1000
# A projector of another control process says nothing to us; its notes are looked up soon, and in longer and longer
# intervals by a request whose shard is away: as many as may wait must leave the database to the others.
POLL_INTERVAL_S: Final = 0.01
POLL_INTERVAL_MAX_S: Final = 0.5

Numbers = dict[str, int]  # by shard id, the number of the batch that wrote there


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """How far a change got in time; complete: every live edge has it."""

    is_projected: bool
    is_complete: bool
    acknowledged: list[str]
    late: list[str]


class Acknowledgements:
    """The requests that wait, by link id."""

    def __init__(self, database: Database, edges: Edges, placement: CurrentPlacement) -> None:
        self._database = database
        self._edges = edges
        self._placement = placement
        self._waiting: dict[int, list[tuple[int, asyncio.Future[Numbers]]]] = {}
        self._count = 0

    def on_projected(self, result: BatchResult) -> None:
        """Called by this process's projector after each of its commits."""
        numbers = {batch.shard_id: batch.number for batch in result.numbered}
        for row in result.finished if self._waiting else ():
            for version, future in self._waiting.get(row.write.link_id, ()):
                if version <= row.write.version and not future.done():
                    future.set_result({shard_id: numbers[shard_id] for shard_id in row.shard_ids})

    async def wait(self, link_id: int, version: int, timeout_s: float) -> Acknowledgement:
        """Wait, at most `timeout_s`, until every live edge of the link's shards has applied this version."""
        if self._count >= WAITS_MAX:
            raise Error("too_many_waiting", f"{WAITS_MAX} requests wait for edges already; the change itself is made")
        self._count += 1
        try:
            return await self._wait(link_id, version, timeout_s)
        finally:
            self._count -= 1

    async def _wait(self, link_id: int, version: int, timeout_s: float) -> Acknowledgement:
        deadline = asyncio.get_running_loop().time() + timeout_s
        numbers = await self._projected(link_id, version, timeout_s)
        if numbers is None:
            return Acknowledgement(is_projected=False, is_complete=False, acknowledged=[], late=[])
        rest_s = max(0.0, deadline - asyncio.get_running_loop().time())
        applied = await self._edges.wait(numbers, rest_s)
        return Acknowledgement(
            is_projected=True,
            is_complete=applied.is_known and not applied.late,
            acknowledged=applied.acknowledged,
            late=applied.late,
        )

    async def _projected(self, link_id: int, version: int, timeout_s: float) -> Numbers | None:
        future: asyncio.Future[Numbers] = asyncio.get_running_loop().create_future()
        entry = (version, future)
        self._waiting.setdefault(link_id, []).append(entry)
        interval_s = POLL_INTERVAL_S
        try:
            async with asyncio.timeout(timeout_s):
                # The projector may have been faster than this request: look first, then wait to be told.
                while (numbers := await self._noted(link_id, version)) is None:
                    done, _ = await asyncio.wait((future,), timeout=interval_s)
                    if done:
                        return future.result()
                    interval_s = min(POLL_INTERVAL_MAX_S, 2 * interval_s)
                return numbers
        except TimeoutError:
            return None
        finally:
            self._forget(link_id, entry)

    async def _noted(self, link_id: int, version: int) -> Numbers | None:
        async with self._database.connection() as connection:
            placement = await self._placement.get(connection)
            key_hash, numbers = await notes.numbers_of(connection, link_id, version)
        if placement is None or not numbers:
            return None
        return _enough(placement, key_hash + HASH_OFFSET, numbers)

    def _forget(self, link_id: int, entry: tuple[int, asyncio.Future[Numbers]]) -> None:
        entries = self._waiting[link_id]
        entries.remove(entry)
        if not entries:
            del self._waiting[link_id]


def _enough(placement: Placement, key_hash: int, numbers: Numbers) -> Numbers | None:
    """What of the notes is of shards that are there, if whoever reads the link under this topology reads one of them.

    The second owner is read by edges only while they cut over. Where else its note is missing, its write is late, or
    was made by the copy of a move, before anybody read there.
    """
    owners = placement.owner_ids(key_hash)
    needed = owners if placement.topology.mode == "cut-over" else owners[:1]
    if not all(shard_id in numbers for shard_id in needed):
        return None
    return {shard_id: numbers[shard_id] for shard_id in owners if shard_id in numbers}
