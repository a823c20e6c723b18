"""Waiting until the edges have seen a change (?wait=edges): first its projection, then their acknowledgements."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from control.db import Database
from control.errors import Error
from control.projection import notes
from control.projection.batch import Numbered
from control.shards.edges import Edges

WAITS_MAX: Final = 1000
# A projector of another control process says nothing to us; its notes are looked up in this interval, and in longer and
# longer ones by a request whose shard is away: as many as may wait must leave the database to the others.
POLL_INTERVAL_S: Final = 0.1
POLL_INTERVAL_MAX_S: Final = 0.5

Place = tuple[str, int]  # a shard's id and the number of the batch that wrote there


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """How far a change got in time; complete: every live edge has it."""

    is_projected: bool
    is_complete: bool
    acknowledged: list[str]
    late: list[str]


class Acknowledgements:
    """The requests that wait, by link id."""

    def __init__(self, database: Database, edges: Edges) -> None:
        self._database = database
        self._edges = edges
        self._waiting: dict[int, list[tuple[int, asyncio.Future[Place]]]] = {}
        self._count = 0

    def on_projected(self, batches: Iterable[Numbered]) -> None:
        """Called by this process's projector after each of its commits."""
        for batch in batches if self._waiting else ():
            for write in batch.writes:
                for version, future in self._waiting.get(write.link_id, ()):
                    if version <= write.version and not future.done():
                        future.set_result((batch.shard_id, batch.number))

    async def wait(self, link_id: int, version: int, timeout_s: float) -> Acknowledgement:
        """Wait, at most `timeout_s`, until every live edge of the link's shard has applied this version."""
        if self._count >= WAITS_MAX:
            raise Error("too_many_waiting", f"{WAITS_MAX} requests wait for edges already; the change itself is made")
        self._count += 1
        try:
            return await self._wait(link_id, version, timeout_s)
        finally:
            self._count -= 1

    async def _wait(self, link_id: int, version: int, timeout_s: float) -> Acknowledgement:
        deadline = asyncio.get_running_loop().time() + timeout_s
        place = await self._projected(link_id, version, timeout_s)
        if place is None:
            return Acknowledgement(is_projected=False, is_complete=False, acknowledged=[], late=[])
        rest_s = max(0.0, deadline - asyncio.get_running_loop().time())
        applied = await self._edges.wait(*place, rest_s)
        return Acknowledgement(
            is_projected=True,
            is_complete=applied.is_known and not applied.late,
            acknowledged=applied.acknowledged,
            late=applied.late,
        )

    async def _projected(self, link_id: int, version: int, timeout_s: float) -> Place | None:
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        entry = (version, future)
        self._waiting.setdefault(link_id, []).append(entry)
        interval_s = POLL_INTERVAL_S
        try:
            async with asyncio.timeout(timeout_s):
                # The projector may have been faster than this request: look first, then wait to be told.
                while (place := await self._noted(link_id, version)) is None:
                    done, _ = await asyncio.wait((future,), timeout=interval_s)
                    if done:
                        return future.result()
                    interval_s = min(POLL_INTERVAL_MAX_S, 2 * interval_s)
                return place
        except TimeoutError:
            return None
        finally:
            self._forget(link_id, entry)

    async def _noted(self, link_id: int, version: int) -> Place | None:
        async with self._database.connection() as connection:
            return await notes.sequence_of(connection, link_id, version)

    def _forget(self, link_id: int, entry: tuple[int, asyncio.Future[Place]]) -> None:
        entries = self._waiting[link_id]
        entries.remove(entry)
        if not entries:
            del self._waiting[link_id]
