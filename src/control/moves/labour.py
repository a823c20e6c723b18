"""Calling a phase's work: what it is given, and what becomes of its reports."""

import asyncio
from typing import Final

from control.db import Connection, Database
from control.errors import Error
from control.moves import documents, observation, store
from control.moves.model import Move
from control.moves.work import Arc, Cursor, Job, Pace, Progress, Result, Stopped, Waits, Work
from control.shards.current import CurrentPlacement
from wire.topology import Shard

# A server that is restarted refuses connections for a moment.
REFUSED_MAX_S: Final = 5.0


class Labour:
    """The works of one drive."""

    def __init__(self, database: Database, lost_after_s: float) -> None:
        self._database = database
        self._lost_after_s = lost_after_s
        self.reports = 0  # how many pages were done
        self._placements = CurrentPlacement()
        self._arcs: tuple[Arc, ...] | None = None
        self._away_since: dict[str, float] = {}

    async def arcs(self, move: Move) -> tuple[Arc, ...]:
        """What moves; reckoned once, in a thread."""
        if self._arcs is None:
            self._arcs = await asyncio.to_thread(documents.arcs, move.before, move.after)
        return self._arcs

    async def call(self, work: Work, move: Move, pace: Pace) -> Result:
        """Call the work once; Stopped, and what it cannot handle itself, escapes."""
        leaving = leaving_in(move)
        if leaving:
            await self._give_up(move, leaving)
        async with self._database.connection() as connection:
            placement = await self._placements.get(connection)
            now = await store.get(connection, move.id)
        if placement is None or now is None or now.phase != move.phase:
            return Waits(reason="the topology has changed under the move")
        held = dict(now.work)

        async def report(cursor: Cursor, progress: Progress) -> None:
            counts = {**held.get("counts", {}), **progress.counts}
            held.update(cursor=cursor, fraction=progress.fraction, counts=counts)
            async with self._database.connection() as connection:
                if not await store.report(connection, move, held):
                    raise Stopped
            self.reports += 1

        async def hold(connection: Connection) -> None:
            row = await store.hold(connection, move.id, move.driver)
            if row is None or (row.phase, row.wanted) != (move.phase, None):
                raise Stopped

        return await work(
            Job(
                move_id=move.id,
                database=self._database,
                placement=placement,
                arcs=await self.arcs(move),
                joining=documents.joining(move.before, move.after),
                leaving=leaving,
                lost=frozenset(now.lost),
                pace=pace,
                cursor=held.get("cursor", {}),
                report=report,
                hold=hold,
            )
        )

    async def keep_leftovers(self, move: Move, leftovers: dict[str, int]) -> None:
        """Let everybody see what is still to be removed."""
        async with self._database.transaction() as connection:
            held = await store.hold(connection, move.id, move.driver)
            if held is not None and held.work.get("leftovers", {}) != leftovers:
                await store.set_leftovers(connection, held, leftovers)

    async def _give_up(self, move: Move, leaving: tuple[Shard, ...]) -> None:
        """Pass over shards that leave and do not answer: soon if nothing listens there, else after the set time.

        Nobody reads them any more. What they hold is swept when one of them is brought in again.
        """
        now_s = asyncio.get_running_loop().time()
        views = await observation.look(shard for shard in leaving if shard.id not in move.lost)
        awaited = []
        for shard_id, view in views.items():
            if view.run_id:
                self._away_since.pop(shard_id, None)
                continue
            away_s = now_s - self._away_since.setdefault(shard_id, now_s)
            if away_s >= (min(REFUSED_MAX_S, self._lost_after_s) if view.is_refused else self._lost_after_s):
                await self._declare_lost(move, shard_id, round(away_s))
            else:
                awaited.append(shard_id)
        if awaited:
            raise Error(
                "shard_unavailable",
                f"{', '.join(awaited)}, which leaves, does not answer; it is given up after {self._lost_after_s:.0f} s",
            )

    async def _declare_lost(self, move: Move, shard_id: str, away_s: int) -> None:
        async with self._database.transaction() as connection:
            held = await store.hold(connection, move.id, move.driver)
            if held is None:
                raise Stopped
            await store.add_lost(connection, move.id, shard_id)
            await store.add_event(connection, held, "lost", {"shard": shard_id, "seconds": away_s})


def leaving_in(move: Move) -> tuple[Shard, ...]:
    """The shards that are emptied and retired in this phase."""
    if move.phase == "cleaning":
        gone = documents.leaving(move.before, move.after)
        return tuple(shard for shard in move.before.shards if shard.id in gone)
    if move.phase == "compensating":
        gone = documents.joining(move.before, move.after)
        return tuple(shard for shard in move.after.shards if shard.id in gone)
    return ()
