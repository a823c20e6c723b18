"""Waiting until the edges have seen a change (?wait=edges): first its projection, then their acknowledgements."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
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
# intervals for a request whose shard is away. One query looks for all whose time has come: as many as may wait must
# leave the database to the others.
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


@dataclass(eq=False, slots=True)
class _Waiter:
    """A request that waits for its change to be projected. `due_s` is when the notes are looked at for it again."""

    link_id: int
    version: int
    future: asyncio.Future[Numbers]
    due_s: float = 0.0
    interval_s: float = POLL_INTERVAL_S


class Acknowledgements:
    """The requests that wait, by link id."""

    def __init__(self, database: Database, edges: Edges, placement: CurrentPlacement) -> None:
        self._database = database
        self._edges = edges
        self._placement = placement
        self._waiting: dict[int, list[_Waiter]] = {}
        self._count = 0
        self._poller: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def on_projected(self, result: BatchResult) -> None:
        """Called by this process's projector after each of its commits."""
        numbers = {batch.shard_id: batch.number for batch in result.numbered}
        for row in result.finished if self._waiting else ():
            for waiter in self._waiting.get(row.write.link_id, ()):
                if waiter.version <= row.write.version and not waiter.future.done():
                    waiter.future.set_result({shard_id: numbers[shard_id] for shard_id in row.shard_ids})

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
        waiter = _Waiter(link_id, version, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(link_id, []).append(waiter)
        # The projector may have been faster than this request: the notes are looked at first.
        self._changed.set()
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="notes of projected changes")
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter.future
        except TimeoutError:
            return None
        finally:
            self._forget(waiter)

    async def _poll(self) -> None:
        """Look at the notes as long as somebody waits."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            self._changed.clear()
            now_s = loop.time()
            waiters = [each for same in self._waiting.values() for each in same if not each.future.done()]
            due = [each for each in waiters if each.due_s <= now_s]
            if due:
                await self._look(due)
                await asyncio.sleep(POLL_INTERVAL_S)
                continue
            pause_s = min((each.due_s for each in waiters), default=now_s + POLL_INTERVAL_MAX_S) - now_s
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()

    async def _look(self, due: Sequence[_Waiter]) -> None:
        """Tell those whose changes have been projected."""
        try:
            async with self._database.connection() as connection:
                placement = await self._placement.get(connection)
                found = await notes.numbers_of(connection, [(each.link_id, each.version) for each in due])
        except Exception as error:  # noqa: BLE001  (it is theirs: each of them answers by it)
            for each in due:
                if not each.future.done():
                    each.future.set_exception(error)
            return
        now_s = asyncio.get_running_loop().time()
        for each in due:
            key_hash, numbers = found.get((each.link_id, each.version), (0, {}))
            enough = _enough(placement, key_hash + HASH_OFFSET, numbers) if placement and numbers else None
            if enough is not None and not each.future.done():
                each.future.set_result(enough)
            each.due_s = now_s + each.interval_s
            each.interval_s = min(POLL_INTERVAL_MAX_S, 2 * each.interval_s)

    def _forget(self, waiter: _Waiter) -> None:
        same = self._waiting[waiter.link_id]
        same.remove(waiter)
        if not same:
            del self._waiting[waiter.link_id]
        self._changed.set()


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
