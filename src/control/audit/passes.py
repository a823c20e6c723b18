"""One pass of the audit: all links, then all keys of the shards. It can be left at any page and gone on with."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from control.audit import keys, links, repair, store
from control.audit.connections import Connections
from control.audit.drift import Drift, TopologyChanged
from control.audit.keys import Searched
from control.audit.links import Compared, Owned
from control.audit.model import Place, Tally
from control.db import Database
from control.errors import Error
from control.log import Logger
from control.metrics import AuditMetrics
from control.moves import reading
from control.moves._pages import Batch, Reader
from control.moves.arcs import HASHES, Walk
from control.moves.misplaced import SCAN_COUNT
from control.moves.reading import Border, Passage
from control.moves.throttle import Throttle, probing
from control.projection import store as projection_store
from control.projection.store import ShardState
from control.shards.connection import ShardConnection
from control.shards.current import CurrentPlacement, Placement
from wire.topology import Shard

# In these a shard that is written need not hold all that it owns, or is being relieved of what it does not own; and the
# move has the shards' time for itself.
HELD_PHASES: Final = frozenset({"arming_writes", "copying", "verifying", "cleaning", "compensating"})
_NO_SCRIPT: Final = b""  # a page is not written anywhere

Report = Callable[[], Awaitable[None]]


class Held(Exception):  # noqa: N818  (no error)
    """The pass cannot go on now, for a reason that an operator understands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a pass is made. With `shard_id`, of that shard alone."""

    is_repairing: bool
    shard_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a pass works with."""

    database: Database
    metrics: AuditMetrics
    log: Logger


class Pass:
    """A pass, from `place` on; `report` is called after each page."""

    def __init__(self, tools: Tools, options: Options, throttle: Throttle, held: tuple[Place, Tally]) -> None:
        self.place, self.tally = held
        self._tools = tools
        self._database = tools.database
        self._options = options
        self._throttle = throttle
        self._current = CurrentPlacement()
        self._connections = Connections(tools.database)
        self._probed: set[str] = set()
        self._is_stale = False  # another set of shards can be judged than is probed

    async def run(self, report: Report) -> None:
        """Go on to the end. Raises Held, or what says that PostgreSQL is away; call it again then."""
        try:
            while not await self._went(report):
                pass
        finally:
            await self._connections.close()

    async def _went(self, report: Report) -> bool:
        """Whether the end was reached by one topology, and with the same shards all the time."""
        self._is_stale = False
        placement, states = await self._look_around()
        shards = [shard for shard in self._wanted(placement) if await self._connections.judged(shard, states)]
        self._probed = {shard.id for shard in shards}
        with suppress(TopologyChanged):
            async with probing(self._throttle, shards):
                if not self.place.are_links_done:
                    await self._compare_links(placement, report)
                await self._look_through(placement, report)
                return True
        return False

    def _wanted(self, placement: Placement) -> list[Shard]:
        shard_id = self._options.shard_id
        return [shard for shard in placement.topology.shards if shard_id in (None, shard.id)]

    async def _look_around(self) -> tuple[Placement, dict[str, ShardState]]:
        """The placement in force and the state of its shards; raises Held."""
        async with self._database.connection() as connection:
            situation = await store.situation(connection)
            placement = await self._current.get(connection)
            if placement is None:
                raise Held("no topology is set")
            if situation.phase in HELD_PHASES:
                raise Held(f"links are being moved ({situation.phase})")
            if situation.phase is not None and self.place.are_links_done:
                raise Held("links are being moved; keys are looked through when that has ended")
            states = await projection_store.states(connection, [shard.id for shard in placement.topology.shards])
        return placement, states

    async def _look_again(self, placement: Placement) -> dict[str, ShardState]:
        """The shards' states; raises Held, and TopologyChanged."""
        found, states = await self._look_around()
        if found.topology.epoch != placement.topology.epoch:
            raise TopologyChanged
        return states

    # ---- links

    async def _compare_links(self, placement: Placement, report: Report) -> None:
        async def work(batch: Batch) -> None:
            await self._throttle.take(batch.count, report)
            states = await self._look_again(placement)
            owned = Owned(batch, placement)
            for compared in await links.compare(
                self._database, self._connections, owned, states, self._options.shard_id
            ):
                await self._note(compared)

        async def on_done(border: Border | None) -> None:
            if border is not None:
                self.place.done = border.last
            await report()
            if border is not None and self._is_stale:
                raise TopologyChanged

        async with self._database.dedicated() as rows:
            estimate = await projection_store.links_estimate(rows)
            await reading.prepare(rows)
            walk = Walk([(0, HASHES - 1)], self.place.done, estimate)
            await Passage(rows, walk, self._throttle, partial(Reader, 1, _NO_SCRIPT)).go(work, on_done)
        self.place.are_links_done = True
        await report()

    async def _note(self, compared: Compared) -> None:
        self.tally.compared += compared.count
        self._tools.metrics.compared.add(compared.count)
        if compared.skipped:
            self._skip(compared.shard_id, compared.skipped)
        self._is_stale |= (compared.shard is not None) != (compared.shard_id in self._probed)
        if compared.shard is not None:
            shard, drifts = compared.shard, compared.drifts
            await self._settle(shard, drifts, partial(repair.project_again, self._database, shard, drifts))

    # ---- keys

    async def _look_through(self, placement: Placement, report: Report) -> None:
        if self.place.epoch != placement.topology.epoch:
            self.place.epoch = placement.topology.epoch
            self.place.scans = {}
        for shard in self._wanted(placement):
            connection = await self._connections.judged(shard, await self._look_again(placement))
            if connection is None:
                self._skip(shard.id, 0)
                continue
            try:
                await self._look_through_one(await keys.search(connection, placement), report)
            except Error as error:
                if error.code != "shard_unavailable":
                    raise
                self._skip(shard.id, 0)

    async def _look_through_one(self, searched: Searched, report: Report) -> None:
        shard = searched.shard
        scan = self.place.scans[shard.shard_id] = await keys.begin(searched, self.place.scans.get(shard.shard_id))
        while scan.cursor is not None:
            await self._look_again(searched.placement)
            count = min(SCAN_COUNT, self._throttle.page_links)
            found, drifts = await keys.look(self._database, searched, scan, count)
            self.tally.keys += found
            self._tools.metrics.keys.add(found)
            await self._settle(shard, drifts, partial(repair.remove, self._database, shard, drifts, searched.fence))
            await report()
            await self._throttle.take(max(1, found), report)

    # ---- what both find

    async def _settle(
        self, shard: ShardConnection, drifts: Sequence[Drift], repaired: Callable[[], Awaitable[int]]
    ) -> None:
        """Count drift, and repair it if that is wanted."""
        if not drifts:
            return
        for drift in drifts:
            self.tally.find(drift.shard_id, drift.kind)
            self._tools.metrics.drift.add(shard=drift.shard_id, kind=drift.kind)
        kinds = sorted({drift.kind for drift in drifts})
        self._tools.log.warning(
            "drift was found",
            shard=shard.shard_id,
            keys=len(drifts),
            kinds=kinds,
            first=drifts[0].key.decode("latin-1"),
        )
        if not self._options.is_repairing:
            return
        try:
            count = await repaired()
        except Error as error:
            if error.code != "shard_unavailable":
                raise
            self._skip(shard.shard_id, 0)
        else:
            self.tally.repaired += count
            self._tools.metrics.repaired.add(count, shard=shard.shard_id)

    def _skip(self, shard_id: str, records: int) -> None:
        self.tally.skip(shard_id, records)
        self._tools.metrics.skipped.add(records, shard=shard_id)
